//! Laws of the events that a group passed and did not deliver.

use domain::{
    TypePattern,
    group::{GroupSpec, Key, PassedEvents, SkippedRange},
    ports::{CommitOutcome, SegmentCommit},
};

use super::support::{row, spec};
use crate::{Bench, Draft, Harness};

impl Bench {
    /// Returns the passed events of a group in the only partition, read through another handle.
    async fn passed(&self, group: &str) -> PassedEvents {
        let mut parts = self.storage.open().await.passed(group).await.unwrap().expect("a known group");
        assert_eq!(parts.len(), 1, "{parts:?}");
        parts.remove(0)
    }

    async fn reset(&self, group: &str, mark: u64) {
        self.store.reset_group(group, &self.mark(mark).await).await.unwrap();
    }
}

fn of_types(name: &str, types: &[&str]) -> GroupSpec {
    GroupSpec { types: types.iter().copied().map(TypePattern::new).collect(), ..spec(name, 2) }
}

/// No consumer has read the events before the place where a group began. A creation of the same group changes nothing.
pub async fn a_new_group_has_passed_the_events_before_its_start(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    for (name, begins_after) in [("first", 0), ("later", 5), ("last", 9)] {
        bench.make_group(&spec(name, 2), begins_after).await;
        bench.make_group(&spec(name, 2), 3).await;
        assert_eq!(bench.passed(name).await, PassedEvents::of_new_group(begins_after), "{name}");
    }
    bench.pass("later", 7).await;
    assert_eq!(bench.passed("later").await, PassedEvents::of_new_group(5), "progress changes nothing");
}

/// A reset forward skips the events after the highest claim. A reset back takes from the skipped events those after its
/// mark, because the group delivers them.
pub async fn a_reset_skips_no_event_that_a_consumer_claimed(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 2), 1).await;
    let leases = bench.lease("g", "c").await;
    let commits: Vec<_> = leases
        .held
        .iter()
        .cloned()
        .zip([(2, 2), (2, 4)])
        .map(|(lease, (cursor, claimed_to))| SegmentCommit::new(lease, cursor, claimed_to))
        .collect();
    assert_eq!(bench.store.commit(&commits).await.unwrap(), vec![CommitOutcome::Committed; 2]);
    let skipped = |after, through| Some(SkippedRange { after, through });
    bench.reset("g", 8).await;
    let passed = bench.passed("g").await;
    assert_eq!((passed.before_start, passed.skipped), (1, skipped(4, 8)));
    bench.reset("g", 6).await;
    let passed = bench.passed("g").await;
    assert_eq!((passed.before_start, passed.skipped), (1, skipped(4, 6)));
    bench.reset("g", 0).await;
    let passed = bench.passed("g").await;
    assert_eq!((passed.before_start, passed.skipped), (0, None));
    bench.reset("g", 9).await;
    let passed = bench.passed("g").await;
    assert_eq!((passed.before_start, passed.skipped), (0, skipped(4, 9)));
}

/// A change of the types keeps the types before it, and the place up to which every segment had passed the log.
pub async fn a_group_has_passed_the_events_of_a_type_that_it_did_not_take(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&of_types("g", &["a.*"]), 0).await;
    let leases = bench.lease("g", "c").await;
    let commits: Vec<_> = leases
        .held
        .iter()
        .cloned()
        .zip([3, 5])
        .map(|(lease, cursor)| SegmentCommit::new(lease, cursor, cursor))
        .collect();
    assert_eq!(bench.store.commit(&commits).await.unwrap(), vec![CommitOutcome::Committed; 2]);
    let handles = bench.handles(2).await;
    let at = bench.mark(9).await;
    for handle in &handles {
        handle.create_group(&of_types("g", &["a.*", "b"]), &at).await.unwrap();
    }
    let passed = bench.passed("g").await;
    assert_eq!(passed.types.len(), 1, "the second call changed nothing: {passed:?}");
    assert_eq!(passed.types[0].types, [TypePattern::new("a.*")]);
    assert_eq!(["a.x", "b", "c"].map(|name| passed.passed_without(name)), [0, 3, 3]);
    bench.make_group(&of_types("g", &[]), 9).await;
    let passed = bench.passed("g").await;
    assert_eq!(["a.x", "b", "c"].map(|name| passed.passed_without(name)), [0, 3, 3]);
    bench.reset("g", 2).await;
    let passed = bench.passed("g").await;
    assert_eq!(["a.x", "b", "c"].map(|name| passed.passed_without(name)), [0, 2, 2]);
}

/// A group reads the events of a blocked key again, with its new types. So they do not count as passed.
pub async fn the_events_of_a_blocked_key_are_not_passed(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&of_types("g", &["a.*"]), 0).await;
    let leases = bench.lease("g", "c").await;
    let commits: Vec<_> = leases
        .held
        .iter()
        .cloned()
        .zip([vec![], vec![row(Key::new("user", "u"), 4, &bench)]])
        .map(|(lease, blocked)| SegmentCommit { blocked, ..SegmentCommit::new(lease, 8, 8) })
        .collect();
    assert_eq!(bench.store.commit(&commits).await.unwrap(), vec![CommitOutcome::Committed; 2]);
    bench.make_group(&of_types("g", &["a.*", "b"]), 9).await;
    assert_eq!(bench.passed("g").await.passed_without("b"), 3);
}

/// A group that does not exist has passed no known events. Neither has a group that was deleted.
pub async fn the_passed_events_of_an_unknown_group_are_none(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 3)).await;
    assert_eq!(bench.store.passed("g").await.unwrap(), None);
    bench.make_group(&spec("g", 2), 2).await;
    assert!(bench.store.passed("g").await.unwrap().is_some());
    assert_eq!(bench.store.passed("G").await.unwrap(), None);
    bench.store.delete_group("g").await.unwrap();
    assert_eq!(bench.store.passed("g").await.unwrap(), None);
    bench.make_group(&spec("g", 2), 1).await;
    assert_eq!(bench.passed("g").await, PassedEvents::of_new_group(1));
}
