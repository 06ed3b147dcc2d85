//! Laws of the counters.

use domain::{
    Event, Filter, Tally,
    ports::{GroupHolds, Order, StatSample, TrimRequest},
    retention::RetentionRule,
};

use super::append::ODD;
use crate::{Bench, Draft, Harness, walk};

fn sample(minute: i64, name: &str, label: &str, count: u64, sum: u64) -> StatSample {
    StatSample { minute, name: name.to_owned(), label: label.to_owned(), count, sum }
}

/// Counts and sums of the same minute, name and label add up. This also holds within one call and across handles.
pub async fn counts_and_sums_add_up(h: &impl Harness) {
    let bench = Bench::new(h).await;
    assert_eq!(bench.store.stats(None).await.unwrap(), []);
    let first = [sample(9, "n", "l", 1, 10), sample(9, "n", "l", 2, 20), sample(9, "n", "", 5, 0)];
    bench.store.add_stats(&first).await.unwrap();
    let big = 1 << 52;
    let second = [sample(9, "n", "l", 4, big), sample(10, "n", "l", 8, 80), sample(9, "m", "l", 1, 0)];
    bench.storage.open().await.add_stats(&second).await.unwrap();
    bench.store.add_stats(&[]).await.unwrap();
    let expected = [
        sample(9, "m", "l", 1, 0),
        sample(9, "n", "", 5, 0),
        sample(9, "n", "l", 7, big + 30),
        sample(10, "n", "l", 8, 80),
    ];
    assert_eq!(bench.store.stats(None).await.unwrap(), expected);
}

/// Samples are sorted by minute, name and label, and start at the given minute. Names and labels of any text stay
/// distinct.
pub async fn samples_come_in_order_from_a_minute_on(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut samples = Vec::new();
    for (n, text) in ODD.iter().enumerate() {
        let (minute, count) = (28_000_000 - (n % 3) as i64, n as u64 + 1);
        samples.push(sample(minute, text, "x", count, 0));
        samples.push(sample(minute, "x", text, count, count));
    }
    bench.store.add_stats(&samples).await.unwrap();
    samples.sort_by(|one, other| {
        (one.minute, &one.name, &one.label).cmp(&(other.minute, &other.name, &other.label))
    });
    let store = bench.storage.open().await;
    assert_eq!(store.stats(None).await.unwrap(), samples);
    for minute in 27_999_997..28_000_002 {
        let since: Vec<_> = samples.iter().filter(|sample| sample.minute >= minute).cloned().collect();
        assert_eq!(store.stats(Some(minute)).await.unwrap(), since, "from {minute} on");
    }
}

/// Samples before a given minute are folded into minute 0. Nothing is lost, even if the fold is repeated.
pub async fn folding_adds_to_minute_0_and_loses_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let samples: Vec<_> = (1..=6).map(|minute| sample(minute, "n", "l", minute as u64, 10)).collect();
    bench.store.add_stats(&samples).await.unwrap();
    bench.store.add_stats(&[sample(2, "n", "other", 1, 1)]).await.unwrap();
    for (before, folded) in [(3, 3), (3, 3), (5, 10)] {
        bench.storage.open().await.fold_stats(before).await.unwrap();
        let mut expected =
            vec![sample(0, "n", "l", folded, 10 * (before as u64 - 1)), sample(0, "n", "other", 1, 1)];
        expected.extend_from_slice(&samples[before as usize - 1..]);
        assert_eq!(bench.store.stats(None).await.unwrap(), expected, "before {before}");
        assert_eq!(bench.store.stats(Some(1)).await.unwrap(), samples[before as usize - 1..]);
    }
    // Later calls may add to minutes that were already folded.
    bench.store.add_stats(&[sample(2, "n", "l", 100, 0)]).await.unwrap();
    bench.store.fold_stats(i64::MAX).await.unwrap();
    let expected = [sample(0, "n", "l", 121, 60), sample(0, "n", "other", 1, 1)];
    assert_eq!(bench.store.stats(None).await.unwrap(), expected);
}

/// Concurrent callers that count the same sample lose nothing, even during a fold. No reader sees half of a call.
pub async fn eight_counters_at_once_lose_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut callers = tokio::task::JoinSet::new();
    for (caller, store) in bench.handles(8).await.into_iter().enumerate() {
        callers.spawn(async move {
            for n in 0..20 {
                let pair = [sample(n % 5 + 1, "one", "", 1, 2), sample(n % 5 + 1, "two", "", 1, 2)];
                store.add_stats(&pair).await.unwrap();
                if caller == 0 {
                    store.fold_stats(n % 5).await.unwrap();
                }
                let seen = store.stats(None).await.unwrap();
                let total = |name: &str| -> u64 {
                    seen.iter().filter(|sample| sample.name == name).map(|sample| sample.count).sum()
                };
                assert_eq!(total("one"), total("two"), "half of a call is seen: {seen:?}");
            }
        });
    }
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    bench.store.fold_stats(i64::MAX).await.unwrap();
    let expected = [sample(0, "one", "", 160, 320), sample(0, "two", "", 160, 320)];
    assert_eq!(bench.store.stats(None).await.unwrap(), expected);
}

/// If a store counts its events, the counts equal the counts of a scan. This holds for every handle after small and
/// large appends, repeated events, a trim and an erasure.
pub async fn events_are_counted_as_a_scan_counts_them(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let event = |n: usize| {
        let at = if n.is_multiple_of(5) { "1969-12-31T23:59:59Z" } else { "2024-01-15T10:30:00Z" };
        let draft = Draft::new(&format!("e{n}")).of_type(ODD[n % ODD.len()]).at(at);
        match n % 3 {
            0 => draft.event(),
            1 => draft.with("userId", format!("u{}", n % 7)).event(),
            _ => draft.with("userId", "u1").with("orderId", format!("o{n}")).event(),
        }
    };
    let compare = async |at: &str| {
        let store = bench.storage.open().await;
        let Some(counts) = store.event_counts().await.unwrap() else { return };
        let mut scanned = Tally::default();
        let read = walk(&*store, &Filter::default().into(), Order::OldestFirst, 500, None).await;
        read.iter().for_each(|stored| scanned.add_event(&stored.event));
        assert_eq!(counts, scanned, "{at}");
    };
    compare("of an empty log").await;
    for n in 0..300 {
        bench.append(&[event(n)]).await;
    }
    compare("one by one").await;
    let many: Vec<Event> = (250..1_650).map(event).collect();
    for batch in many.chunks(100) {
        bench.append(batch).await;
    }
    compare("in batches, some of them again").await;
    let rule = RetentionRule { max_events: Some(1_200), ..RetentionRule::default() };
    let request =
        TrimRequest { rule, holds: vec![], limit: 1_000, dry_run: false, groups: GroupHolds::default() };
    assert!(bench.trim(&request).await.events > 0);
    compare("trimmed").await;
    assert!(bench.erase("user", "u1").await.events > 0);
    compare("erased").await;
    let more: Vec<Event> = (2_000..2_090).map(event).collect();
    bench.append(&more).await;
    compare("appended to again").await;
}
