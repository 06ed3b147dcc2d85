//! The events that a group has missed although it takes their types, by cause.
//!
//! The causes follow from the bounds that the store keeps of a group ([`domain::group::PassedEvents`]). They never
//! include an event that a consumer may have handled from the log. Events that expired, or that were dropped while dead
//! letters were off, are not included: the store does not distinguish them from handled events.

mod parts;

use domain::{Cursor, Filter, group::Gap};
use replay::DryRun;
use serde::Serialize;

use self::parts::Finder;
use super::{
    bounds::{Bounds, BoundsRequest},
    error::{AppError, Conflict, InvalidRequest},
    replay::check_groups,
};
use crate::handle::StoreHandle;

/// The cause for which a group missed events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MissedCause {
    /// The events are before the place where the group began.
    Start,
    /// A reset moved the group over the events.
    Reset,
    /// The group passed the events before it took their types.
    Types,
}

impl MissedCause {
    /// Every cause.
    pub const ALL: [Self; 3] = [Self::Start, Self::Reset, Self::Types];

    /// Returns the name of the cause in flags and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Reset => "reset",
            Self::Types => "types",
        }
    }

    /// Returns the cause of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// A request for the events that a group missed for one cause.
#[derive(Debug, Clone)]
pub struct MissedRequest {
    /// The name of the group.
    pub group: String,
    /// The cause. None: the only cause for which the group missed events.
    pub cause: Option<MissedCause>,
    /// The filter of the events.
    pub filter: Filter,
    /// The bounds of the events.
    pub bounds: BoundsRequest,
}

/// Missed events of one cause: a slice of the log.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MissedPart {
    /// The cause.
    pub cause: MissedCause,
    /// The number of events.
    pub events: u64,
    /// The types of the slice. Empty: all.
    pub types: Vec<String>,
    /// The filter of the slice.
    #[serde(skip)]
    pub filter: Filter,
    /// The bounds of the slice.
    #[serde(skip)]
    pub bounds: Bounds,
}

/// The events that a group missed, by cause.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missed {
    /// The name of the group.
    pub group: String,
    /// Slices of the log with missed events, in the order of the causes.
    pub parts: Vec<MissedPart>,
    /// Ranges that retention removed before the group had passed them. No replay can send them.
    pub gaps: Vec<Gap>,
}

/// A dry run of a replay, with the missed events from which it was chosen.
#[derive(Debug, Serialize)]
pub struct PlanDocument<'a> {
    /// The dry run.
    #[serde(flatten)]
    pub plan: DryRun<'a>,
    /// The missed events of the group, if the replay is of missed events.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<&'a Missed>,
}

impl MissedRequest {
    /// Finds and counts the missed events by cause.
    ///
    /// # Errors
    /// Returns [`AppError`] when the group does not exist, when its passed events are unknown, or when the store fails.
    pub async fn find(&self, store: &StoreHandle) -> Result<Missed, AppError> {
        check_groups(store, std::slice::from_ref(&self.group)).await?;
        let unknown = || Conflict::PassedUnknown { group: self.group.clone() };
        let record = store.groups().await?.into_iter().find(|record| record.spec.name == self.group);
        let record = record.ok_or_else(unknown)?;
        let passed = store.passed(&self.group).await?.ok_or_else(unknown)?;
        let bounds = self.bounds.resolve(store).await?;
        let finder = Finder::new(store, &record.spec, passed, &self.filter, bounds).await?;
        Ok(Missed { group: self.group.clone(), parts: finder.parts().await?, gaps: record.gaps })
    }
}

impl Missed {
    /// Returns the slice of a cause. Without missed events, the slice is empty.
    ///
    /// # Errors
    /// Returns [`InvalidRequest::SeveralCauses`] when one replay cannot send all events of the request.
    pub fn choose(&self, cause: Option<MissedCause>) -> Result<MissedPart, InvalidRequest> {
        let chosen = |part: &&MissedPart| cause.is_none_or(|cause| part.cause == cause);
        let parts: Vec<&MissedPart> = self.parts.iter().filter(chosen).collect();
        match parts.as_slice() {
            [] => Ok(MissedPart::empty(cause.unwrap_or(MissedCause::Start))),
            [part] => Ok((*part).clone()),
            several => Err(InvalidRequest::SeveralCauses {
                group: self.group.clone(),
                causes: several.iter().map(|part| part.describe()).collect(),
            }),
        }
    }
}

impl MissedPart {
    fn empty(cause: MissedCause) -> Self {
        Self { cause, events: 0, types: Vec::new(), filter: Filter::default(), bounds: Bounds::default() }
    }

    /// Describes the slice, for people: its cause, its events and its types.
    pub fn describe(&self) -> String {
        let events = crate::text::plural::count(self.events, "event");
        let types: Vec<&str> = self.types.iter().take(MOST_TYPES).map(String::as_str).collect();
        let more = if self.types.len() > MOST_TYPES { ", …" } else { "" };
        match types.is_empty() {
            true => format!("{} ({events})", self.cause.name()),
            false => format!("{} ({events} of {}{more})", self.cause.name(), types.join(", ")),
        }
    }

    /// Returns the bounds of the slice. A slice without events ends at the start of the log.
    pub(super) fn marks(&self, head: &Cursor) -> Bounds {
        match self.events {
            0 => {
                let start = Cursor::new(head.store, head.epoch, vec![0; head.sequences.len()]);
                Bounds { after: None, until: Some(start) }
            }
            _ => self.bounds.clone(),
        }
    }
}

/// The largest number of types in a description.
const MOST_TYPES: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn part(cause: MissedCause, events: u64, types: &[&str]) -> MissedPart {
        let types = types.iter().map(|name| (*name).to_owned()).collect();
        MissedPart { events, types, ..MissedPart::empty(cause) }
    }

    #[test]
    fn one_replay_sends_the_events_of_one_cause() {
        let missed = |parts: Vec<MissedPart>| Missed { group: "g".to_owned(), parts, gaps: Vec::new() };
        let none = missed(vec![]);
        assert_eq!(none.choose(None).unwrap().events, 0);
        let several = missed(vec![
            part(MissedCause::Start, 3, &[]),
            part(MissedCause::Types, 1, &["a"]),
            part(MissedCause::Types, 2, &["b", "c"]),
        ]);
        assert_eq!(several.choose(Some(MissedCause::Start)).unwrap().events, 3);
        assert_eq!(several.choose(Some(MissedCause::Reset)).unwrap().events, 0);
        let said = several.choose(None).unwrap_err().to_string();
        assert_eq!(
            said,
            "group g missed events in several ways, and one replay sends one of them: start (3 events), \
             types (1 event of a), types (2 events of b, c)"
        );
        assert!(several.choose(Some(MissedCause::Types)).is_err());
    }
}
