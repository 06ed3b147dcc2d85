//! Shadow replays: each event goes to two targets, and their answers are compared.
//!
//! Both targets get the same line or body at the same time, and each gets the events in log order. An event is sent
//! once, because a repeated attempt would hide a failed answer. The store is only read: there is no record of the
//! replay, and no replay count rises.

mod answers;
mod report;

use std::sync::Arc;

use domain::{
    Filter, StoredEvent,
    ports::{EventUpcaster, Order, ReplayDelivery},
    upcast::upcast_stored,
};
use replay::{Cancel, Pace, Pacer};
use targets::{AnsweringTarget, NoAnswer, TargetAnswer};
use tokio::time::sleep_until;
use uuid::Uuid;

pub use self::report::{Comparison, ComparisonEnd, EventDifferences, PerTarget};
use self::report::{Found, Report};
use super::{
    bounds::BoundsRequest,
    differences::IgnoredPointer,
    error::{AppError, InvalidRequest},
    replay::ReplaySelection,
    store::clock,
    walk::EventWalk,
};
use crate::handle::StoreHandle;

/// A comparison of two targets.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    /// The filter of the events.
    pub filter: Filter,
    /// The bounds of the events.
    pub bounds: BoundsRequest,
    /// Whether all events are meant if filter and bounds exclude none.
    pub all: bool,
    /// The largest number of events. The oldest matching events are taken.
    pub limit: Option<u64>,
    /// The parts of an answer that may differ.
    pub ignored: Vec<IgnoredPointer>,
    /// The largest number of differing events in the report. Further ones are counted.
    pub most_listed: usize,
    /// The pace.
    pub pace: Pace,
    /// The upcasters. Both targets get the events as a consumer does.
    pub upcaster: Arc<dyn EventUpcaster>,
}

impl CompareRequest {
    /// Returns an error for a comparison of all events that the caller did not confirm, as a replay does.
    ///
    /// # Errors
    /// Returns [`InvalidRequest`] in this case.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        let (filter, bounds) = (self.filter.clone(), self.bounds.clone());
        ReplaySelection::Slice { filter, bounds, all: self.all }.check()
    }
}

/// The two targets.
#[derive(Clone, Copy)]
pub struct ComparedTargets<'a> {
    /// The target whose answers are expected.
    pub old: &'a dyn AnsweringTarget,
    /// The target whose answers are compared with them.
    pub new: &'a dyn AnsweringTarget,
}

/// Sends the selected events to both targets, and compares their answers. `progress` gets the number of compared
/// events. The comparison ends after the current event if it is cancelled, or if a target cannot be reached.
///
/// # Errors
/// Returns [`AppError`] when the comparison is of all events without permission, when the pace is not valid, or when
/// the store fails.
pub async fn compare(
    store: &StoreHandle,
    request: CompareRequest,
    targets: ComparedTargets<'_>,
    cancel: &Cancel,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Comparison, AppError> {
    request.check()?;
    request.pace.check()?;
    let head = store.head().await?;
    let bounds = request.bounds.resolve(store).await?;
    let mut walk = EventWalk::new(store.ports().clone(), request.filter, Order::OldestFirst, request.limit)
        .until(Some(head))
        .within(&bounds);
    let mut sender =
        Sender { targets, pacer: Pacer::new(request.pace), replay_id: Uuid::now_v7().to_string() };
    let mut report = Report::new(request.most_listed);
    while let Some(page) = walk.page().await? {
        for stored in page.events {
            let upcast = match upcast_stored(&*request.upcaster, &stored) {
                Ok(upcast) => upcast,
                Err(error) => {
                    // Neither target gets the event.
                    let error = Some(error.to_string());
                    report.record(&stored, Found::unanswered(error.clone(), error));
                    progress(report.compared());
                    continue;
                }
            };
            let Some(answers) = sender.send(&upcast, cancel).await else {
                return Ok(report.end(ComparisonEnd::Interrupted, walk.corrupt()));
            };
            match found(answers, &request.ignored) {
                Ok(found) => report.record(&stored, found),
                Err(end) => return Ok(report.end(end, walk.corrupt())),
            }
            progress(report.compared());
        }
    }
    Ok(report.end(ComparisonEnd::Completed, walk.corrupt()))
}

type Answer = Result<TargetAnswer, NoAnswer>;

struct Sender<'a> {
    targets: ComparedTargets<'a>,
    pacer: Pacer,
    replay_id: String,
}

impl Sender<'_> {
    /// Waits for the pace, sends an event to both targets, and returns their answers. Returns `None` if the comparison
    /// is cancelled before the event is sent.
    async fn send(&mut self, stored: &StoredEvent, cancel: &Cancel) -> Option<[Answer; 2]> {
        if let Some(next) = self.pacer.next() {
            tokio::select! {
                () = sleep_until(next) => {}
                () = cancel.cancelled() => {}
            }
        }
        if cancel.is_cancelled() {
            return None;
        }
        self.pacer.sending(1);
        let delivery = ReplayDelivery {
            stored: stored.clone(),
            replay_id: self.replay_id.clone(),
            replay_timestamp: clock().now(),
        };
        let (old, new) = tokio::join!(self.targets.old.ask(&delivery), self.targets.new.ask(&delivery));
        self.pacer.done();
        Some([old, new])
    }
}

/// Compares two answers. Returns the end of the comparison if a target cannot be reached.
fn found([old, new]: [Answer; 2], ignored: &[IgnoredPointer]) -> Result<Found, ComparisonEnd> {
    Ok(match (old, new) {
        (Err(NoAnswer::Unreachable(error)), _) => return Err(ComparisonEnd::OldUnreachable(error)),
        (_, Err(NoAnswer::Unreachable(error))) => return Err(ComparisonEnd::NewUnreachable(error)),
        (Ok(old), Ok(new)) => {
            let is_failed = [old.result.is_err(), new.result.is_err()];
            Found::answered(answers::differences_of(&old, &new, ignored), is_failed)
        }
        (old, new) => {
            let [old, new] = [old, new].map(|answer| answer.err().map(|error| error.to_string()));
            Found::unanswered(old, new)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, sync::Mutex};

    use async_trait::async_trait;
    use domain::{Document, HandlerError, Limits, Upcasters, ports::Atomicity};
    use serde_json::Value;
    use targets::AnswerStatus;

    use super::*;
    use crate::{
        Access, OpenOptions,
        app::{differences::Difference, json_tree::JsonTree},
        open_store,
    };

    /// A target with an answer for each id. It answers other ids with an empty object.
    #[derive(Default)]
    struct Scripted {
        answers: HashMap<&'static str, Answer>,
        asked: Mutex<Vec<String>>,
        versions: Mutex<Vec<String>>,
    }

    fn said(body: &str) -> Answer {
        Ok(TargetAnswer {
            result: Ok(()),
            status: Some(AnswerStatus::Http(200)),
            body: body.as_bytes().to_vec(),
        })
    }

    fn target<const N: usize>(answers: [(&'static str, Answer); N]) -> Scripted {
        Scripted { answers: answers.into(), ..Scripted::default() }
    }

    #[async_trait]
    impl AnsweringTarget for Scripted {
        async fn ask(&self, delivery: &ReplayDelivery) -> Answer {
            let id = delivery.stored.event.id();
            self.asked.lock().unwrap().push(id.to_owned());
            self.versions.lock().unwrap().push(delivery.stored.event.version().to_owned());
            self.answers.get(id).cloned().unwrap_or_else(|| said("{}"))
        }
    }

    async fn store(events: usize) -> StoreHandle {
        let location = "memory:".parse().unwrap();
        let store = open_store(&location, OpenOptions::default(), Access::Create).await.unwrap();
        for number in 1..=events {
            let json = format!(
                r#"{{"id":"e{number}","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}}}}"#
            );
            let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
            store.append(&[event], Atomicity::Each).await.unwrap();
        }
        store
    }

    fn request() -> CompareRequest {
        CompareRequest {
            filter: Filter::default(),
            bounds: BoundsRequest::default(),
            all: true,
            limit: None,
            ignored: Vec::new(),
            most_listed: 10,
            pace: Pace::Unpaced,
            upcaster: Arc::new(Upcasters::default()),
        }
    }

    async fn run(store: &StoreHandle, request: CompareRequest, old: &Scripted, new: &Scripted) -> Comparison {
        let targets = ComparedTargets { old, new };
        compare(store, request, targets, &Cancel::default(), &|_| {}).await.unwrap()
    }

    #[tokio::test]
    async fn both_targets_get_every_event_once_and_in_order() {
        let store = store(2_500).await;
        let (old, new) = (Scripted::default(), Scripted::default());
        let report = run(&store, request(), &old, &new).await;
        assert_eq!((report.compared, report.equal, report.different), (2_500, 2_500, 0));
        assert_eq!(report.ended, ComparisonEnd::Completed);
        let expected: Vec<String> = (1..=2_500).map(|number| format!("e{number}")).collect();
        for target in [&old, &new] {
            assert_eq!(*target.asked.lock().unwrap(), expected);
        }
        let limited = run(&store, CompareRequest { limit: Some(3), ..request() }, &old, &new).await;
        assert_eq!(limited.compared, 3);
        assert_eq!(store.info().await.unwrap().events, 2_500);
    }

    #[tokio::test]
    async fn differences_are_listed_up_to_a_number_and_counted_beyond() {
        let store = store(6).await;
        let old = target([("e2", said(r#"{"total":1,"at":"a"}"#)), ("e4", said("{}")), ("e6", said("text"))]);
        let new = target([
            ("e2", said(r#"{"total":2,"at":"b"}"#)),
            ("e4", said("[]")),
            ("e5", Err(NoAnswer::Unanswered("too late".to_owned()))),
            ("e6", said("text\n")),
        ]);
        let ignored = vec!["/body/at".parse().unwrap()];
        let report = run(&store, CompareRequest { ignored, most_listed: 2, ..request() }, &old, &new).await;
        assert_eq!((report.compared, report.equal, report.different), (6, 3, 3));
        assert_eq!(report.unanswered, PerTarget { old: 0, new: 1 });
        assert!(report.differences_truncated);
        let listed: Vec<(&str, Vec<&str>)> = report
            .differences
            .iter()
            .map(|event| {
                (event.event_id.as_str(), event.differences.iter().map(|one| one.pointer.as_str()).collect())
            })
            .collect();
        assert_eq!(listed, [("e2", vec!["/body/total"]), ("e4", vec!["/body"])]);
        let counts: Vec<(&str, u64)> =
            report.by_pointer.iter().map(|(pointer, events)| (pointer.as_str(), *events)).collect();
        assert_eq!(counts, [("/body", 1), ("/body/total", 1), ("/error", 1)]);
    }

    #[tokio::test]
    async fn targets_get_upcast_events_and_none_that_cannot_be_upcast() {
        let store = store(2).await;
        let upcasters =
            Upcasters::builder().event("t", "1", "2", |event: Value| match event["id"].as_str() {
                Some("e1") => Ok(event),
                _ => Err("it is too old"),
            });
        let upcaster = Arc::new(upcasters.build().unwrap());
        let (old, new) = (Scripted::default(), Scripted::default());
        let report = run(&store, CompareRequest { upcaster, ..request() }, &old, &new).await;
        assert_eq!((report.compared, report.equal, report.different), (2, 1, 1));
        assert_eq!(*new.asked.lock().unwrap(), ["e1"]);
        assert_eq!(*new.versions.lock().unwrap(), ["2"]);
        assert!(report.differences[0].differences[0].pointer == "/error");
    }

    #[tokio::test]
    async fn equal_failures_are_equal_and_counted() {
        let store = store(2).await;
        let failure = || {
            let result = Err(HandlerError::retry("no"));
            target([("e1", Ok(TargetAnswer { result, ..said("{}").unwrap() }))])
        };
        let report = run(&store, request(), &failure(), &failure()).await;
        assert_eq!((report.equal, report.different), (2, 0));
        assert_eq!(report.failed, PerTarget { old: 1, new: 1 });
    }

    #[tokio::test]
    async fn silence_of_both_targets_is_not_equality() {
        let store = store(1).await;
        let silent = || target([("e1", Err(NoAnswer::Unanswered("too late".to_owned())))]);
        let report = run(&store, request(), &silent(), &silent()).await;
        assert_eq!((report.equal, report.different), (0, 1));
        assert_eq!(report.unanswered, PerTarget { old: 1, new: 1 });
        let late = Some(JsonTree::scalar("too late"));
        let expected = Difference { pointer: "/error".to_owned(), old: late.clone(), new: late };
        assert_eq!(report.differences[0].differences, [expected]);
    }

    #[tokio::test]
    async fn a_target_that_cannot_be_reached_ends_the_comparison() {
        let store = store(5).await;
        let gone = || Err(NoAnswer::Unreachable("no route".to_owned()));
        let report = run(&store, request(), &target([("e3", gone())]), &target([("e2", said("1"))])).await;
        assert_eq!((report.compared, report.different), (2, 1));
        assert_eq!(report.ended, ComparisonEnd::OldUnreachable("no route".to_owned()));
        let report = run(&store, request(), &target([]), &target([("e1", gone())])).await;
        assert_eq!(
            (report.compared, report.ended),
            (0, ComparisonEnd::NewUnreachable("no route".to_owned()))
        );
    }

    #[tokio::test]
    async fn a_cancelled_comparison_reports_the_events_before() {
        let store = store(5).await;
        let cancel = Cancel::default();
        let progress = |compared: u64| {
            if compared == 2 {
                cancel.cancel();
            }
        };
        let (old, new) = (Scripted::default(), Scripted::default());
        let request = CompareRequest { pace: Pace::Rate(1000.0), ..request() };
        let report = compare(&store, request, ComparedTargets { old: &old, new: &new }, &cancel, &progress);
        let report = report.await.unwrap();
        assert_eq!((report.compared, report.ended), (2, ComparisonEnd::Interrupted));
    }
}
