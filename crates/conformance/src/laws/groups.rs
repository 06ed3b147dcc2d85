//! Laws of consumer groups: creating, listing, resetting and deleting them.

use std::time::Duration;

use domain::{
    Cursor, TypePattern,
    group::{BlockedKey, GroupKey, GroupSpec, GroupSpecError, Key, MAX_SEGMENTS, SegmentState},
    ports::{Clock as _, CommitOutcome, GroupStoreError, SegmentCommit},
};

use super::{
    append::ODD,
    support::{LONG, batch, given_up, row, spec, token},
};
use crate::{Bench, Draft, Harness};

/// In a new group, every segment is at the cursor, with no claims, no ledger rows (blocked keys) and an empty lane
/// (replay queue). The record contains the specification and the time of creation.
pub async fn a_group_begins_at_its_cursor_with_nothing_claimed(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 5)).await;
    let mut keys =
        vec![GroupKey::Event, GroupKey::Correlation, GroupKey::Entity("a:{b}*".to_owned()), GroupKey::All];
    if bench.is_a_part {
        // Several partitions support no other ordering key.
        keys.fill(GroupKey::Event);
    }
    for (n, key) in keys.into_iter().enumerate() {
        let name = format!("g{n}");
        let types = vec![TypePattern::new("user.*"), TypePattern::new("\u{202e}'")];
        let spec = GroupSpec { types, key, ..spec(&name, n as u16 + 1) };
        let made = bench.make_group(&spec, n as u64).await;
        let now = bench.clock.now();
        assert_eq!((made.created_at, made.last_seen_at, made.gaps.len()), (now, now, 0));
        assert_eq!(made.spec, spec);
        let status = bench.status(&name).await;
        assert_eq!((&status.record, status.consumers.len()), (&made, 0));
        let segments: Vec<_> = status.segments.iter().map(|it| (it.segment, it.cursor, it.lane)).collect();
        assert_eq!(segments, Vec::from_iter((0..=n as u16).map(|segment| (segment, n as u64, 0))));
        assert!(status.segments.iter().all(|it| it.consumer.is_none() && it.partition == 0), "{status:?}");
        let begun = SegmentState { cursor: n as u64, claimed_to: n as u64, ..SegmentState::default() };
        for (_, state) in bench.inherit(&name).await.into_values() {
            assert_eq!(state, begun);
        }
    }
    assert_eq!(bench.store.group("none").await.unwrap(), None);
}

/// A repeated creation changes only the types of an existing group. It ignores the cursor. Progress and leases stay.
pub async fn a_group_that_exists_changes_nothing_but_its_types(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 5)).await;
    let first = bench.make_group(&spec("g", 1), 1).await;
    let lease = bench.only("g", "c").await;
    bench.commit_ok(SegmentCommit::new(lease.clone(), 2, 3)).await;
    bench.clock.advance(Duration::from_secs(5));
    let other = GroupSpec { types: vec![TypePattern::new("a.*")], ..spec("g", 1) };
    let found = bench.storage.open().await.create_group(&other, &bench.mark(5).await).await.unwrap();
    assert_eq!((found.spec, found.created_at), (other.clone(), first.created_at));
    let status = bench.status("g").await;
    assert_eq!((&status.record.spec, status.segments[0].cursor), (&other, 2));
    assert_eq!(bench.commit(SegmentCommit::new(lease, 2, 4)).await, CommitOutcome::Committed);
    let state = bench.inherit_only("g").await;
    assert_eq!((state.cursor, state.claimed_to), (2, 4));
}

/// The key and the number of segments never change. A creation with other values is refused and changes nothing.
pub async fn a_group_refuses_another_key_or_number_of_segments(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let entity = |kind: &str| GroupKey::Entity(kind.to_owned());
    let key = if bench.is_a_part { GroupKey::Event } else { entity("lab") };
    let first = bench.make_group(&GroupSpec { key: key.clone(), ..spec("g", 4) }, 0).await;
    let types = vec![TypePattern::new("a")];
    let mut others = vec![
        (key, 5),
        (entity("Lab"), 4),
        (GroupKey::Correlation, 4),
        (GroupKey::All, 1),
        (GroupKey::Event, 3),
    ];
    if bench.is_a_part {
        others.retain(|(key, _)| *key == GroupKey::Event);
    }
    for (key, segments) in others {
        let other = GroupSpec { types: types.clone(), key, ..spec("g", segments) };
        let refusal = bench.store.create_group(&other, &bench.mark(0).await).await;
        assert!(
            matches!(&refusal, Err(GroupStoreError::Differs { name, .. }) if name == "g"),
            "{other:?}: {refusal:?}"
        );
    }
    assert_eq!(bench.store.groups().await.unwrap(), [first]);
}

/// A refused creation with another key or number of segments describes the existing group. The text is the same for
/// every store.
pub async fn a_group_that_differs_is_described(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut keys = vec![GroupKey::Event];
    if bench.partitions == 1 {
        keys.extend([GroupKey::Correlation, GroupKey::Entity("lab \u{202e}\"".to_owned()), GroupKey::All]);
    }
    for (n, key) in keys.into_iter().enumerate() {
        let name = format!("g{n}");
        let made = GroupSpec { key, ..spec(&name, 4 * bench.partitions) };
        let made = bench.store.create_group(&made, &bench.start().await).await.unwrap().spec;
        let other = GroupSpec { segments: made.segments + 1, ..made.clone() };
        let refusal = bench.storage.open().await.create_group(&other, &bench.start().await).await;
        assert_eq!(refusal, Err(GroupStoreError::Differs { name, existing: made.describe() }));
    }
}

/// A name, number of segments or entity kind outside its bounds is refused with the reason, and no group is created.
/// Values at the bounds are accepted.
pub async fn a_group_is_made_within_its_bounds_alone(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let start = bench.start().await;
    let entity = |bytes: usize| GroupKey::Entity("k".repeat(bytes));
    let bad = [
        (spec("", 1), GroupSpecError::Name { bytes: 0 }),
        (spec(&"n".repeat(129), 1), GroupSpecError::Name { bytes: 129 }),
        (spec(&"\u{20ac}".repeat(43), 1), GroupSpecError::Name { bytes: 129 }),
        (spec("g", 0), GroupSpecError::Segments { segments: 0 }),
        (spec("g", MAX_SEGMENTS + 1), GroupSpecError::Segments { segments: MAX_SEGMENTS + 1 }),
        (spec("g", u16::MAX), GroupSpecError::Segments { segments: u16::MAX }),
        (GroupSpec { key: entity(0), ..spec("g", 1) }, GroupSpecError::EntityKind { bytes: 0 }),
        (GroupSpec { key: entity(129), ..spec("g", 1) }, GroupSpecError::EntityKind { bytes: 129 }),
    ];
    for (spec, error) in &bad {
        let refusal = bench.store.create_group(spec, &start).await;
        assert_eq!(refusal, Err(GroupStoreError::BadSpec(*error)), "{spec:?}");
        assert_eq!(bench.store.groups().await.unwrap(), [], "{spec:?}");
    }
    let mut good = vec![spec(&"n".repeat(128), 1), spec("g", MAX_SEGMENTS)];
    if bench.partitions == 1 {
        good.push(GroupSpec { key: entity(128), ..spec("k", 1) });
    }
    for spec in &good {
        bench.store.create_group(spec, &start).await.unwrap();
    }
    let made = bench.store.groups().await.unwrap();
    assert_eq!(made.len(), good.len());
    // The check also applies to a group that exists.
    let refusal = bench.store.create_group(&spec("g", 0), &start).await;
    assert_eq!(refusal, Err(GroupStoreError::BadSpec(GroupSpecError::Segments { segments: 0 })));
    assert_eq!(bench.store.groups().await.unwrap(), made);
}

/// A group cannot be created at, or reset to, a mark of another log.
pub async fn a_group_refuses_cursors_of_another_log(h: &impl Harness) {
    let (bench, other) = (Bench::of_one_partition(h).await, Bench::of_one_partition(h).await);
    bench.store_all(&Draft::many("e", 3)).await;
    other.store_all(&Draft::many("e", 3)).await;
    bench.make_group(&spec("g", 2), 1).await;
    let head = bench.store.head().await.unwrap();
    let bad = [
        other.store.head().await.unwrap(),
        Cursor { sequences: vec![4], ..head.clone() },
        Cursor { sequences: vec![u64::MAX], ..head.clone() },
        Cursor { epoch: head.epoch + 1, ..head.clone() },
    ];
    for cursor in bad {
        let refusal = bench.store.create_group(&spec("new", 2), &cursor).await;
        assert!(matches!(refusal, Err(GroupStoreError::BadCursor(_))), "{cursor:?}: {refusal:?}");
        let refusal = bench.store.reset_group("g", &cursor).await;
        assert!(matches!(refusal, Err(GroupStoreError::BadCursor(_))), "{cursor:?}: {refusal:?}");
    }
    let status = bench.status("g").await;
    assert!(status.segments.iter().all(|segment| segment.cursor == 1), "{status:?}");
    assert_eq!(bench.store.groups().await.unwrap().len(), 1);
}

/// Groups are listed by name. Names of any text stay distinct.
pub async fn groups_are_listed_by_name(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", ODD.len())).await;
    assert_eq!(bench.store.groups().await.unwrap(), []);
    for (n, name) in ODD.iter().enumerate() {
        bench.make_group(&spec(name, 1), n as u64).await;
    }
    let mut names = ODD.to_vec();
    names.sort_unstable();
    let listed = bench.storage.open().await.groups().await.unwrap();
    assert_eq!(listed.iter().map(|record| record.spec.name.as_str()).collect::<Vec<_>>(), names);
    for (n, name) in ODD.iter().enumerate() {
        assert_eq!(bench.status(name).await.segments[0].cursor, n as u64, "{name:?}");
        bench.pass(name, ODD.len() as u64).await;
        for (later, name) in ODD.iter().enumerate().skip(n + 1).take(1) {
            assert_eq!(bench.status(name).await.segments[0].cursor, later as u64, "{name:?}");
        }
    }
    for absent in ["a:b:", "B", "%a", "a_b"] {
        assert_eq!(bench.store.group(absent).await.unwrap(), None, "{absent:?}");
    }
}

/// If several callers create the same group at the same time, all get one group. One caller created it, at its own
/// cursor.
pub async fn eight_makers_of_a_group_make_one(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 8)).await;
    let mut makers = tokio::task::JoinSet::new();
    for (n, store) in bench.handles(8).await.into_iter().enumerate() {
        let at = bench.mark(n as u64).await;
        makers.spawn(async move { (at.sequence(0), store.make_group(&spec("g", 4), &at).await.unwrap()) });
    }
    let made = makers.join_all().await;
    assert!(made.iter().all(|(_, made_by)| made_by.record == made[0].1.record), "{made:?}");
    let makers: Vec<u64> = made.iter().filter(|(_, made_by)| made_by.is_new).map(|(at, _)| *at).collect();
    assert_eq!(makers.len(), 1, "{made:?}");
    let status = bench.status("g").await;
    assert_eq!(status.segments.len(), 4);
    assert!(status.segments.iter().all(|it| it.cursor == makers[0]), "{status:?}");
}

/// Deleting a group deletes its segments, ledger, lane and leases. Its dead letters stay, and other groups do not
/// change.
pub async fn deleting_a_group_leaves_its_dead_letters(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let positions = bench.store_all(&Draft::many("e", 5)).await;
    bench.replay("r").await;
    for name in ["g", "h"] {
        bench.make_group(&spec(name, 1), 0).await;
        let lease = bench.only(name, "c").await;
        bench.queue(&[batch(name, 0, "r", 0, &[1, 2])]).await;
        let blocked = vec![row(Key::new("user", "u"), 2, &bench)];
        let dead_letters = vec![given_up(&bench, positions[0])];
        bench.commit_ok(SegmentCommit { blocked, dead_letters, ..SegmentCommit::new(lease, 3, 4) }).await;
    }
    let lease = bench.only("g", "c").await;
    assert!(!bench.store.delete_group("G").await.unwrap());
    assert!(bench.storage.open().await.delete_group("g").await.unwrap());
    assert!(!bench.store.delete_group("g").await.unwrap());
    assert_eq!(bench.store.group("g").await.unwrap(), None);
    assert_eq!(bench.letters().await.len(), 2);
    let fenced = bench.commit(SegmentCommit::new(lease.clone(), 4, 4)).await;
    assert_eq!(fenced, CommitOutcome::Fenced, "there is nothing to commit to");

    bench.make_group(&spec("g", 1), 1).await;
    let status = bench.status("g").await;
    let segment = &status.segments[0];
    let left = (segment.cursor, segment.blocked_keys, segment.lane, status.consumers.len());
    assert_eq!(left, (1, 0, 0, 0), "{status:?}");
    assert_eq!(bench.lane_of("g", 0).await, []);
    assert_eq!(bench.store.blocked_keys("g", 10).await.unwrap(), []);
    assert_eq!(bench.commit(SegmentCommit::new(lease.clone(), 4, 4)).await, CommitOutcome::Fenced);
    bench.only("g", "d").await;
    assert_eq!(bench.commit(SegmentCommit::new(lease, 4, 4)).await, CommitOutcome::Fenced);
    assert_eq!(bench.inherit_only("g").await.cursor, 1);
    let other = bench.inherit_only("h").await;
    assert_eq!((other.cursor, other.claimed_to, other.blocked.len()), (3, 4, 1));
    assert_eq!(bench.lane_of("h", 0).await.len(), 1);
}

/// A reset sets every cursor and claim, clears the ledger and fences every lease. The lane stays. Later leases have
/// higher epochs.
pub async fn resetting_a_group_moves_every_segment_and_fences_every_lease(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 3), 4).await;
    bench.replay("r").await;
    bench.queue(&[batch("g", 1, "r", 0, &[1, 5])]).await;
    let before = bench.lease("g", "c").await;
    let commit = |(n, lease): (usize, _)| SegmentCommit {
        blocked: vec![row(Key::new("user", "u"), 5, &bench)],
        ..SegmentCommit::new(lease, 5 + n as u64, 8)
    };
    let commits: Vec<_> = before.held.iter().cloned().enumerate().map(commit).collect();
    assert_eq!(bench.store.commit(&commits).await.unwrap(), vec![CommitOutcome::Committed; 3]);
    for mark in [2, 9] {
        let held = bench.lease("g", "c").await.held;
        assert_eq!(held.len(), 3);
        bench.storage.open().await.reset_group("g", &bench.mark(mark).await).await.unwrap();
        for lease in &held {
            let fenced = bench.commit(SegmentCommit::new(lease.clone(), 9, 9)).await;
            assert_eq!(fenced, CommitOutcome::Fenced, "after the reset to {mark}");
        }
        let after = bench.lease("g", "c").await;
        assert_eq!(after.taken.len(), 3, "the leases are new: {after:?}");
        for (lease, state) in after.taken {
            let old = held.iter().find(|old| old.segment == lease.segment).unwrap();
            assert!(lease.epoch > old.epoch, "{lease:?} after {old:?}");
            let moved = SegmentState { cursor: mark, claimed_to: mark, ..SegmentState::default() };
            assert_eq!(state, moved);
        }
        assert_eq!(bench.store.blocked_keys("g", 10).await.unwrap(), []);
        let lane = bench.lane_of("g", 1).await;
        assert_eq!(lane.len(), 1, "the lane stays");
        assert_eq!(lane[0].positions, [1, 5]);
    }
    let refusal = bench.store.reset_group("G", &bench.mark(1).await).await;
    assert_eq!(refusal, Err(GroupStoreError::NoGroup("G".to_owned())));
}

/// For each segment, the status counts the blocked keys, the parked keys and the references in the lane.
pub async fn a_groups_status_counts_what_is_there(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 2), 0).await;
    bench.replay("r").await;
    bench.queue(&[batch("g", 0, "r", 0, &[1, 2, 3]), batch("g", 0, "r", 1, &[9])]).await;
    let leases = bench.lease("g", "c").await;
    let lease = leases.held.iter().find(|lease| lease.segment == 1).unwrap();
    let parked = |id: &str, at| BlockedKey { due: None, ..row(Key::new("user", id), at, &bench) };
    let blocked = vec![row(Key::new("user", "a"), 7, &bench), parked("b", 3), parked("c", 8)];
    bench.commit_ok(SegmentCommit { blocked, ..SegmentCommit::new(lease.clone(), 8, 9) }).await;
    let status = bench.status("g").await;
    let counts: Vec<_> = status
        .segments
        .iter()
        .map(|it| (it.segment, it.cursor, it.blocked_keys, it.parked_keys, it.oldest_blocked, it.lane))
        .collect();
    assert_eq!(counts, [(0, 0, 0, 0, None, 4), (1, 8, 3, 2, Some(3), 0)]);
    assert!(status.segments.iter().all(|it| it.consumer.as_deref() == Some("c")), "{status:?}");
    bench.store.leave("g", "c", token("c")).await.unwrap();
    bench.clock.advance(LONG);
    let status = bench.status("g").await;
    assert!(status.segments.iter().all(|it| it.consumer.is_none()), "{status:?}");
}

/// The blocked keys of all segments are listed by position, up to the limit. Each row is complete and has its segment.
pub async fn blocked_keys_are_listed_by_position(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 3), 0).await;
    let mut rows = Vec::new();
    for lease in bench.lease("g", "c").await.held {
        let at = |n: u64| 9 - u64::from(lease.segment) - 3 * n;
        let blocked: Vec<_> = (0..2).map(|n| row(Key::new("user", format!("u{n}")), at(n), &bench)).collect();
        rows.extend(blocked.iter().map(|row| (lease.segment, row.clone())));
        bench.commit_ok(SegmentCommit { blocked, ..SegmentCommit::new(lease, 9, 9) }).await;
    }
    rows.sort_by_key(|(_, row)| row.position);
    for limit in [1, 4, 6, 100] {
        let listed = bench.store.blocked_keys("g", limit).await.unwrap();
        assert_eq!(listed, rows[..limit.min(6)], "a limit of {limit}");
    }
}
