//! The outcome of a request to schedule an event.

use jiff::Timestamp;

use crate::{
    event::Event,
    ports::{event_store::AppendOutcome, schedule_store::ScheduleOutcome},
};

/// Decides by the state of the event's id in the log, and then by the event that waits under the id. If the log knows
/// the id, the log decides. An event that waits as well then leaves the schedule without a second append.
pub fn decide(
    event: &Event,
    known: Option<AppendOutcome>,
    waiting: Option<(&Event, Timestamp)>,
) -> ScheduleOutcome {
    match (known, waiting) {
        (Some(AppendOutcome::AlreadyStored(at)), _) => ScheduleOutcome::AlreadyStored(at),
        (Some(AppendOutcome::Erased), _) => ScheduleOutcome::Erased,
        (Some(_), _) => ScheduleOutcome::Conflict(None),
        (None, Some((first, due))) if first.same_content(event) => ScheduleOutcome::AlreadyScheduled(due),
        (None, Some((_, due))) => ScheduleOutcome::Conflict(Some(due)),
        (None, None) => ScheduleOutcome::Scheduled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Document, Limits},
        position::Position,
    };

    fn event(n: u8) -> Event {
        let json = format!(
            r#"{{"id":"a","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},"data":{n}}}"#
        );
        Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
    }

    #[test]
    fn the_log_decides_before_the_schedule_does() {
        let (one, other, due, at) = (event(1), event(2), Timestamp::UNIX_EPOCH, Position::new(0, 7));
        for waiting in [None, Some((&one, due)), Some((&other, due))] {
            let known = |outcome| decide(&one, Some(outcome), waiting);
            assert_eq!(known(AppendOutcome::AlreadyStored(at)), ScheduleOutcome::AlreadyStored(at));
            assert_eq!(known(AppendOutcome::Conflict(at)), ScheduleOutcome::Conflict(None));
            assert_eq!(known(AppendOutcome::Erased), ScheduleOutcome::Erased);
        }
        assert_eq!(decide(&one, None, None), ScheduleOutcome::Scheduled);
        assert_eq!(decide(&one, None, Some((&one, due))), ScheduleOutcome::AlreadyScheduled(due));
        assert_eq!(decide(&one, None, Some((&other, due))), ScheduleOutcome::Conflict(Some(due)));
    }
}
