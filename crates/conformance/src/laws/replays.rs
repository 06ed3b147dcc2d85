//! Laws of the replay store.

use std::time::Duration;

use domain::{Filter, Position, StoredEvent, ports::Clock};
use jiff::Timestamp;

use crate::{Bench, Draft, Harness, json_of};

fn counts(events: &[StoredEvent]) -> Vec<(u32, Option<Timestamp>)> {
    events.iter().map(|stored| (stored.replay_count, stored.last_replay_at)).collect()
}

/// A recorded replay raises each count by one and sets the time. Other events keep their values. Every read through
/// every handle returns the new values.
pub async fn recording_raises_counts_and_sets_times(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = bench.store_all(&Draft::many("e", 4)).await;
    let first = bench.clock.now();
    bench.store.record_replayed(&[positions[2], positions[0]], first).await.unwrap();
    let second = first + Duration::from_secs(1);
    bench.storage.open().await.record_replayed(&positions[2..], second).await.unwrap();
    let expected = [(1, Some(first)), (0, None), (2, Some(second)), (1, Some(second))];
    assert_eq!(counts(&bench.all(Filter::default()).await), expected);
    let ids: Vec<String> = (0..4).map(|n| format!("e-{n}")).collect();
    assert_eq!(counts(&bench.store.get(&ids).await.unwrap()), expected);
    let of_source = Filter { sources: ["user-service".to_owned()].into(), ..Filter::default() };
    assert_eq!(counts(&bench.all(of_source).await), expected);
}

/// A replay stores no event. The head, counts, bytes, positions and stored times stay the same. A repeated append of an
/// event still finds the stored event.
pub async fn recording_changes_nothing_else(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let events = Draft::many("e", 4);
    let positions = bench.store_all(&events).await;
    let (info, before) = (bench.store.info().await.unwrap(), bench.all(Filter::default()).await);
    bench.clock.advance(Duration::from_secs(5));
    bench.store.record_replayed(&positions, bench.clock.now()).await.unwrap();
    let after = bench.all(Filter::default()).await;
    assert_eq!(json_of(&after), json_of(&before));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!((after.position, after.stored_at), (before.position, before.stored_at));
    }
    let now = bench.store.info().await.unwrap();
    assert_eq!((now.head, now.events, now.bytes), (info.head, info.events, info.bytes));
    bench.append(&events).await;
    assert_eq!(bench.all(Filter::default()).await[0].replay_count, 1);
    bench.verify_is_clean().await;
}

/// Positions without an event are skipped. The other positions are counted.
pub async fn recording_passes_over_positions_that_are_gone(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let gone = |id| Draft::new(id).with("userId", "x").event();
    let events = [gone("a"), Draft::new("b").event(), gone("c"), Draft::new("d").event(), gone("e")];
    let positions = bench.store_all(&events).await;
    bench.erase("user", "x").await;
    let nowhere = Position::new(bench.partitions, 1);
    let odd = [Position::new(0, 0), nowhere, Position::new(0, u64::MAX)];
    bench.store.record_replayed(&[&positions[..], &odd].concat(), bench.clock.now()).await.unwrap();
    bench.store.record_replayed(&[], bench.clock.now()).await.unwrap();
    assert_eq!(counts(&bench.all(Filter::default()).await), [(1, Some(bench.clock.now())); 2]);
    bench.verify_is_clean().await;
}

/// A position that a call names twice is counted once.
pub async fn recording_counts_a_position_once_a_call(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = bench.store_all(&Draft::many("e", 2)).await;
    let twice = [positions[0], positions[1], positions[0], positions[0]];
    let at = bench.clock.now();
    bench.store.record_replayed(&twice, at).await.unwrap();
    assert_eq!(counts(&bench.all(Filter::default()).await), [(1, Some(at)); 2]);
}
