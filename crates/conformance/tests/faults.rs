//! The faulty engine: scripts of faults, and the classification of calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod naive;

use std::{sync::Arc, time::Duration};

use domain::{
    StorageFailure,
    ports::{
        Atomicity, StorageEngine,
        engine::{Appended, EngineLimits, Guard, Read, RowId, Space, SpaceKind, Transaction},
    },
};
use event_replay_conformance::{
    Draft, EngineCall, EngineFault, EngineStorage as _, FaultScript, FaultyEngine, ManualClock,
    TransactionExt,
};
use naive::Naive;

async fn faulty() -> (Arc<FaultScript>, FaultyEngine<FaultScript>) {
    let script = Arc::new(FaultScript::new());
    let engine = Naive::new(ManualClock::default(), 2).open().await;
    (Arc::clone(&script), FaultyEngine::new(engine, script))
}

async fn append(engine: &impl StorageEngine, id: &str) -> Result<Appended, StorageFailure> {
    engine.append(0, &Draft::many(id, 1), Atomicity::Each, &Transaction::new()).await
}

fn is_unknown<T>(answer: &Result<T, StorageFailure>) -> bool {
    matches!(answer, Err(StorageFailure::Unknown(_)))
}

#[tokio::test]
async fn faults_come_in_the_order_in_which_they_were_planned() {
    let (script, engine) = faulty().await;
    let busy = StorageFailure::Busy { waited: Duration::from_secs(1) };
    let faults = [
        EngineFault::AnswerLost,
        EngineFault::None,
        EngineFault::RequestLost,
        EngineFault::Fails(busy.clone()),
    ];
    script.plan_all("append", faults);
    assert!(is_unknown(&append(&engine, "answer lost").await));
    assert!(append(&engine, "made").await.is_ok());
    assert!(is_unknown(&append(&engine, "request lost").await));
    assert_eq!(append(&engine, "fails").await, Err(busy));
    assert_eq!(script.left(), 0);
    assert!(append(&engine, "made as well").await.is_ok());
    let ids = ["answer lost-0", "made-0", "request lost-0", "fails-0", "made as well-0"];
    let known = engine.locate(0, &ids).await.unwrap();
    assert_eq!(known.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, false, true]);
    assert_eq!(script.calls().len(), 6);
}

#[tokio::test]
async fn a_fault_meets_the_call_that_it_concerns() {
    let (script, engine) = faulty().await;
    script.plan(|call| call.appended_ids().contains(&"bad-0"), EngineFault::Panics);
    script.plan(|call| call.reads(SpaceKind::Schema), EngineFault::RequestLost);
    assert!(append(&engine, "good").await.is_ok());
    let reads = |kind| [Read::all(Space::of(kind))];
    assert!(engine.get(0, &reads(SpaceKind::Checkpoint)).await.is_ok());
    assert!(is_unknown(&engine.get(0, &reads(SpaceKind::Schema)).await));
    assert!(engine.get(0, &reads(SpaceKind::Schema)).await.is_ok());
    assert!(tokio::spawn(async move { append(&engine, "bad").await.is_ok() }).await.unwrap_err().is_panic());
}

#[tokio::test]
async fn a_partition_out_of_reach_fails_alone() {
    let (script, engine) = faulty().await;
    script.reaches(0, false);
    assert!(matches!(engine.state(0).await, Err(StorageFailure::Unavailable(_))));
    assert!(engine.state(1).await.is_ok());
    script.reaches(0, true);
    assert!(engine.state(0).await.is_ok());
    script.is_away(true);
    assert!(engine.state(1).await.is_err() && engine.occupied().await.is_err());
}

#[tokio::test]
async fn limits_are_what_a_test_says() {
    let engine = Naive::new(ManualClock::default(), 1).open().await;
    let limits = EngineLimits { append_events: 3, ..engine.info().limits };
    let faulty = FaultyEngine::new(Arc::clone(&engine), Arc::new(FaultScript::new())).with_limits(limits);
    assert_eq!((faulty.info().limits, faulty.info().store), (limits, engine.info().store));
}

#[test]
fn a_commit_to_a_segment_is_told_from_other_transactions() {
    let row = |kind| Space::within(kind, "g").row("1");
    let mut commit = Transaction::new();
    commit.guard(Guard::Generation(1)).guard(Guard::Is(row(SpaceKind::Fence), b"7".to_vec()));
    commit.put(row(SpaceKind::Segment), "9");
    commit.step();
    commit.guard(Guard::Present(row(SpaceKind::Lane))).put(row(SpaceKind::LaneProgress), "p");
    let mut taking = Transaction::new();
    taking.guard(Guard::Is(row(SpaceKind::Fence), b"7".to_vec())).put(row(SpaceKind::Fence), "8");
    taking.put(row(SpaceKind::Lease), "until");
    let mut making = Transaction::durable();
    making.put(row(SpaceKind::Segment), "0").put(RowId::of(SpaceKind::Group, "g"), "{}");
    let of = |transaction: &Transaction| {
        (transaction.is_segment_commit(), transaction.takes_leases(), transaction.enqueues())
    };
    assert_eq!(
        [of(&commit), of(&taking), of(&making)],
        [(true, false, false), (false, true, false), (false, false, false)]
    );
    let unfenced = commit.without_guards_on(SpaceKind::Fence);
    assert_eq!(unfenced.all_guards().count(), 2);
    assert_eq!(unfenced.all_writes().count(), 2);
    let half = commit.without_writes_to(SpaceKind::LaneProgress);
    assert!(half.is_segment_commit() && !half.writes_to(SpaceKind::LaneProgress));
    assert_eq!(half.steps.len(), 2);
    let calls: [EngineCall<'_>; 1] = [EngineCall {
        partition: Some(0),
        request: event_replay_conformance::EngineRequest::Commit(std::slice::from_ref(&commit)),
    }];
    assert!(calls[0].is_segment_commit() && calls[0].is_write() && calls[0].writes(SpaceKind::Segment));
    assert!(!calls[0].takes_leases() && !calls[0].enqueues() && !calls[0].counts_replays());
}
