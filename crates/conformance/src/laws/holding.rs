//! Laws of holds. Groups and replays keep events from being trimmed, and gaps record the events that they could not
//! keep.

use std::time::Duration;

use domain::{
    Filter, Position, TypePattern,
    group::{FORGOTTEN_AFTER, Gap, Key, MAX_GAPS},
    ports::{Clock as _, GroupHolds, ReplayState, ReplayUpdate, RetentionMode, SegmentCommit, TrimRequest},
    retention::RetentionRule,
};

use super::support::{LONG, batch, keep_newest, planned, progress, row, spec, token};
use crate::{Bench, Draft, Harness};

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("e-{n}")).collect()
}

/// Trims all events that may be removed. Checks that the given holder is named for the others. Returns the number of
/// removed events.
async fn trim_all(bench: &Bench, holder: &str) -> u64 {
    let promised = bench.trim(&TrimRequest { dry_run: true, ..keep_newest(0) }).await;
    let trimmed = bench.trim(&keep_newest(0)).await;
    assert_eq!(trimmed, promised, "a dry run says the same");
    let held_by = trimmed.held_by.unwrap_or_default();
    assert!(held_by.contains(holder), "held by {held_by:?}, not {holder:?}");
    trimmed.events
}

/// Events after the cursor of the slowest segment stay until the group has passed them or is deleted.
pub async fn trim_keeps_what_a_group_has_not_passed(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    bench.make_group(&spec("slow", 16), 2).await;
    bench.make_group(&spec("fast", 1), 7).await;
    assert_eq!(trim_all(&bench, "slow").await, 2);
    assert_eq!(bench.ids(Filter::default()).await, ids(2..10));
    // All segments except one have passed the rest.
    let mut held = bench.lease("slow", "c").await.held;
    let last = held.pop().unwrap();
    for lease in held {
        bench.commit_ok(SegmentCommit::new(lease, 9, 9)).await;
    }
    assert_eq!(trim_all(&bench, "slow").await, 0);
    bench.commit_ok(SegmentCommit::new(last.clone(), 4, 9)).await;
    assert_eq!(trim_all(&bench, "slow").await, 2, "a claim passes nothing");
    bench.commit_ok(SegmentCommit::new(last, 9, 9)).await;
    assert_eq!(trim_all(&bench, "fast").await, 3);
    assert_eq!(bench.ids(Filter::default()).await, ids(7..10));
    bench.storage.open().await.delete_group("fast").await.unwrap();
    assert_eq!(trim_all(&bench, "slow").await, 2);
    assert_eq!(bench.status("slow").await.record.gaps, []);
}

/// Events of blocked keys (ledger rows) stay, whether the keys wait for a retry or are parked.
pub async fn trim_keeps_what_a_ledger_names(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    bench.make_group(&spec("g", 1), 0).await;
    let lease = bench.only("g", "c").await;
    let mut parked = row(Key::new("user", "parked"), 3, &bench);
    parked.due = None;
    let blocked = vec![row(Key::new("user", "u"), 6, &bench), parked.clone()];
    bench.commit_ok(SegmentCommit { blocked, ..SegmentCommit::new(lease.clone(), 9, 9) }).await;
    assert_eq!(trim_all(&bench, "g").await, 2);
    assert_eq!(bench.ids(Filter::default()).await, ids(2..10));
    let unblocked = vec![parked.key];
    bench.commit_ok(SegmentCommit { unblocked, ..SegmentCommit::new(lease.clone(), 9, 9) }).await;
    assert_eq!(trim_all(&bench, "g").await, 3);
    let unblocked = vec![Key::new("user", "u")];
    bench.commit_ok(SegmentCommit { unblocked, ..SegmentCommit::new(lease, 9, 9) }).await;
    assert_eq!(trim_all(&bench, "g").await, 4);
}

/// Events that a lane (replay queue) refers to stay until their batch has left the lane.
pub async fn trim_keeps_what_a_lane_refers_to(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    bench.make_group(&spec("g", 1), 10).await;
    bench.replay("r").await;
    bench.queue(&[batch("g", 0, "r", 0, &[6, 9]), batch("g", 0, "r", 1, &[3])]).await;
    assert_eq!(trim_all(&bench, "g").await, 2);
    let lane = bench.lane_of("g", 0).await;
    let lease = bench.only("g", "c").await;
    let lane_done = vec![(lane[1].seq, progress(1, &[0]))];
    bench.commit_ok(SegmentCommit { lane_done, ..SegmentCommit::new(lease, 10, 10) }).await;
    assert_eq!(trim_all(&bench, "g").await, 3);
    assert_eq!(bench.store.withdraw("r").await.unwrap(), 2);
    assert_eq!(trim_all(&bench, "").await, 5);
}

/// A group holds nothing after a long time without a consumer. It holds events again after the next visit of a
/// consumer.
pub async fn a_forgotten_group_holds_nothing(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    bench.make_group(&spec("g", 2), 0).await;
    bench.clock.advance(Duration::from_secs(3600));
    bench.lease("g", "c").await;
    bench.clock.advance(FORGOTTEN_AFTER - Duration::from_secs(1));
    assert_eq!(trim_all(&bench, "g").await, 0);
    let groups = GroupHolds { forgotten_after: Duration::from_secs(3600), max_hold: None };
    let request = TrimRequest { groups, ..keep_newest(8) };
    assert_eq!(bench.trim(&request).await.events, 2, "the trim says when a group is forgotten");
    bench.clock.advance(Duration::from_secs(2));
    let trimmed = bench.trim(&keep_newest(6)).await;
    assert_eq!((trimmed.events, trimmed.held_by), (2, None));
    bench.lease("g", "c").await;
    assert_eq!(trim_all(&bench, "g").await, 0);
    assert_eq!(bench.ids(Filter::default()).await, ids(4..10));
}

/// Even a slow group does not hold events that are older than the longest hold of the trim.
pub async fn no_group_holds_beyond_the_longest_hold(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    bench.make_group(&spec("g", 2), 1).await;
    let max_hold = Some(Duration::from_secs(4 * 60 + 30));
    let request = TrimRequest { groups: GroupHolds { max_hold, ..GroupHolds::default() }, ..keep_newest(0) };
    let promised = bench.trim(&TrimRequest { dry_run: true, ..request.clone() }).await;
    assert_eq!(bench.status("g").await.record.gaps, [], "a dry run notes nothing");
    let trimmed = bench.trim(&request).await;
    // e-5 was stored four minutes ago.
    assert_eq!((trimmed.events, trimmed.held_by.is_some()), (5, true));
    assert_eq!(trimmed, promised);
    assert_eq!(bench.ids(Filter::default()).await, ids(5..10));
    let at = bench.clock.now();
    assert_eq!(bench.status("g").await.record.gaps, [Gap { partition: 0, from: 2, to: 5, at }]);
}

/// Checks that each of these sequences is in a gap, and that each gap is within the removed range.
fn covers(gaps: &[Gap], unpassed: &[u64], removed: std::ops::RangeInclusive<u64>) {
    for sequence in unpassed {
        let named = gaps.iter().any(|gap| gap.partition == 0 && (gap.from..=gap.to).contains(sequence));
        assert!(named, "{sequence} is in no gap: {gaps:?}");
    }
    for gap in gaps {
        assert!(removed.contains(&gap.from) && removed.contains(&gap.to) && gap.from <= gap.to, "{gaps:?}");
    }
    assert!(gaps.is_sorted_by_key(|gap| gap.from), "the oldest first: {gaps:?}");
}

/// A trim in one or several steps records a gap for each group whose unpassed events it removed. Consumers get the
/// gaps, and a reset clears them.
pub async fn a_gap_names_what_was_removed_before_it_was_passed(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    for (name, at) in [("early", 0), ("late", 3), ("done", 8)] {
        bench.make_group(&spec(name, 4), at).await;
    }
    let held = bench.lease("early", "c").await.held;
    bench.commit_ok(SegmentCommit::new(held[1].clone(), 6, 6)).await;
    bench.clock.advance(2 * FORGOTTEN_AFTER);
    let request = TrimRequest { limit: 3, ..keep_newest(3) };
    while bench.trim(&request).await.more {}
    for (name, from) in [("early", 1), ("late", 4)] {
        let gaps = bench.status(name).await.record.gaps;
        covers(&gaps, &Vec::from_iter(from..=7), from..=7);
        assert!(gaps.iter().all(|gap| gap.at == bench.clock.now()), "{gaps:?}");
        assert_eq!(bench.lease(name, "d").await.gaps, gaps);
        let listed = bench.store.groups().await.unwrap();
        assert_eq!(listed.iter().find(|record| record.spec.name == name).unwrap().gaps, gaps);
    }
    assert_eq!(bench.status("done").await.record.gaps, []);
    bench.store.reset_group("early", &bench.mark(7).await).await.unwrap();
    assert_eq!(bench.status("early").await.record.gaps, []);
    assert_ne!(bench.status("late").await.record.gaps, []);
}

/// The next trim extends a gap if no event remains between the ranges. Otherwise the gaps stay separate.
pub async fn a_gap_grows_where_nothing_is_left_between(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let event = |n: usize| {
        let draft = Draft::new(&format!("e{n}"));
        if n == 9 { draft.of_type("other").event() } else { draft.event() }
    };
    bench.store_all(&Vec::from_iter((1..=10).map(event))).await;
    bench.make_group(&spec("g", 2), 0).await;
    bench.clock.advance(2 * FORGOTTEN_AFTER);
    assert_eq!(bench.trim(&keep_newest(7)).await.events, 3);
    let first = Gap { partition: 0, from: 1, to: 3, at: bench.clock.now() };
    assert_eq!(bench.status("g").await.record.gaps, std::slice::from_ref(&first));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.trim(&keep_newest(4)).await.events, 3);
    let grown = Gap { to: 6, at: bench.clock.now(), ..first };
    assert_eq!(bench.status("g").await.record.gaps, std::slice::from_ref(&grown));
    bench.clock.advance(Duration::from_secs(1));
    let mut others = keep_newest(0);
    others.rule.types = vec![TypePattern::new("other")];
    assert_eq!(bench.trim(&others).await.events, 1);
    let apart = Gap { partition: 0, from: 9, to: 9, at: bench.clock.now() };
    assert_eq!(bench.status("g").await.record.gaps, [grown, apart]);
}

/// A group keeps at most one hundred gaps in each partition. Beyond this number, the two oldest gaps are merged.
pub async fn a_group_keeps_a_hundred_gaps(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let event = |n: usize| Draft::new(&format!("e{n}")).of_type(["goes", "stays"][n % 2]).event();
    let positions = bench.store_all(&Vec::from_iter((0..210).map(event))).await;
    let going: Vec<u64> = positions.iter().step_by(2).map(|at| at.sequence).collect();
    bench.make_group(&spec("g", 1), 0).await;
    bench.clock.advance(2 * FORGOTTEN_AFTER);
    let mut one = TrimRequest { limit: 1, ..keep_newest(0) };
    one.rule.types = vec![TypePattern::new("goes")];
    for trims in 1..=going.len() {
        assert_eq!(bench.trim(&one).await.events, 1);
        if trims == MAX_GAPS {
            assert_eq!(bench.status("g").await.record.gaps.len(), MAX_GAPS);
        }
    }
    let gaps = bench.status("g").await.record.gaps;
    let at = bench.clock.now();
    let gap = |from, to| Gap { partition: 0, from, to, at };
    let mut expected = vec![gap(going[0], going[5])];
    expected.extend(going[6..].iter().map(|sequence| gap(*sequence, *sequence)));
    assert_eq!(gaps.len(), MAX_GAPS);
    assert_eq!(gaps, expected);
    assert_eq!(bench.lease("g", "c").await.gaps, expected);
}

/// Events of a ledger (blocked keys) or a lane (replay queue) are not passed either.
pub async fn a_gap_names_what_waits_in_ledger_or_lane(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    for name in ["ledger", "lane", "neither"] {
        bench.make_group(&spec(name, 1), 9).await;
    }
    let lease = bench.only("ledger", "c").await;
    let blocked = vec![row(Key::new("user", "u"), 2, &bench)];
    bench.commit_ok(SegmentCommit { blocked, ..SegmentCommit::new(lease, 9, 9) }).await;
    bench.replay("r").await;
    bench.queue(&[batch("lane", 0, "r", 0, &[3, 8])]).await;
    bench.clock.advance(2 * FORGOTTEN_AFTER);
    assert_eq!(bench.trim(&keep_newest(5)).await.events, 5);
    covers(&bench.status("ledger").await.record.gaps, &[2], 1..=5);
    covers(&bench.status("lane").await.record.gaps, &[3], 1..=5);
    assert_eq!(bench.status("neither").await.record.gaps, []);
}

/// A trim of some types records no gap if it removed no event that the group had not passed.
pub async fn a_trim_that_removes_nothing_unpassed_records_no_gap(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(4).await;
    bench.make_group(&spec("g", 2), 4).await;
    bench.store_all(&[Draft::new("late").of_type("other").event()]).await;
    bench.clock.advance(2 * FORGOTTEN_AFTER);
    let rule = RetentionRule {
        types: vec![domain::TypePattern::new("user.registered")],
        max_events: Some(0),
        ..RetentionRule::default()
    };
    assert_eq!(bench.trim(&TrimRequest { rule, ..keep_newest(0) }).await.events, 4);
    assert_eq!(bench.status("g").await.record.gaps, []);
    assert_eq!(bench.trim(&keep_newest(0)).await.events, 1);
    covers(&bench.status("g").await.record.gaps, &[5], 5..=5);
}

/// During concurrent trims and commits, every removed event was passed by each group with a recent consumer.
pub async fn trims_beside_commits_never_pass_a_group(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 100)).await;
    bench.make_group(&spec("g", 1), 0).await;
    let lease = bench.only("g", "c").await;
    let (committer, trimmer) = (bench.storage.open().await, bench.storage.open().await);
    let committing = tokio::spawn(async move {
        for cursor in 1..=60 {
            committer.commit(&[SegmentCommit::new(lease.clone(), cursor, cursor)]).await.unwrap();
        }
    });
    while !committing.is_finished() {
        trimmer.trim(&TrimRequest { limit: 5, ..keep_newest(0) }).await.unwrap();
        let left = bench.count(Filter::default()).await;
        let cursor = trimmer.group("g").await.unwrap().unwrap().segments[0].cursor;
        assert!(100 - left <= cursor, "{left} are left and the cursor is at {cursor}");
    }
    committing.await.unwrap();
    while bench.trim(&TrimRequest { limit: 5, ..keep_newest(0) }).await.more {}
    assert_eq!(bench.ids(Filter::default()).await, ids(60..100));
    assert_eq!(bench.status("g").await.record.gaps, []);
}

/// Events that a replay still needs stay until the replay is over, with or without a runner.
pub async fn trim_keeps_what_a_replay_needs_until_it_is_over(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    for (id, hold) in [("far", Some(8)), ("near", Some(2)), ("needless", None)] {
        let mark = bench.mark(hold.unwrap_or(0)).await;
        let record = domain::ports::ReplayRecord { hold: hold.map(|_| mark), ..planned(&bench, id) };
        bench.store.create_replay(&record).await.unwrap();
    }
    assert_eq!(trim_all(&bench, "near").await, 2);
    let lease = bench.store.lease_replay("near", token("near"), LONG).await.unwrap().unwrap();
    let step = |state, hold| ReplayUpdate { state, progress: String::new(), hold, settled_batches: 0 };
    let mark = bench.mark(5).await;
    bench.store.update_replay(&lease, &step(ReplayState::Running, Some(mark))).await.unwrap();
    assert_eq!(trim_all(&bench, "near").await, 3);
    bench.clock.advance(100 * FORGOTTEN_AFTER);
    assert_eq!(trim_all(&bench, "near").await, 0);
    let mark = bench.mark(5).await;
    bench.store.update_replay(&lease, &step(ReplayState::Completed, Some(mark))).await.unwrap();
    assert_eq!(trim_all(&bench, "far").await, 3);
    bench.store.request("far", domain::ports::ReplayCommand::Cancel).await.unwrap();
    assert_eq!(trim_all(&bench, "").await, 2);
}

/// Among the holds of groups, replays, checkpoints and the request, the hold that keeps the most events decides.
pub async fn the_smallest_of_all_holds_decides(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(10).await;
    bench.make_group(&spec("g", 1), 4).await;
    let record = domain::ports::ReplayRecord { hold: Some(bench.mark(3).await), ..planned(&bench, "r") };
    bench.store.create_replay(&record).await.unwrap();
    let hold = domain::retention::Hold { holder: "asked".to_owned(), mark: bench.mark(2).await };
    let request = TrimRequest { holds: vec![hold], ..keep_newest(0) };
    let trimmed = bench.trim(&request).await;
    assert_eq!((trimmed.events, trimmed.held_by.as_deref()), (2, Some("asked")));
    assert_eq!(trim_all(&bench, "r").await, 1);
    bench.store.request("r", domain::ports::ReplayCommand::Cancel).await.unwrap();
    assert_eq!(trim_all(&bench, "g").await, 1);
}

/// In a namespace that keeps events until delivery, a trim by any rule removes an event on two conditions. Every group
/// has passed the event, and the event is older than the window for known ids. Nothing else differs.
pub async fn deliveries_go_when_every_group_has_passed_them(h: &impl Harness) {
    let Some(bench) = Bench::keeping(h, RetentionMode::UntilDelivered).await else { return };
    assert_eq!(bench.store.info().await.unwrap().keeps, RetentionMode::UntilDelivered);
    assert_eq!(Bench::of_one_partition(h).await.store.info().await.unwrap().keeps, RetentionMode::History);
    let positions = bench.minutes(6).await;
    for (name, at) in [("slow", 2), ("fast", 4)] {
        bench.make_group(&spec(name, 1), at).await;
    }
    let old = RetentionRule { max_age: Some(100 * FORGOTTEN_AFTER), ..RetentionRule::default() };
    let request = TrimRequest { rule: old, ..keep_newest(0) };
    assert_eq!(bench.trim(&request).await.events, 0, "they are younger than the window");
    bench.clock.advance(RetentionMode::DEDUP_WINDOW - Duration::from_secs(30));
    // e-5 was stored in the last half minute of the window, and all others before it.
    assert_eq!(bench.trim(&request).await.events, 2);
    bench.pass("slow", 6).await;
    assert_eq!(bench.trim(&request).await.events, 2);
    bench.pass("fast", 6).await;
    assert_eq!(bench.trim(&request).await.events, 1);
    let left = bench.all(Filter::default()).await;
    assert_eq!(left.iter().map(|stored| stored.position).collect::<Vec<Position>>(), positions[5..]);
    for name in ["slow", "fast"] {
        assert_eq!(bench.status(name).await.record.gaps, []);
    }
    bench.verify_is_clean().await;
}

/// In a namespace that keeps events until delivery, reads, counts, filters and refusals work as usual.
pub async fn deliveries_are_read_as_history_is(h: &impl Harness) {
    let Some(bench) = Bench::keeping(h, RetentionMode::UntilDelivered).await else { return };
    let events: Vec<_> = (0..300)
        .map(|n| {
            let draft = Draft::new(&format!("e-{n}")).of_type(["a", "b"][n % 2]);
            draft.with("userId", format!("u{}", n % 3)).event()
        })
        .collect();
    for some in events.chunks(100) {
        bench.store_all(some).await;
    }
    let of_type = Filter { types: vec![domain::TypePattern::new("a")], ..Filter::default() };
    let user = Filter::of_entity(domain::Entity::new("user", "u1"));
    let one = Filter { event_ids: ["e-7".to_owned()].into(), ..Filter::default() };
    for (filter, found) in [(Filter::default(), 300), (of_type, 150), (user, 100), (one, 1)] {
        assert_eq!(bench.ids(filter.clone()).await.len(), found, "{filter:?}");
        assert_eq!(bench.count(filter).await, found as u64);
    }
    let again = bench.append(&events[..1]).await;
    assert!(matches!(again[..], [domain::ports::AppendOutcome::AlreadyStored(_)]), "{again:?}");
    bench.erase("user", "u1").await;
    assert_eq!(bench.count(Filter::default()).await, 200);
    bench.verify_is_clean().await;
}
