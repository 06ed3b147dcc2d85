//! Laws of cursors. A mark that does not belong to this log is refused and never reinterpreted.

use std::sync::Arc;

use domain::{
    Cursor, Filter,
    ports::{EventStoreError, GroupHolds, Order, ReadRequest, TrimRequest},
    retention::RetentionRule,
};

use crate::{Bench, Draft, Harness};

/// Returns the error of every call that accepts a cursor.
async fn refusals(bench: &Bench, cursor: &Cursor) -> Vec<EventStoreError> {
    let request = ReadRequest::new(Filter::default(), 10);
    let mut refusals = Vec::new();
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let after = ReadRequest { order, after: Some(cursor.clone()), ..request.clone() };
        refusals.push(bench.store.read(&after).await.expect_err("read after it"));
        let until = ReadRequest { order, until: Some(cursor.clone()), ..request.clone() };
        refusals.push(bench.store.read(&until).await.expect_err("read until it"));
    }
    refusals.push(bench.store.count(&Arc::default(), Some(cursor)).await.expect_err("count until it"));
    refusals.push(bench.store.changed(cursor, std::time::Duration::ZERO).await.expect_err("wait after it"));
    refusals
}

/// A cursor of another store is refused with `ForeignCursor`, which names both stores.
pub async fn a_cursor_of_another_store_is_foreign(h: &impl Harness) {
    let (bench, other) = (Bench::new(h).await, Bench::new(h).await);
    bench.store_all(&Draft::many("e", 3)).await;
    other.store_all(&Draft::many("e", 3)).await;
    let foreign = other.store.head().await.unwrap();
    let store = bench.store.info().await.unwrap().id;
    assert_ne!(foreign.store, store, "two stores have two identities");
    for refusal in refusals(&bench, &foreign).await {
        assert_eq!(refusal, EventStoreError::ForeignCursor { cursor: foreign.store, store });
    }
}

/// A cursor beyond the head is reported as lost.
pub async fn a_cursor_beyond_the_head_is_lost(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&Draft::many("e", 3)).await;
    let head = bench.store.head().await.unwrap();
    for partition in 0..bench.partitions {
        // A read of several partitions in reverse order may continue from one sequence past the head of a partition. A
        // cursor there is therefore valid.
        let next = head.sequence(partition) + if bench.partitions == 1 { 1 } else { 2 };
        for sequence in [next, i64::MAX as u64, u64::MAX] {
            let mut beyond = head.clone();
            beyond.sequences[usize::from(partition)] = sequence;
            for refusal in refusals(&bench, &beyond).await {
                assert_eq!(refusal.kind(), "lost-cursor", "at {partition}:{sequence}: {refusal}");
            }
        }
    }
    for sequences in [Vec::new(), vec![0; head.sequences.len() + 1]] {
        for refusal in refusals(&bench, &Cursor { sequences, ..head.clone() }).await {
            assert_eq!(refusal.kind(), "lost-cursor", "of another number of partitions: {refusal}");
        }
    }
}

/// A cursor of an unknown log epoch is lost, at any position.
pub async fn a_cursor_of_an_unknown_log_epoch_is_lost(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&Draft::many("e", 3)).await;
    let head = bench.store.head().await.unwrap();
    for epoch in [head.epoch + 1, u64::MAX] {
        for refusal in refusals(&bench, &Cursor { epoch, ..head.clone() }).await {
            assert_eq!(refusal.kind(), "lost-cursor", "in epoch {epoch}: {refusal}");
        }
    }
}

/// A cursor before a trimmed range is still valid. A read continues with the remaining events. The store reports the
/// last trimmed position, so that a reader can detect skipped events.
pub async fn a_cursor_before_what_was_trimmed_goes_on_with_what_is_left(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let start = bench.store.head().await.unwrap();
    let positions = bench.store_all(&Draft::many("e", 5)).await;
    assert_eq!(bench.store.info().await.unwrap().trimmed_through, start.sequences);
    let rule = RetentionRule { max_events: Some(2), ..RetentionRule::default() };
    bench
        .trim(&TrimRequest {
            rule,
            holds: Vec::new(),
            limit: 100,
            dry_run: false,
            groups: GroupHolds::default(),
        })
        .await;
    let request = ReadRequest { after: Some(start), ..ReadRequest::new(Filter::default(), 10) };
    let page = bench.store.read(&request).await.unwrap();
    let read: Vec<_> = page.events.iter().map(|stored| stored.position).collect();
    assert_eq!(read, positions[3..]);
    let trimmed = |partition| {
        let gone = positions[..3].iter().filter(|position| position.partition == partition);
        gone.map(|position| position.sequence).max().unwrap_or(0)
    };
    let expected: Vec<u64> = (0..bench.partitions).map(trimmed).collect();
    assert_eq!(bench.store.info().await.unwrap().trimmed_through, expected);
}
