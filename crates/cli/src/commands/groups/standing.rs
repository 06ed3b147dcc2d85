//! How far a group is, and what it keeps from retention.

use std::sync::Arc;

use domain::{
    Cursor, Filter,
    group::GroupStatus,
    ports::{GroupHolds, ReadRequest},
};
use jiff::{SignedDuration, Timestamp};

use crate::{
    errors::CliError,
    store::{self, Stores},
};

/// A group with what its place in the log means.
#[derive(Debug)]
pub(in crate::commands) struct Standing {
    /// What the store says of it.
    pub(in crate::commands) status: GroupStatus,
    /// Where its slowest segments are.
    pub(in crate::commands) cursor: Cursor,
    /// The newest position of each partition.
    pub(in crate::commands) head: Cursor,
    /// Events in the log after its slowest segments, of any type.
    pub(in crate::commands) lag: u64,
    /// When the oldest of these was stored.
    pub(in crate::commands) waiting_since: Option<Timestamp>,
    /// Whether it keeps what it has not passed from retention, and until when if no consumer comes.
    pub(in crate::commands) hold: HoldState,
}

/// Whether a group keeps history from retention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::commands) enum HoldState {
    /// It does until then, should no consumer come before.
    Until(Timestamp),
    /// No consumer has come for so long that it keeps nothing any more, since then.
    ForgottenSince(Timestamp),
}

impl Standing {
    /// Keys that are parked behind a dead letter.
    pub(in crate::commands) fn parked(&self) -> u64 {
        self.status.segments.iter().map(|segment| segment.parked_keys).sum()
    }

    /// References that wait in its replay lane.
    pub(in crate::commands) fn lane(&self) -> u64 {
        self.status.segments.iter().map(|segment| segment.lane).sum()
    }

    /// Its place, for people.
    pub(in crate::commands) fn cursor_text(&self) -> String {
        positions(&self.cursor).join(" ")
    }

    /// Whether anything waits for a consumer.
    pub(in crate::commands) fn has_work(&self) -> bool {
        self.lag > 0 || self.lane() > 0 || self.status.blocked_keys() > self.parked()
    }
}

/// Looks up what a group's place in the log means.
pub(in crate::commands) async fn standing(
    stores: &Stores,
    holds: &GroupHolds,
    status: GroupStatus,
) -> Result<Standing, CliError> {
    let head = stores.events.head().await?;
    let cursor = lowest(&status, &head);
    let everything = Arc::new(Filter::default());
    let (all, passed) = match cursor == head {
        true => (0, 0),
        false => (
            stores.events.count(&everything, Some(&head)).await?,
            stores.events.count(&everything, Some(&cursor)).await?,
        ),
    };
    let lag = all.saturating_sub(passed);
    let waiting_since = match lag {
        0 => None,
        _ => {
            let mut request = ReadRequest::new(everything, 1);
            (request.after, request.until) = (Some(cursor.clone()), Some(head.clone()));
            stores.events.read(&request).await?.events.first().map(|stored| stored.stored_at)
        }
    };
    let hold = hold_state(status.record.last_seen_at, holds);
    Ok(Standing { status, cursor, head, lag, waiting_since, hold })
}

/// The lowest cursor of each partition's segments.
fn lowest(status: &GroupStatus, head: &Cursor) -> Cursor {
    let sequences = (0u16..)
        .zip(&head.sequences)
        .map(|(partition, newest)| status.cursor(partition).unwrap_or(*newest).min(*newest))
        .collect();
    Cursor::new(head.store, head.epoch, sequences)
}

fn hold_state(last_seen: Timestamp, holds: &GroupHolds) -> HoldState {
    let patience = SignedDuration::try_from(holds.forgotten_after).unwrap_or(SignedDuration::MAX);
    let until = last_seen.checked_add(patience).unwrap_or(Timestamp::MAX);
    match until < store::clock().now() {
        true => HoldState::ForgottenSince(until),
        false => HoldState::Until(until),
    }
}

/// The positions that a cursor stands for.
pub(in crate::commands) fn positions(cursor: &Cursor) -> Vec<String> {
    (0u16..).zip(&cursor.sequences).map(|(partition, sequence)| format!("{partition}:{sequence}")).collect()
}
