//! Laws of the lane, the replay queue of a segment. References enter completely, once and in order, and leave with
//! their result.

use domain::{
    group::{LaneBatch, LaneFailure, LaneProgress, LaneRetry, MAX_LANE_REFERENCES, NewLaneBatch},
    ports::{
        Clock as _, CommitOutcome, EnqueueOutcome, GroupStoreError, ReplayLease, ReplayState, ReplayUpdate,
        SegmentCommit,
    },
};

use super::{
    append::ODD,
    support::{LONG, batch, progress, request, spec, token},
};
use crate::{Bench, Draft, Harness};

fn positions(lane: &[LaneBatch]) -> Vec<&[u64]> {
    lane.iter().map(|batch| batch.positions.as_slice()).collect()
}

/// Batches are added at the end of their lanes, unchanged, in the order of the call and of the calls.
pub async fn enqueue_adds_batches_at_the_end_in_order(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 2), 0).await;
    let runner = bench.replay("r").await;
    let big = u64::MAX / 4;
    let first = [
        batch("g", 1, "r", 9, &[5]),
        batch("g", 0, "r", 3, &[1, 2, 700_000, big]),
        batch("g", 1, "r", 2, &[1]),
    ];
    let outcomes = bench.store.enqueue(Some(&runner), &first).await.unwrap();
    assert_eq!(outcomes, [EnqueueOutcome::Queued; 3]);
    let other = bench.storage.open().await;
    let second = [batch("g", 1, "r", 4, &[2, 3])];
    assert_eq!(other.enqueue(Some(&runner), &second).await.unwrap(), [EnqueueOutcome::Queued]);
    assert_eq!(bench.store.enqueue(Some(&runner), &[]).await.unwrap(), []);
    let lane = bench.lane_of("g", 1).await;
    assert_eq!(positions(&lane), [&[5][..], &[1], &[2, 3]]);
    assert!(lane[0].seq >= 1 && lane.is_sorted_by(|one, other| one.seq < other.seq), "{lane:?}");
    for (added, given) in lane.iter().zip([&first[0], &first[2], &second[0]]) {
        assert_eq!((added.segment, &added.origin), (1, &given.origin));
        assert_eq!(added.progress, LaneProgress::default());
    }
    assert_eq!(positions(&bench.lane_of("g", 0).await), [&[1, 2, 700_000, big]]);
}

/// A segment accepts each batch of a replay once, even after the batch has left the lane. Other segments, groups,
/// replays and batch numbers are independent.
pub async fn a_segment_takes_a_batch_of_a_replay_once(h: &impl Harness) {
    use EnqueueOutcome::{AlreadyQueued, Queued};
    let bench = Bench::of_one_partition(h).await;
    for name in ["g", "h"] {
        bench.make_group(&spec(name, 2), 0).await;
    }
    bench.replay("r").await;
    bench.replay("s").await;
    let batches = [
        batch("g", 0, "r", 0, &[1, 2]),
        batch("g", 0, "r", 0, &[3]),
        batch("g", 1, "r", 0, &[1]),
        batch("h", 0, "r", 0, &[1]),
        batch("g", 0, "s", 0, &[1]),
        batch("g", 0, "r", 1, &[1]),
    ];
    let outcomes = bench.store.enqueue(None, &batches).await.unwrap();
    assert_eq!(outcomes, [Queued, AlreadyQueued, Queued, Queued, Queued, Queued]);
    let again = bench.storage.open().await.enqueue(None, &batches).await.unwrap();
    assert_eq!(again, [AlreadyQueued; 6]);
    let lane = bench.lane_of("g", 0).await;
    assert_eq!(positions(&lane), [&[1, 2][..], &[1], &[1]]);

    let held = bench.lease("g", "c").await.held;
    let lease = held.iter().find(|lease| lease.segment == 0).unwrap().clone();
    let lane_done = vec![(lane[0].seq, progress(2, &[0, 1]))];
    bench.commit_ok(SegmentCommit { lane_done, ..SegmentCommit::new(lease, 0, 0) }).await;
    assert_eq!(bench.store.withdraw("s").await.unwrap(), 1);
    assert_eq!(bench.store.enqueue(None, &batches).await.unwrap(), [AlreadyQueued; 6]);
    assert_eq!(positions(&bench.lane_of("g", 0).await), [&[1]]);
}

/// Concurrent callers that add the same batches add each batch once, and none is lost.
pub async fn four_callers_at_once_add_a_batch_once(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 1), 0).await;
    let runner = bench.replay("r").await;
    let mut callers = tokio::task::JoinSet::new();
    for store in bench.handles(4).await {
        let runner = runner.clone();
        callers.spawn(async move {
            let mut queued = 0;
            for n in 0..20 {
                let outcomes = store.enqueue(Some(&runner), &[batch("g", 0, "r", n, &[n])]).await.unwrap();
                queued += usize::from(outcomes == [EnqueueOutcome::Queued]);
            }
            queued
        });
    }
    assert_eq!(callers.join_all().await.iter().sum::<usize>(), 20);
    let mut lane: Vec<u64> = bench.lane_of("g", 0).await.iter().map(|batch| batch.positions[0]).collect();
    lane.sort_unstable();
    assert_eq!(lane, Vec::from_iter(0..20));
}

/// A lane with references accepts no batch that exceeds its limit. An empty lane accepts any batch.
pub async fn a_lane_grows_to_its_bound_and_no_further(h: &impl Harness) {
    use EnqueueOutcome::{Full, Queued};
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 3), 0).await;
    bench.replay("r").await;
    let most = MAX_LANE_REFERENCES as u64;
    let of =
        |segment, n, positions: std::ops::Range<u64>| batch("g", segment, "r", n, &Vec::from_iter(positions));
    let batches = [
        of(0, 0, 1..most),
        of(0, 1, 1..3),
        of(0, 2, 5..6),
        of(0, 3, 7..8),
        of(1, 0, 1..most + 2),
        of(1, 1, 1..2),
    ];
    let outcomes = bench.store.enqueue(None, &batches).await.unwrap();
    assert_eq!(outcomes, [Queued, Full, Queued, Full, Queued, Full]);
    let lengths = async |segment| -> Vec<usize> {
        bench.lane_of("g", segment).await.iter().map(|batch| batch.positions.len()).collect()
    };
    assert_eq!((lengths(0).await, lengths(1).await), (vec![most as usize - 1, 1], vec![most as usize + 1]));
    // After the lane is shorter, the refused batch is accepted.
    let lane = bench.lane_of("g", 0).await;
    let held = bench.lease("g", "c").await.held;
    let lease = held.iter().find(|lease| lease.segment == 0).unwrap().clone();
    let lane_done = vec![(lane[0].seq, LaneProgress::default())];
    bench.commit_ok(SegmentCommit { lane_done, ..SegmentCommit::new(lease, 0, 0) }).await;
    assert_eq!(bench.store.enqueue(None, &[of(0, 1, 1..3)]).await.unwrap(), [Queued]);
    assert_eq!(lengths(0).await, [1, 2]);
}

/// A batch for an unknown group or segment is not added. The other batches of the call are.
pub async fn enqueue_for_no_group_adds_nothing_of_it(h: &impl Harness) {
    use EnqueueOutcome::{NoGroup, Queued};
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 2), 0).await;
    bench.replay("r").await;
    let batches = [
        batch("G", 0, "r", 0, &[1]),
        batch("g", 2, "r", 0, &[1]),
        batch("g", u16::MAX, "r", 0, &[1]),
        batch("g", 1, "r", 0, &[1]),
    ];
    assert_eq!(bench.store.enqueue(None, &batches).await.unwrap(), [NoGroup, NoGroup, NoGroup, Queued]);
    assert_eq!(bench.status("g").await.segments.iter().map(|it| it.lane).collect::<Vec<_>>(), [0, 1]);
}

/// A runner adds nothing if it was replaced, or if its replay is over or unknown.
pub async fn enqueue_under_an_old_replay_lease_adds_nothing(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 1), 0).await;
    let old = bench.replay("r").await;
    bench.clock.advance(2 * LONG);
    let one = |n| [batch("g", 0, "r", n, &[n])];
    // Time alone does not end a lease.
    assert_eq!(bench.store.enqueue(Some(&old), &one(0)).await.unwrap(), [EnqueueOutcome::Queued]);
    let newest = bench.storage.open().await.lease_replay("r", 7, LONG).await.unwrap().unwrap();
    let forged = [
        old.clone(),
        ReplayLease { token: old.token, ..newest.clone() },
        ReplayLease { epoch: newest.epoch + 1, ..newest.clone() },
        ReplayLease { replay_id: "unknown".to_owned(), ..newest.clone() },
    ];
    for lease in &forged {
        let refusal = bench.store.enqueue(Some(lease), &one(1)).await;
        assert_eq!(refusal, Err(GroupStoreError::RunnerFenced), "{lease:?}");
    }
    assert_eq!(bench.store.enqueue(Some(&newest), &one(2)).await.unwrap(), [EnqueueOutcome::Queued]);
    let state = ReplayState::Completed;
    let over = ReplayUpdate { state, progress: String::new(), hold: None, settled_batches: 0 };
    bench.store.update_replay(&newest, &over).await.unwrap();
    let refusal = bench.store.enqueue(Some(&newest), &one(3)).await;
    assert_eq!(refusal, Err(GroupStoreError::RunnerFenced), "the replay is over");
    assert_eq!(positions(&bench.lane_of("g", 0).await), [&[0][..], &[2]]);
}

/// A lane is read in order, after a place, with the committed progress of each batch.
pub async fn a_lane_is_read_in_order_with_its_progress(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 2), 0).await;
    bench.replay("r").await;
    let batches: Vec<NewLaneBatch> = (0..6).map(|n| batch("g", 0, "r", n, &[n, n + 1])).collect();
    bench.queue(&batches).await;
    let lane = bench.lane_of("g", 0).await;
    let noted = LaneProgress {
        retries: vec![LaneRetry {
            index: 1,
            attempts: 2,
            ends: 1,
            due: bench.clock.now(),
            error: "\u{202e}'\r\n".to_owned(),
            failures: Vec::new(),
        }],
        failed: vec![LaneFailure { index: 0, error: "no".to_owned() }],
        skipped: vec![1],
        ..progress(2, &[0, 1])
    };
    let held = bench.lease("g", "c").await.held;
    let lease = held.iter().find(|lease| lease.segment == 0).unwrap().clone();
    let went_on = vec![(lane[2].seq, noted.clone()), (lane[4].seq, progress(1, &[]))];
    bench.commit_ok(SegmentCommit { lane: went_on, ..SegmentCommit::new(lease, 0, 0) }).await;
    let mut expected = lane.clone();
    expected[2].progress = noted;
    expected[4].progress = progress(1, &[]);
    assert_eq!(bench.lane_of("g", 0).await, expected);
    for (place, limit) in [(0_usize, 1), (0, 3), (0, 100), (2, 1), (2, 5), (5, 1), (6, 1)] {
        let mut after = place.checked_sub(1).map_or(0, |at| lane[at].seq);
        let mut read = Vec::new();
        loop {
            let page = bench.store.lane("g", &[(0, after)], limit).await.unwrap();
            let references: usize = page.iter().map(|batch| batch.positions.len()).sum();
            assert!(references <= limit + 2, "{references} references for a limit of {limit}");
            let Some(last) = page.last() else { break };
            after = last.seq;
            read.extend(page);
            assert!(read.len() <= expected.len(), "more than there are, with a limit of {limit}");
        }
        assert_eq!(read, expected[place..], "after {place} with a limit of {limit}");
    }
    assert_eq!(bench.store.lane("g", &[], 100).await.unwrap(), []);
    assert_eq!(bench.store.lane("g", &[(1, 0)], 100).await.unwrap(), []);
}

/// At any limit, the result contains the next batch of each given segment that has batches. Other segments have none.
pub async fn a_lane_gives_a_batch_of_each_segment_at_any_limit(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    for name in ["g", "h"] {
        bench.make_group(&spec(name, 4), 0).await;
    }
    bench.replay("r").await;
    for n in 0..3 {
        let of = |segment| batch("g", segment, "r", n, &[n, n + 10]);
        bench.queue(&[of(0), of(1), of(3), batch("h", 2, "r", n, &[n])]).await;
    }
    let lane = bench.store.lane("g", &[(0, 0), (2, 0), (3, 0)], 1).await.unwrap();
    let mut segments: Vec<u16> = lane.iter().map(|batch| batch.segment).collect();
    segments.sort_unstable();
    segments.dedup();
    assert_eq!(segments, [0, 3]);
    for batch in lane.iter().filter(|batch| batch.positions[0] == 0) {
        let next = bench.store.lane("g", &[(batch.segment, batch.seq)], 1).await.unwrap();
        assert_eq!(next[0].positions, [1, 11]);
    }
}

/// A page contains the first batch of each segment. It contains no further batch that would exceed its limit. The
/// batches of each segment are the first batches of its lane.
pub async fn a_page_of_a_lane_ends_before_its_limit(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 4), 0).await;
    bench.replay("r").await;
    let sizes: [(u16, &[usize]); 3] = [(0, &[3, 3, 1, 3]), (1, &[2, 5]), (3, &[5, 1, 1])];
    let mut numbers = 0..;
    for (segment, sizes) in sizes {
        for size in sizes {
            let positions: Vec<u64> = (1..=*size as u64).collect();
            let number = numbers.next().unwrap_or_default();
            bench.queue(&[batch("g", segment, "r", number, &positions)]).await;
        }
    }
    let (first, all) = (3 + 2 + 5, 24);
    let asked = [(0, 0), (1, 0), (2, 0), (3, 0)];
    for limit in (1..=all + 1).chain([1_000]) {
        let page = bench.store.lane("g", &asked, limit).await.unwrap();
        let references: usize = page.iter().map(|batch| batch.positions.len()).sum();
        for (segment, sizes) in sizes {
            let own = page.iter().filter(|batch| batch.segment == segment);
            let own: Vec<usize> = own.map(|batch| batch.positions.len()).collect();
            assert!(!own.is_empty(), "nothing of segment {segment} at {limit}");
            assert_eq!(own, sizes[..own.len()], "of segment {segment} at {limit}");
        }
        if limit <= first {
            assert_eq!((page.len(), references), (3, first), "only the first of each at {limit}");
        }
        assert!(references <= limit.max(first), "{references} references at {limit}");
        if limit >= all {
            assert_eq!(references, all, "everything at {limit}");
        }
    }
    // For one segment, the page contains as many batches as its limit permits.
    for (limit, expected) in [(1, 1), (3, 1), (5, 1), (6, 2), (7, 3), (9, 3), (10, 4)] {
        let page = bench.store.lane("g", &[(0, 0)], limit).await.unwrap();
        assert_eq!(page.len(), expected, "batches at {limit}");
    }
}

/// A finished batch leaves the lane. Its result, according to its last progress, is available to the replay's runner.
/// Batches that do not belong to a replay leave no result.
pub async fn a_batch_that_is_done_leaves_its_result(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (_, letters) = bench.dead_letters_for(&Draft::many("e", 5)).await;
    bench.replay("r").await;
    bench.replay("s").await;
    bench.queue(&[batch("g", 0, "r", 7, &[1, 2, 4, 5]), batch("g", 0, "s", 7, &[1])]).await;
    bench.store.redrive(&[letters[0].id.clone()]).await.unwrap();
    let mut lane = bench.lane_of("g", 0).await;
    assert_eq!(lane.len(), 3);
    let last = LaneProgress {
        failed: vec![LaneFailure { index: 1, error: "\u{202e}no".to_owned() }],
        skipped: vec![3],
        ..progress(4, &[0, 1, 2, 3])
    };
    let lease = bench.only("g", "c").await;
    let done = |at: usize, progress: &LaneProgress| SegmentCommit {
        lane_done: vec![(lane[at].seq, progress.clone())],
        ..SegmentCommit::new(lease.clone(), 5, 5)
    };
    bench.commit_ok(done(0, &last)).await;
    bench.commit_ok(done(2, &progress(1, &[0]))).await;
    assert_eq!(positions(&bench.lane_of("g", 0).await), [&[1]]);
    lane[0].progress = last;
    let results = bench.storage.open().await.results("r", 10).await.unwrap();
    assert_eq!(results, [lane[0].result("g").unwrap()]);
    assert_eq!((results[0].handled, results[0].failed[0].0, results[0].skipped[0]), (2, 2, 5));
    assert_eq!(bench.store.results("s", 10).await.unwrap(), []);
}

/// A batch with a settled result stays known, even after an update with fewer settled batches.
pub async fn a_settled_batch_stays_known(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(5).await;
    bench.make_group(&spec("g", 1), 0).await;
    let runner = bench.replay("r").await;
    let sent = batch("g", 0, "r", 4, &[1]);
    bench.queue(std::slice::from_ref(&sent)).await;
    let lane_done = vec![(bench.lane_of("g", 0).await[0].seq, progress(1, &[0]))];
    let lease = bench.only("g", "c").await;
    bench.commit_ok(SegmentCommit { lane_done, ..SegmentCommit::new(lease, 0, 0) }).await;
    for settled_batches in [5, 2, 0] {
        let update = ReplayUpdate {
            state: ReplayState::Running,
            progress: String::new(),
            hold: None,
            settled_batches,
        };
        bench.store.update_replay(&runner, &update).await.unwrap();
        let again = bench.store.enqueue(None, std::slice::from_ref(&sent)).await.unwrap();
        assert_eq!(again, [EnqueueOutcome::AlreadyQueued]);
    }
}

/// A process has read the lane of a group that was then deleted and created again by another process. The process
/// finishes the batches of the new group. Their results are stored, and the lane is empty.
pub async fn a_batch_of_a_recreated_group_leaves_its_own_result(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.minutes(5).await;
    bench.replay("r").await;
    bench.make_group(&spec("g", 1), 0).await;
    bench.queue(&[batch("g", 0, "r", 1, &[1])]).await;
    let process = bench.storage.open().await;
    assert_eq!(positions(&process.lane("g", &[(0, 0)], 1_000).await.unwrap()), [&[1]]);

    bench.store.delete_group("g").await.unwrap();
    bench.make_group(&spec("g", 1), 0).await;
    bench.queue(&[batch("g", 0, "r", 2, &[2, 3])]).await;
    let mut lane = bench.lane_of("g", 0).await;
    let lease = process.lease(&request("g", "c")).await.unwrap().held.remove(0);
    lane[0].progress = progress(2, &[0, 1]);
    let lane_done = vec![(lane[0].seq, lane[0].progress.clone())];
    let commit = SegmentCommit { lane_done, ..SegmentCommit::new(lease, 0, 0) };
    assert_eq!(process.commit(&[commit]).await.unwrap(), [CommitOutcome::Committed]);
    assert_eq!(bench.store.results("r", 10).await.unwrap(), [lane[0].result("g").unwrap()]);
    assert_eq!(bench.lane_of("g", 0).await, []);
    bench.verify_is_clean().await;
}

/// A withdrawal removes all batches of the replay from every lane, except batches that may already be handed over.
/// Batches of other replays stay.
pub async fn withdrawing_removes_what_was_not_handed_over(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    for name in ["g", "h"] {
        bench.make_group(&spec(name, 1), 0).await;
        for replay in ["r", "s"] {
            if name == "g" {
                bench.replay(replay).await;
            }
            bench.queue(&[batch(name, 0, replay, 0, &[1, 2]), batch(name, 0, replay, 1, &[3, 4, 5])]).await;
        }
    }
    let lane = bench.lane_of("g", 0).await;
    let lease = bench.only("g", "c").await;
    let claimed = vec![(lane[0].seq, progress(1, &[]))];
    bench.commit_ok(SegmentCommit { lane: claimed, ..SegmentCommit::new(lease, 0, 0) }).await;
    assert_eq!(bench.store.withdraw("r").await.unwrap(), 3 + 5);
    assert_eq!(bench.storage.open().await.withdraw("r").await.unwrap(), 0);
    assert_eq!(bench.store.withdraw("unknown").await.unwrap(), 0);
    assert_eq!(positions(&bench.lane_of("g", 0).await), [&[1, 2][..], &[1, 2], &[3, 4, 5]]);
    assert_eq!(positions(&bench.lane_of("h", 0).await), [&[1, 2][..], &[3, 4, 5]]);
}

/// A commit that claims a withdrawn batch reports the batch, and the rest of the commit is stored. The batch stays
/// removed.
pub async fn progress_of_a_withdrawn_batch_is_refused_alone(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 1), 0).await;
    bench.replay("r").await;
    bench.replay("s").await;
    let batches = [("r", 0), ("s", 0), ("r", 1)].map(|(id, n)| batch("g", 0, id, n, &[1, 2]));
    bench.queue(&batches).await;
    let lease = bench.only("g", "c").await;
    let lane = bench.lane_of("g", 0).await;
    assert_eq!(bench.storage.open().await.withdraw("r").await.unwrap(), 4);
    let claims = lane.iter().map(|batch| (batch.seq, progress(1, &[]))).collect();
    let commit = SegmentCommit { lane: claims, ..SegmentCommit::new(lease, 5, 6) };
    let told = CommitOutcome::CommittedWithout(vec![lane[0].seq, lane[2].seq]);
    assert_eq!(bench.commit(commit).await, told);
    let expected = LaneBatch { progress: progress(1, &[]), ..lane[1].clone() };
    assert_eq!(bench.lane_of("g", 0).await, [expected]);
    assert_eq!(bench.store.results("r", 10).await.unwrap(), []);
    let state = bench.inherit_only("g").await;
    assert_eq!((state.cursor, state.claimed_to), (5, 6));
}

/// Groups and replays with names of any text have separate lanes, batches and results.
pub async fn a_lane_never_confuses_odd_names(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    for (n, name) in ODD.iter().enumerate() {
        bench.make_group(&spec(name, 1), 0).await;
        let runner = bench.replay(name).await;
        assert_eq!(runner.token, token(name));
        let one = [batch(name, 0, name, 0, &[n as u64 + 1])];
        let outcomes = bench.store.enqueue(Some(&runner), &one).await.unwrap();
        assert_eq!(outcomes, [EnqueueOutcome::Queued], "{name:?}");
    }
    for (n, name) in ODD.iter().enumerate() {
        let lane = bench.lane_of(name, 0).await;
        assert_eq!(positions(&lane), [&[n as u64 + 1]], "{name:?}");
        if n % 2 == 0 {
            assert_eq!(bench.store.withdraw(name).await.unwrap(), 1, "{name:?}");
            continue;
        }
        let lease = bench.only(name, "c").await;
        let lane_done = vec![(lane[0].seq, progress(1, &[0]))];
        bench.commit_ok(SegmentCommit { lane_done, ..SegmentCommit::new(lease, 0, 0) }).await;
        let results = bench.store.results(name, 10).await.unwrap();
        assert_eq!(results, [lane[0].result(name).unwrap()]);
    }
}
