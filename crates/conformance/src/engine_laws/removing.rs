//! Laws of removing, verifying and scrubbing.

use std::sync::Arc;

use domain::{
    Entity, Event, Filter, Position,
    ordering::KeySource,
    ports::{
        AppendOutcome, Order, VerifyReport,
        engine::{Guard, IdState, RemovalKind, Removed, RowId, SpaceKind, Transaction, log::bytes_of},
    },
};

use super::{ids, sequence_of};
use crate::{Draft, EngineBench, EngineHarness};

const KINDS: [RemovalKind; 3] = [RemovalKind::Oldest, RemovalKind::Among, RemovalKind::Erase];

fn number() -> RowId {
    RowId::of(SpaceKind::Counter, "n")
}

/// Stores `e0` to `e4` with one ordering key and different users. Returns their sequences.
async fn five(bench: &EngineBench) -> Vec<u64> {
    let draft = |n| Draft::new(&format!("e{n}")).with("userId", format!("u{n}")).with("correlationId", "c");
    let events: Vec<Event> =
        (0..5).map(|n| draft(n).event().with_key_source(KeySource::Correlation)).collect();
    bench.store(&events).await
}

/// Returns the range of the five events that a removal of this kind removes.
fn victims(kind: RemovalKind) -> std::ops::Range<usize> {
    match kind {
        RemovalKind::Oldest => 0..2,
        RemovalKind::Among | RemovalKind::Erase => 2..4,
    }
}

async fn verified(bench: &EngineBench) -> VerifyReport {
    bench.engine.verify(bench.partition, &|_| {}).await.expect("verify")
}

/// No read by position, id or filter returns a removed event. The counts fall accordingly, and a trim is recorded.
pub async fn remove_takes_events_from_the_log_and_every_index(h: &impl EngineHarness) {
    for kind in KINDS {
        let bench = EngineBench::new(h).await;
        let sequences = five(&bench).await;
        let (log, before) = (bench.log().await, bench.state().await);
        let going = &log[victims(kind)];
        let bytes: u64 = going.iter().map(bytes_of).sum();
        let removed = bench.remove(going, kind, &Transaction::new()).await;
        assert_eq!(removed, Removed::Done { events: 2, bytes }, "{kind:?}");
        let left: Vec<String> =
            (0..5).filter(|n| !victims(kind).contains(n)).map(|n| format!("e{n}")).collect();
        let gone = ids(going);
        for filter in [Filter::default(), Filter::correlation("c")] {
            assert_eq!(ids(&bench.scan(filter.clone(), Order::OldestFirst, 2).await), left, "{kind:?}");
            let filter = Arc::new(filter);
            let count = bench.engine.count(bench.partition, &filter, sequences[4]).await.unwrap();
            assert_eq!(count, 3, "{kind:?} {filter:?}");
        }
        for n in victims(kind) {
            for filter in [
                Filter::of_entity(Entity::new("user", format!("u{n}"))),
                Filter { event_ids: [format!("e{n}")].into(), ..Filter::default() },
            ] {
                assert!(bench.scan(filter, Order::NewestFirst, 2).await.is_empty(), "{kind:?}: e{n}");
            }
        }
        let asked: Vec<&str> = gone.iter().map(String::as_str).collect();
        let known = bench.storage.open().await.locate(bench.partition, &asked).await.unwrap();
        let expected = (kind == RemovalKind::Erase).then_some(IdState::Erased);
        assert_eq!(known, [expected; 2], "{kind:?}");
        let at = bench.engine.at(bench.partition, &sequences[victims(kind)]).await.unwrap();
        assert!(at.iter().all(Option::is_none), "{kind:?}: {at:?}");
        let after = bench.state().await;
        assert_eq!((after.head, after.events, after.bytes), (before.head, 3, before.bytes - bytes));
        let trimmed = if kind == RemovalKind::Erase { 0 } else { sequence_of(&going[1]) };
        assert_eq!(after.trimmed_through, trimmed, "{kind:?}");
        let report = verified(&bench).await;
        assert_eq!((report.total_findings, report.events), (0, 3), "{kind:?}: {report:?}");
    }
}

/// A removal performs the writes of its transaction, even if no entry is left to remove.
pub async fn remove_performs_its_transaction(h: &impl EngineHarness) {
    for kind in KINDS {
        let bench = EngineBench::new(h).await;
        five(&bench).await;
        let log = bench.log().await;
        let mut with = Transaction::new();
        with.guard(Guard::Absent(number())).add(number(), 2);
        let removed = bench.remove(&log[..1], kind, &with).await;
        assert!(matches!(removed, Removed::Done { events: 1, .. }), "{kind:?}: {removed:?}");
        assert_eq!(bench.row(&number()).await, Some(b"2".to_vec()), "{kind:?}");
        let mut with = Transaction::new();
        with.guard(Guard::Present(number())).add(number(), 2);
        let removed = bench.remove(&log[..1], kind, &with).await;
        assert_eq!(removed, Removed::Done { events: 0, bytes: 0 }, "{kind:?}");
        assert_eq!(bench.row(&number()).await, Some(b"4".to_vec()), "{kind:?}");
    }
}

/// If a guard does not hold, no event is removed, no id is refused and no row is written. The outcome names the guard.
pub async fn remove_whose_guard_does_not_hold_changes_nothing(h: &impl EngineHarness) {
    for kind in KINDS {
        let bench = EngineBench::new(h).await;
        five(&bench).await;
        let (log, before) = (bench.log().await, bench.state().await);
        let mut with = Transaction::new();
        with.guard(Guard::Absent(number())).guard(Guard::Is(number(), b"1".to_vec())).add(number(), 2);
        let removed = bench.remove(&log[..2], kind, &with).await;
        assert_eq!(removed, Removed::Refused { guard: 1 }, "{kind:?}");
        assert_eq!(bench.row(&number()).await, None, "{kind:?}");
        assert_eq!(bench.state().await, before, "{kind:?}");
        assert_eq!(bench.ids().await.len(), 5, "{kind:?}");
        let known = bench.engine.locate(bench.partition, &["e0"]).await.unwrap();
        assert_eq!(known, [Some(IdState::Stored(sequence_of(&log[0])))], "{kind:?}");
    }
}

/// Events that are already removed are not counted. The other events are removed.
pub async fn remove_passes_over_what_is_gone(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    five(&bench).await;
    let log = bench.log().await;
    bench.remove(&log[..1], RemovalKind::Oldest, &Transaction::new()).await;
    let removed = bench.remove(&log[..3], RemovalKind::Oldest, &Transaction::new()).await;
    let bytes = bytes_of(&log[1]) + bytes_of(&log[2]);
    assert_eq!(removed, Removed::Done { events: 2, bytes });
    assert_eq!(bench.ids().await, ["e3", "e4"]);
    assert_eq!(bench.state().await.events, 2);
}

/// The ids of erased events are refused with any content, through every handle and after a restart. Ids of trimmed
/// events are not.
pub async fn erased_ids_are_refused(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    five(&bench).await;
    let log = bench.log().await;
    bench.remove(&log[..1], RemovalKind::Oldest, &Transaction::new()).await;
    bench.remove(&log[2..3], RemovalKind::Erase, &Transaction::new()).await;
    let bench = bench.reopened().await;
    let erased = &log[2].as_ref().unwrap().event;
    let outcomes = bench.append(&[erased.clone(), Draft::new("e2").event(), Draft::new("e0").event()]).await;
    assert_eq!(outcomes[..2], [AppendOutcome::Erased, AppendOutcome::Erased]);
    assert!(matches!(outcomes[2], AppendOutcome::Stored(_)), "{outcomes:?}");
    assert_eq!(bench.ids().await, ["e1", "e3", "e4", "e0"]);
}

/// A log with appends, trims and erasures has no findings, and all events are checked.
pub async fn verify_finds_nothing_in_a_healthy_log(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let report = verified(&bench).await;
    assert_eq!((report.total_findings, report.events), (0, 0), "{report:?}");
    five(&bench).await;
    let log = bench.log().await;
    for (victim, kind) in (0..).zip(KINDS) {
        bench.remove(&log[victim..=victim], kind, &Transaction::new()).await;
        let checked = std::sync::Mutex::new(Vec::new());
        let note = |events| checked.lock().unwrap().push(events);
        let report = bench.engine.verify(bench.partition, &note).await.unwrap();
        let left = 4 - victim as u64;
        assert_eq!((report.total_findings, report.events), (0, left), "after {kind:?}: {report:?}");
        let checked = checked.into_inner().unwrap();
        assert!(checked.is_sorted() && checked.iter().all(|events| *events <= left), "{checked:?}");
    }
}

async fn expect_a_finding(bench: &EngineBench, sequence: u64) {
    let at = Position::new(bench.partition, sequence);
    let report = verified(bench).await;
    assert!(report.total_findings >= 1, "{report:?}");
    assert!(report.findings.iter().any(|finding| finding.position == Some(at)), "{report:?}");
    let others = |position: &Option<Position>| position.is_some_and(|position| position != at);
    assert!(!report.findings.iter().any(|finding| others(&finding.position)), "of {at} alone: {report:?}");
}

/// An event without an index entry is reported.
pub async fn verify_finds_an_event_without_its_index_entry(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = five(&bench).await;
    let Some(faults) = bench.storage.faults() else { return };
    faults.drop_index_entry(Position::new(bench.partition, sequences[3])).await;
    expect_a_finding(&bench, sequences[3]).await;
}

/// An index entry without its event is reported, and does not affect scans.
pub async fn verify_finds_an_index_entry_without_its_event(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = five(&bench).await;
    let Some(faults) = bench.storage.faults() else { return };
    let log = bench.log().await;
    bench.remove(&log[4..], RemovalKind::Erase, &Transaction::new()).await;
    faults.plant_index_entry(Position::new(bench.partition, sequences[4])).await;
    expect_a_finding(&bench, sequences[4]).await;
    assert_eq!(bench.ids().await, ["e0", "e1", "e2", "e3"]);
}

/// An event with damaged bytes is reported.
pub async fn verify_finds_bytes_that_are_damaged(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let sequences = five(&bench).await;
    let Some(faults) = bench.storage.faults() else { return };
    faults.damage_event(Position::new(bench.partition, sequences[1])).await;
    expect_a_finding(&bench, sequences[1]).await;
}

/// After an erasure and a scrub, the storage has no bytes of the event, or of rows whose transaction erases. Otherwise
/// the scrub reports where such bytes remain.
pub async fn scrub_leaves_no_byte_of_what_was_erased_or_says_where(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    // The text is random, so that compression does not hide it.
    let secrets = [(); 2].map(|()| format!("{:032x}", fastrand::u128(..)));
    let filler = |n: usize| Draft::new(&format!("f{n}")).with("data", "x".repeat(500)).event();
    bench.store(&(0..50).map(filler).collect::<Vec<Event>>()).await;
    let secret = bench.store(&[Draft::new("secret").with("data", secrets[0].as_str()).event()]).await[0];
    bench.store(&(50..100).map(filler).collect::<Vec<Event>>()).await;
    let copy = RowId::of(SpaceKind::Scheduled, "copy");
    let mut transaction = Transaction::durable();
    transaction.put(copy.clone(), format!("{{\"data\":{:?}}}", secrets[1]));
    bench.commit_ok(&transaction).await;
    for (bytes, what) in secrets.iter().zip(["the event", "the row"]) {
        let holds = bench.storage.holds_bytes(bytes.as_bytes()).await;
        assert_ne!(holds, Some(false), "a storage that can be searched has the bytes of {what}");
    }
    let entry = bench.engine.at(bench.partition, &[secret]).await.unwrap().remove(0).unwrap();
    bench.remove(&[entry], RemovalKind::Erase, &Transaction::new()).await;
    let mut transaction = Transaction::durable();
    transaction.erases = true;
    transaction.delete(copy).write(domain::ports::engine::Write::Tombstone("copy".to_owned()));
    bench.commit_ok(&transaction).await;
    let remains = bench.engine.scrub(bench.partition, true).await.unwrap();
    for (bytes, what) in secrets.iter().zip(["the event", "the row"]) {
        let holds = bench.storage.holds_bytes(bytes.as_bytes()).await;
        assert!(holds != Some(true) || !remains.is_empty(), "bytes of {what} are left, and nothing is said");
    }
    assert_eq!(bench.state().await.events, 100);
    assert_eq!(verified(&bench).await.total_findings, 0);
    // A scrub without an earlier removal changes nothing.
    bench.engine.scrub(bench.partition, false).await.unwrap();
    assert_eq!(bench.log().await.len(), 100);
}
