//! Laws of the information that a store gives about itself.

use std::sync::{Arc, Mutex};

use domain::{
    Event, Filter, Position,
    ordering::KeySource,
    ports::{GroupHolds, TrimRequest, event_store::ProgressCallback},
    retention::RetentionRule,
};

use crate::{Bench, Draft, Harness};

/// Returns events of one ordering key, so that a chunk always holds several of them.
fn events() -> Vec<Event> {
    let draft = |n| Draft::new(&format!("e{n}")).with("userId", format!("u{n}")).with("correlationId", "c");
    (0..5).map(|n| draft(n).event().with_key_source(KeySource::Correlation)).collect()
}

/// A store with appends, trims and erasures has no findings. Every event and every index entry is checked.
pub async fn verify_finds_nothing_in_a_healthy_store(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.verify_is_clean().await;
    bench.store_all(&events()).await;
    let report = bench.store.verify(None).await.unwrap();
    assert_eq!((report.total_findings, report.events), (0, 5));
    assert!(report.index_entries >= 5, "{report:?}");
    let rule = RetentionRule { max_events: Some(4), ..RetentionRule::default() };
    bench
        .trim(&TrimRequest {
            rule,
            holds: Vec::new(),
            limit: 10,
            dry_run: false,
            groups: GroupHolds::default(),
        })
        .await;
    bench.erase("user", "u2").await;
    let report = bench.store.verify(None).await.unwrap();
    assert_eq!((report.total_findings, report.events), (0, 3));
}

async fn expect_a_finding(bench: &Bench, at: Position) {
    let report = bench.store.verify(None).await.unwrap();
    assert!(report.total_findings >= 1 && !report.findings.is_empty(), "{report:?}");
    let about = |position: &Option<Position>| position.is_none_or(|position| position == at);
    assert!(report.findings.iter().all(|finding| about(&finding.position)), "of {at} alone: {report:?}");
    assert!(report.findings.iter().any(|finding| finding.position == Some(at)), "{report:?}");
}

/// An event without one of its index entries is reported with its position.
pub async fn verify_finds_an_event_without_an_index_entry(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = bench.store_all(&events()).await;
    let Some(faults) = bench.storage.faults() else { return bench.verify_is_clean().await };
    faults.drop_index_entry(positions[3]).await;
    expect_a_finding(&bench, positions[3]).await;
}

/// An index entry without its event is reported with its position.
pub async fn verify_finds_an_index_entry_without_an_event(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = bench.store_all(&events()).await;
    let Some(faults) = bench.storage.faults() else { return bench.verify_is_clean().await };
    bench.erase("user", "u4").await;
    faults.plant_index_entry(positions[4]).await;
    expect_a_finding(&bench, positions[4]).await;
    // The index entry does not affect readers.
    assert_eq!(bench.count(Filter::default()).await, 4);
    assert_eq!(bench.ids(Filter::default()).await.len(), 4);
}

/// An event with changed bytes is reported with its position.
pub async fn verify_finds_damaged_bytes(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = bench.store_all(&events()).await;
    let Some(faults) = bench.storage.faults() else { return bench.verify_is_clean().await };
    faults.damage_event(positions[1]).await;
    expect_a_finding(&bench, positions[1]).await;
}

/// The reported progress rises to the total.
pub async fn verify_says_how_far_it_is(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&Draft::many("e", 2_500)).await;
    let said = Arc::new(Mutex::new(Vec::new()));
    let listener = said.clone();
    let progress: ProgressCallback =
        Arc::new(move |done, total| listener.lock().unwrap().push((done, total)));
    let report = bench.store.verify(Some(progress)).await.unwrap();
    assert_eq!(report.events, 2_500);
    let said = said.lock().unwrap();
    assert!(said.is_sorted(), "{said:?}");
    assert!(said.iter().all(|(done, total)| done <= total), "{said:?}");
    let last = said.last().unwrap();
    assert_eq!(last.0, last.1, "{said:?}");
}

/// `info` counts the stored events. All callers see the same identity of a storage.
pub async fn info_counts_events_and_bytes(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let empty = bench.store.info().await.unwrap();
    assert_eq!((empty.events, empty.bytes), (0, 0));
    let events = events();
    bench.store_all(&events).await;
    bench.erase("user", "u0").await;
    let info = bench.storage.open().await.info().await.unwrap();
    let bytes: usize = events[1..].iter().map(Event::size_bytes).sum();
    assert_eq!((info.events, info.bytes), (4, bytes as u64));
    assert_eq!(info.head, bench.store.head().await.unwrap());
    assert_eq!((info.id, info.namespace), (empty.id, empty.namespace));
    assert_eq!(info.head.store, info.id);
}
