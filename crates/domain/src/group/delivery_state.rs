//! The state of an event in a group, as of the group's last commits.

use jiff::Timestamp;
use serde::Serialize;

use super::{BlockedKey, GroupSpec};
use crate::dead_letter::DeadLetter;

/// State of an event in a group, for its delivery from the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum DeliveryState {
    /// The group does not deliver the event.
    Skipped {
        /// Reason for which the group skips the event.
        reason: SkipReason,
    },
    /// The event waits for its first delivery. No failing event of its key is before it.
    Waiting,
    /// The event may be in flight: a handler may have it now.
    InFlight {
        /// Number of failed attempts.
        attempts: u32,
    },
    /// The last attempt failed, and the event waits for a retry.
    Retrying {
        /// Number of failed attempts.
        attempts: u32,
        /// Earliest time of the next attempt.
        due: Timestamp,
        /// Error message of the last attempt.
        error: String,
    },
    /// The event waits behind an earlier event of its key.
    Blocked {
        /// Sequence of the earlier event, in the same partition.
        behind: u64,
        /// Whether the earlier event is a dead letter behind which the key is parked.
        parked: bool,
        /// Time since which the key is blocked.
        since: Timestamp,
    },
    /// The group is done with the event: a handler handled it, the group gave up on it, or it expired before its
    /// delivery.
    Done,
}

/// Reason for which a group does not deliver an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SkipReason {
    /// The group does not take the event type.
    Type,
    /// The event is before the place at which the group began or to which it was last reset.
    BeforeStart,
}

/// Delivery of an event in a group.
#[derive(Debug, Clone)]
pub struct EventDelivery {
    /// State of the event in the group, for its delivery from the log.
    pub state: DeliveryState,
    /// Dead letter of the event in this group, if there is one.
    pub dead_letter: Option<DeadLetter>,
}

/// The places of a segment on which the state of a delivery depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SegmentPlace {
    /// Sequence after which the group began in the segment's partition, or after its last reset.
    pub began_after: u64,
    /// Cursor of the segment.
    pub cursor: u64,
    /// Claim of the segment: events up to here may be in flight.
    pub claimed_to: u64,
    /// Whether a consumer holds the lease of the segment.
    pub is_leased: bool,
}

impl DeliveryState {
    /// Returns the state of an event, given its type and sequence. `row` is the ledger row of its key, if there is
    /// one.
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
        // The lease is free, so claimed events are redelivered.
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
        // Events after the row's last event that the cursor has passed are done.
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
