//! What a group has done with an event, as far as its last commits say.

use jiff::Timestamp;
use serde::Serialize;

use super::{BlockedKey, GroupSpec};
use crate::dead_letter::DeadLetter;

/// What a group has done with an event as it came from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum DeliveryState {
    /// The group does not deliver the event.
    Skipped {
        /// Why.
        reason: SkipReason,
    },
    /// It is still to be handed over for the first time, and no failing event of its key is in its way.
    Waiting,
    /// It may be with a handler now.
    InFlight {
        /// Attempts that have failed before.
        attempts: u32,
    },
    /// Its last attempt failed, and it is to be tried again.
    Retrying {
        /// Attempts that have failed.
        attempts: u32,
        /// When it may be tried next.
        due: Timestamp,
        /// What the last attempt said.
        error: String,
    },
    /// It waits behind an earlier event of its key.
    Blocked {
        /// The sequence of that event, in the same partition.
        behind: u64,
        /// Whether that event is a dead letter that the key is parked behind.
        parked: bool,
        /// Since when the key is blocked.
        since: Timestamp,
    },
    /// The group is done with it: it was handled, or given up on, or it expired before it could be handed over.
    Done,
}

/// Why a group does not deliver an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SkipReason {
    /// The group does not take its type.
    Type,
    /// The event is older than the place where the group began, or was last reset to.
    BeforeStart,
}

/// What became of an event in a group.
#[derive(Debug, Clone)]
pub struct EventDelivery {
    /// What the group has done with it as it came from the log.
    pub state: DeliveryState,
    /// Its dead letter in this group, if there is one.
    pub dead_letter: Option<DeadLetter>,
}

/// Where a segment is, as far as the state of a delivery depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentPlace {
    /// Where the group began in the segment's partition, or was last reset to.
    pub began_after: u64,
    /// The segment's cursor.
    pub cursor: u64,
    /// Events up to here may have been handed over.
    pub claimed_to: u64,
    /// Whether a consumer holds its lease.
    pub is_leased: bool,
}

impl DeliveryState {
    /// The state of an event by its type and sequence. `row` is the ledger's row of its key, if there is one.
    pub fn of(
        spec: &GroupSpec,
        (event_type, sequence): (&str, u64),
        place: SegmentPlace,
        row: Option<&BlockedKey>,
    ) -> Self {
        if sequence <= place.began_after {
            return Self::Skipped { reason: SkipReason::BeforeStart };
        }
        let is_behind = sequence > place.cursor;
        if !spec.takes(event_type) {
            return Self::Skipped { reason: SkipReason::Type };
        }
        let Some(row) = row.filter(|row| sequence <= row.through || is_behind) else {
            return match (is_behind, place.is_leased && sequence <= place.claimed_to) {
                (false, _) => Self::Done,
                (true, true) => Self::InFlight { attempts: 0 },
                (true, false) => Self::Waiting,
            };
        };
        if sequence < row.first_open() {
            return Self::Done;
        }
        if sequence > row.position {
            let parked = row.due.is_none();
            return Self::Blocked { behind: row.position, parked, since: row.since };
        }
        match (place.is_leased && row.is_claimed(), row.due) {
            (true, _) => Self::InFlight { attempts: row.attempts },
            (false, Some(due)) if row.attempts > 0 => {
                Self::Retrying { attempts: row.attempts, due, error: row.error.clone() }
            }
            (false, _) => Self::Waiting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Key, *};
    use crate::filter::TypePattern;

    fn row(position: u64, through: u64) -> BlockedKey {
        BlockedKey {
            key: Key::new("user", "u"),
            position,
            through,
            claimed_to: 0,
            attempts: 2,
            ends: 0,
            due: Some(Timestamp::UNIX_EPOCH),
            error: "no".to_owned(),
            failures: Vec::new(),
            since: Timestamp::UNIX_EPOCH,
        }
    }

    fn states(place: SegmentPlace, row: Option<&BlockedKey>) -> Vec<DeliveryState> {
        let spec = GroupSpec::new("g");
        (1..=8).map(|sequence| DeliveryState::of(&spec, ("t", sequence), place, row)).collect()
    }

    const PLACE: SegmentPlace = SegmentPlace { began_after: 1, cursor: 5, claimed_to: 7, is_leased: true };
    const BEFORE: DeliveryState = DeliveryState::Skipped { reason: SkipReason::BeforeStart };

    #[test]
    fn without_a_row_the_cursor_decides() {
        use DeliveryState::{Done, InFlight, Waiting};
        let flying = InFlight { attempts: 0 };
        let first = [BEFORE, Done, Done, Done, Done];
        assert_eq!(states(PLACE, None)[..5], first);
        assert_eq!(states(PLACE, None)[5..], [flying.clone(), flying, Waiting]);
        // The lease is free: claimed events are redelivered.
        let left = SegmentPlace { is_leased: false, ..PLACE };
        assert_eq!(states(left, None)[5..], [Waiting, Waiting, Waiting]);
    }

    #[test]
    fn a_row_blocks_what_comes_after_its_event() {
        let failing = row(3, 6);
        let blocked = |parked| DeliveryState::Blocked { behind: 3, parked, since: Timestamp::UNIX_EPOCH };
        let retrying =
            DeliveryState::Retrying { attempts: 2, due: Timestamp::UNIX_EPOCH, error: "no".to_owned() };
        let rest = |parked| vec![blocked(parked); 5];
        let expected = |at, parked| [vec![BEFORE, DeliveryState::Done, at], rest(parked)].concat();
        assert_eq!(states(PLACE, Some(&failing)), expected(retrying, false));
        let claimed = BlockedKey { claimed_to: 3, ..failing.clone() };
        assert_eq!(states(PLACE, Some(&claimed))[2], DeliveryState::InFlight { attempts: 2 });
        let parked = BlockedKey { due: None, ..failing.clone() };
        assert_eq!(states(PLACE, Some(&parked)), expected(DeliveryState::Done, true));
        let slow = BlockedKey { attempts: 0, ..failing };
        assert_eq!(states(PLACE, Some(&slow))[2], DeliveryState::Waiting);
        // What the cursor passed after the row's last event was done.
        let short = row(3, 3);
        assert_eq!(states(PLACE, Some(&short))[3..5], [DeliveryState::Done, DeliveryState::Done]);
    }

    #[test]
    fn a_type_that_the_group_does_not_take_is_skipped() {
        let spec = GroupSpec { types: vec![TypePattern::new("user.*")], ..GroupSpec::new("g") };
        let state = DeliveryState::of(&spec, ("payment.processed", 9), PLACE, None);
        assert_eq!(state, DeliveryState::Skipped { reason: SkipReason::Type });
    }
}
