//! Laws of commits to segments. A commit is stored completely or not at all, and only under the newest lease.

use std::time::Duration;

use domain::{
    Position,
    dead_letter::{DeadLetterState, NewDeadLetter},
    group::{BlockedKey, Key, Lease, SegmentState},
    ports::{Clock as _, CommitOutcome, DeadLetterChange, SegmentCommit},
};

use super::{
    append::ODD,
    support::{LONG, batch, given_up, progress, request, row, sorted, spec, token},
};
use crate::{Bench, Draft, Harness};

/// Returns a commit with every kind of change: cursor, claim, new and removed rows, a dead letter, and batches of the
/// lane in progress and finished.
async fn everything(bench: &Bench, lease: Lease, position: Position) -> SegmentCommit {
    let lane = bench.lane_of(&lease.group, lease.segment).await;
    SegmentCommit {
        blocked: vec![row(Key::new("user", "new"), 5, bench)],
        unblocked: vec![Key::new("user", "old")],
        dead_letters: vec![given_up(bench, position)],
        lane: vec![(lane[1].seq, progress(1, &[]))],
        lane_done: vec![(lane[0].seq, progress(2, &[0, 1]))],
        ..SegmentCommit::new(lease, 6, 8)
    }
}

/// Creates a group of two segments. Each segment has a ledger row (blocked key) and two batches of the replay `r` in
/// its lane (replay queue).
async fn busy(bench: &Bench) -> Vec<Lease> {
    bench.make_group(&spec("g", 2), 0).await;
    bench.replay("r").await;
    let leases = bench.lease("g", "c").await.held;
    for lease in &leases {
        let blocked = vec![row(Key::new("user", "old"), 2, bench)];
        bench.commit_ok(SegmentCommit { blocked, ..SegmentCommit::new(lease.clone(), 3, 4) }).await;
        let of = |n| batch("g", lease.segment, "r", n, &[n + 1, n + 2]);
        bench.queue(&[of(0), of(1)]).await;
    }
    leases
}

/// All parts of a commit are stored and visible through every handle. One call may commit to many segments of many
/// groups.
pub async fn a_commit_is_kept_whole(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let positions = bench.store_all(&Draft::many("e", 9)).await;
    let leases = busy(&bench).await;
    bench.make_group(&spec("other", 1), 0).await;
    let other = bench.only("other", "c").await;
    let mut commits = vec![SegmentCommit::new(other, 1, 9)];
    for (lease, position) in leases.iter().zip(&positions) {
        commits.push(everything(&bench, lease.clone(), *position).await);
    }
    assert_eq!(bench.store.commit(&commits).await.unwrap(), vec![CommitOutcome::Committed; 3]);
    assert_eq!(bench.store.commit(&[]).await.unwrap(), []);
    let blocked = vec![row(Key::new("user", "new"), 5, &bench)];
    for (_, state) in bench.inherit("g").await.into_values() {
        assert_eq!(state, SegmentState { partition: 0, cursor: 6, claimed_to: 8, blocked: blocked.clone() });
    }
    let untouched = SegmentState { cursor: 1, claimed_to: 9, ..SegmentState::default() };
    assert_eq!(bench.inherit_only("other").await, untouched);
    let dead: Vec<Position> = bench.letters().await.iter().map(|letter| letter.position).collect();
    assert_eq!(dead, positions[..2]);
    for segment in 0..2 {
        let lane = bench.lane_of("g", segment).await;
        let [left] = &lane[..] else { panic!("one batch is left: {lane:?}") };
        assert_eq!((left.positions.as_slice(), &left.progress), (&[2, 3][..], &progress(1, &[])));
    }
    let results = bench.store.results("r", 10).await.unwrap();
    assert_eq!(results.iter().map(|it| (it.batch, it.handled)).collect::<Vec<_>>(), [(0, 2); 2]);
}

/// A row replaces the row of the same key. A commit may also release a key without a row.
pub async fn a_row_takes_the_place_of_that_of_its_key(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 1), 0).await;
    let lease = bench.only("g", "c").await;
    let of = |id: &str, position| row(Key::new("user", id), position, &bench);
    let put = |blocked: Vec<BlockedKey>, unblocked: &[&str], cursor: u64| SegmentCommit {
        blocked,
        unblocked: unblocked.iter().map(|id| Key::new("user", *id)).collect(),
        ..SegmentCommit::new(lease.clone(), cursor, 9)
    };
    bench.commit_ok(put(vec![of("a", 1), of("b", 2), of("c", 3)], &[], 3)).await;
    let again = BlockedKey { attempts: 9, due: None, through: 7, ..of("b", 4) };
    bench.commit_ok(put(vec![again.clone()], &["a", "unknown"], 7)).await;
    bench.commit_ok(put(Vec::new(), &[], 8)).await;
    let expected = SegmentState { partition: 0, cursor: 8, claimed_to: 9, blocked: vec![again, of("c", 3)] };
    assert_eq!(bench.inherit_only("g").await, expected);
}

/// Keys of any text stay distinct, by kind and by id.
pub async fn a_ledger_never_confuses_odd_keys(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 1), 0).await;
    let lease = bench.only("g", "c").await;
    let mut rows = vec![row(Key::new("all", ""), 1, &bench)];
    for (n, name) in ODD.iter().enumerate() {
        let at = 2 + 2 * n as u64;
        rows.push(row(Key::new(*name, "x"), at, &bench));
        rows.push(row(Key::new("user", *name), at + 1, &bench));
    }
    bench.commit_ok(SegmentCommit { blocked: rows.clone(), ..SegmentCommit::new(lease, 0, 0) }).await;
    assert_eq!(bench.store.blocked_keys("g", 1_000).await.unwrap().len(), rows.len());
    let gone: Vec<Key> = ODD.iter().map(|name| Key::new(*name, "x")).collect();
    let (lease, state) = bench.inherit("g").await.pop_first().unwrap().1;
    let expected = SegmentState { blocked: rows.clone(), ..SegmentState::default() };
    assert_eq!(state, sorted(expected));
    bench.commit_ok(SegmentCommit { unblocked: gone, ..SegmentCommit::new(lease, 0, 0) }).await;
    rows.retain(|row| &*row.key.kind == "user" || &*row.key.kind == "all");
    let expected = SegmentState { blocked: rows, ..SegmentState::default() };
    assert_eq!(bench.inherit_only("g").await, sorted(expected));
}

/// A commit under an old lease changes nothing: no cursor, ledger, dead letters, lane or results. Commits of the same
/// call to other segments are stored.
pub async fn a_commit_under_an_old_lease_is_fenced_and_changes_nothing(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let positions = bench.store_all(&Draft::many("e", 9)).await;
    let leases = busy(&bench).await;
    bench
        .commit_ok(SegmentCommit {
            dead_letters: vec![given_up(&bench, positions[8])],
            ..SegmentCommit::new(leases[0].clone(), 3, 4)
        })
        .await;
    let redriven = bench.letter().await.id;
    bench.store.redrive(std::slice::from_ref(&redriven)).await.unwrap();
    bench.store.leave("g", "c", token("c")).await.unwrap();
    let newest = bench.lease("g", "d").await.held;
    let lane = bench.lane_of("g", 0).await;
    let old = leases.iter().find(|lease| lease.segment == 0).unwrap().clone();
    let current = newest.iter().find(|lease| lease.segment == 0).unwrap().clone();
    let forged = [
        old.clone(),
        Lease { token: old.token, ..current.clone() },
        Lease { epoch: old.epoch, ..current.clone() },
        Lease { epoch: current.epoch + 1, ..current.clone() },
        Lease { segment: 2, ..current.clone() },
        Lease { group: "G".to_owned(), ..current.clone() },
    ];
    for lease in forged {
        let whole = SegmentCommit {
            handled_dead_letters: vec![redriven.clone()],
            release: true,
            ..everything(&bench, Lease { segment: 0, group: "g".to_owned(), ..lease.clone() }, positions[0])
                .await
        };
        let other = newest.iter().find(|lease| lease.segment == 1).unwrap().clone();
        let commits = [SegmentCommit { lease: lease.clone(), ..whole }, SegmentCommit::new(other, 5, 5)];
        let outcomes = bench.store.commit(&commits).await.unwrap();
        assert_eq!(outcomes, [CommitOutcome::Fenced, CommitOutcome::Committed], "{lease:?}");
    }
    assert_eq!(bench.lane_of("g", 0).await, lane);
    assert_eq!(bench.store.results("r", 10).await.unwrap(), []);
    let letter = bench.letter().await;
    assert_eq!((letter.id, letter.state), (redriven, DeadLetterState::Redriving));
    bench.commit_ok(SegmentCommit::new(current, 3, 4)).await;
    let states = bench.inherit("g").await;
    let blocked = states[&0].1.blocked.clone();
    assert_eq!((states[&0].1.cursor, states[&0].1.claimed_to, states[&1].1.cursor), (3, 4, 5));
    assert_eq!(blocked.iter().map(|row| &*row.key.id).collect::<Vec<_>>(), ["old"]);
}

/// Time alone does not fence a consumer.
pub async fn an_expired_lease_that_was_not_taken_still_commits(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 1), 0).await;
    let lease = bench.only("g", "c").await;
    bench.clock.advance(100 * LONG);
    bench.commit_ok(SegmentCommit::new(lease, 4, 5)).await;
    assert_eq!(bench.inherit_only("g").await.cursor, 4);
}

/// A commit that gives its lease back frees the segment immediately, in the committed state.
pub async fn a_commit_that_gives_its_lease_back_frees_the_segment(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 2), 0).await;
    let held = bench.lease("g", "c").await.held;
    assert_eq!(bench.lease("g", "d").await.held, []);
    bench.commit_ok(SegmentCommit { release: true, ..SegmentCommit::new(held[0].clone(), 2, 6) }).await;
    let status = bench.status("g").await;
    assert_eq!(status.segments[usize::from(held[0].segment)].consumer, None);
    assert_eq!(bench.lease("g", "c").await.held, [held[1].clone()], "its share is what it has");
    let taken = bench.lease("g", "d").await.taken;
    assert_eq!(taken.len(), 1);
    assert_eq!((taken[0].0.segment, taken[0].1.cursor, taken[0].1.claimed_to), (held[0].segment, 2, 6));
    assert_eq!(bench.commit(SegmentCommit::new(held[0].clone(), 7, 7)).await, CommitOutcome::Fenced);
}

/// A repeated commit, as after a lost answer, has the same effect as one commit.
pub async fn committing_the_same_again_settles_it(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let positions = bench.store_all(&Draft::many("e", 9)).await;
    let leases = busy(&bench).await;
    let whole = everything(&bench, leases[0].clone(), positions[0]).await;
    let commit = SegmentCommit { dead_letters: Vec::new(), ..whole };
    bench.commit_ok(commit.clone()).await;
    let segment = leases[0].segment;
    let (lane, results) = (bench.lane_of("g", segment).await, bench.store.results("r", 10).await.unwrap());
    bench.commit_ok(commit).await;
    assert_eq!(bench.lane_of("g", segment).await, lane);
    assert_eq!(bench.store.results("r", 10).await.unwrap(), results);
    assert_eq!(results.len(), 1);
    let state = &bench.inherit("g").await[&segment].1;
    assert_eq!((state.cursor, state.claimed_to, state.blocked.len()), (6, 8, 1));
}

/// One consumer commits repeatedly while another takes over its segment. The second consumer finds the state of the
/// last stored commit. Later commits of the first consumer are not stored.
pub async fn of_two_committers_only_the_newest_is_kept(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 200)).await;
    for round in 0..5_u64 {
        let group = format!("g{round}");
        bench.make_group(&spec(&group, 1), 0).await;
        let old = bench.only(&group, "c").await;
        bench.clock.advance(LONG);
        let (committer, taker) = (bench.storage.open().await, bench.storage.open().await);
        let committing = tokio::spawn(async move {
            let mut kept = 0;
            for cursor in 1..=100 {
                match committer.commit(&[SegmentCommit::new(old.clone(), cursor, cursor)]).await.unwrap()[..]
                {
                    [CommitOutcome::Committed] => {
                        assert_eq!(kept, cursor - 1, "a commit was kept after a fenced one");
                        kept = cursor;
                    }
                    ref other => assert_eq!(other, [CommitOutcome::Fenced]),
                }
            }
            kept
        });
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let leases = taker.lease(&request(&group, "d")).await.unwrap();
        let (lease, state) = leases.taken[0].clone();
        for cursor in 101..=110 {
            let commit = SegmentCommit::new(lease.clone(), cursor, cursor);
            assert_eq!(taker.commit(&[commit]).await.unwrap(), [CommitOutcome::Committed]);
        }
        assert_eq!(committing.await.unwrap(), state.cursor, "what was found is what was kept");
        assert_eq!(bench.inherit_only(&group).await.cursor, 110);
    }
}

/// A dead letter contains the event at its position in the log and the values of the commit.
pub async fn a_dead_letter_is_made_of_the_event_at_its_position(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let positions = bench.store_all(&Draft::many("e", 3)).await;
    bench.make_group(&spec("g", 1), 0).await;
    let lease = bench.only("g", "c").await;
    bench.clock.advance(Duration::from_millis(1_500));
    let new = NewDeadLetter {
        replay_id: Some("r:{1}".to_owned()),
        parked: true,
        attempts: u32::MAX,
        earlier: ["the first attempt", "the second"].map(|said| super::support::failure(&bench, said)).into(),
        ..given_up(&bench, positions[1])
    };
    let dead_letters = vec![new.clone()];
    bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(lease, 3, 3) }).await;
    let letter = bench.letter().await;
    assert!(!letter.id.is_empty());
    assert_eq!((letter.event.id(), letter.position, letter.group.as_str()), ("e-1", positions[1], "g"));
    assert_eq!((letter.state, letter.attempts), (DeadLetterState::Open, u32::MAX));
    let history: Vec<_> = new.earlier.iter().cloned().chain([new.failure]).collect();
    assert_eq!((&letter.history, &letter.fingerprint), (&history, &new.fingerprint));
    assert_eq!((letter.replay_id, letter.parked, letter.reason), (new.replay_id, true, None));
    assert_eq!((letter.created_at, letter.updated_at), (bench.clock.now(), bench.clock.now()));
}

/// A group has one dead letter for each position. A further failure adds to its attempts and history and opens it from
/// any state. Other groups have separate dead letters.
pub async fn a_dead_letter_of_the_same_delivery_merges(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, letters) = bench.dead_letters_for(&Draft::many("e", 1)).await;
    let mut expected = letters[0].clone();
    bench.make_group(&spec("h", 1), 0).await;
    let other = bench.only("h", "c").await;
    for n in 0..25_u32 {
        bench.clock.advance(Duration::from_secs(1));
        let replay_id = [None, Some(format!("r{n}"))][n as usize % 2].clone();
        let again = NewDeadLetter {
            attempts: n + 1,
            replay_id,
            parked: n == 3,
            fingerprint: format!("f{n}"),
            failure: super::support::failure(&bench, &format!("failure {n}")),
            earlier: (0..n % 4)
                .map(|k| super::support::failure(&bench, &format!("before {n}: {k}")))
                .collect(),
            ..given_up(&bench, expected.position)
        };
        if n == 2 {
            bench.store.discard(std::slice::from_ref(&expected.id), "a reason").await.unwrap();
        }
        expected.merge(again.clone(), bench.clock.now());
        let dead_letters = vec![again];
        bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(lease.clone(), 1, 1) }).await;
        assert_eq!(super::support::seen(&bench.letter().await), super::support::seen(&expected), "after {n}");
    }
    let dead_letters = vec![given_up(&bench, expected.position)];
    bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(other, 1, 1) }).await;
    let groups: Vec<_> =
        bench.letters().await.into_iter().map(|letter| (letter.group, letter.attempts)).collect();
    assert_eq!(groups, [("g".to_owned(), expected.attempts), ("h".to_owned(), 3)]);
}

/// If the log has lost the event, a further failure merges into the dead letter that still has it. If there is no such
/// dead letter, none is created. The rest of the commit is stored.
pub async fn a_dead_letter_needs_its_event_and_its_commit_does_not(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, letters) = bench.dead_letters_for(&Draft::many("e", 1)).await;
    let gone = bench.store_all(&Draft::many("gone", 1)).await[0];
    bench.pass_as(&lease, 2).await;
    assert_eq!(bench.trim(&super::support::keep_newest(0)).await.events, 2);
    let nowhere = [gone, Position::new(0, 3), Position::new(0, u64::MAX), Position::new(7, 1)];
    let mut dead_letters: Vec<_> = nowhere.iter().map(|at| given_up(&bench, *at)).collect();
    dead_letters.push(given_up(&bench, letters[0].position));
    let blocked = vec![row(Key::new("user", "u"), 2, &bench)];
    let commit = SegmentCommit { dead_letters, blocked, ..SegmentCommit::new(lease, 2, 2) };
    bench.commit_ok(commit).await;
    let letter = bench.letter().await;
    assert_eq!((letter.id.as_str(), letter.attempts, letter.event.id()), (&*letters[0].id, 6, "e-0"));
    let state = bench.inherit_only("g").await;
    assert_eq!((state.cursor, state.blocked.len()), (2, 1));
}

/// A handled redrive closes its dead letter. Dead letters that are not redriven stay unchanged.
pub async fn a_handled_redrive_closes_its_letter_alone(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, letters) = bench.dead_letters_for(&Draft::many("e", 4)).await;
    let ids: Vec<String> = letters.iter().map(|letter| letter.id.clone()).collect();
    assert_eq!(bench.store.discard(&ids[2..3], "no").await.unwrap(), [DeadLetterChange::Done]);
    assert_eq!(bench.store.redrive(&ids[..2]).await.unwrap(), [DeadLetterChange::Done; 2]);
    bench.clock.advance(Duration::from_secs(5));
    let mut handled_dead_letters = vec![ids[0].clone(), ids[2].clone(), ids[3].clone()];
    handled_dead_letters.extend(["unknown", ""].map(str::to_owned));
    bench.commit_ok(SegmentCommit { handled_dead_letters, ..SegmentCommit::new(lease, 4, 4) }).await;
    let after = bench.letters().await;
    let states: Vec<_> = after.iter().map(|letter| letter.state).collect();
    use DeadLetterState::{Discarded, Handled, Open, Redriving};
    assert_eq!(states, [Handled, Redriving, Discarded, Open]);
    assert_eq!(after[0].updated_at, bench.clock.now());
    assert_eq!((after[3].updated_at, after[2].reason.as_deref()), (letters[3].updated_at, Some("no")));
}

/// A redrive that failed again opens its dead letter, even if the same commit reports it as handled.
pub async fn a_redrive_that_failed_again_opens_its_letter(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, letters) = bench.dead_letters_for(&Draft::many("e", 2)).await;
    let ids: Vec<String> = letters.iter().map(|letter| letter.id.clone()).collect();
    bench.store.redrive(&ids).await.unwrap();
    let commit = SegmentCommit {
        dead_letters: letters.iter().map(|letter| given_up(&bench, letter.position)).collect(),
        handled_dead_letters: vec![ids[1].clone()],
        ..SegmentCommit::new(lease, 2, 2)
    };
    bench.commit_ok(commit).await;
    for letter in bench.letters().await {
        assert_eq!((letter.state, letter.attempts, letter.history.len()), (DeadLetterState::Open, 6, 2));
    }
    assert_eq!(bench.store.redrive(&ids).await.unwrap(), [DeadLetterChange::Done; 2]);
}

impl Bench {
    /// Moves a segment to a sequence under a lease.
    async fn pass_as(&self, lease: &Lease, through: u64) {
        self.commit_ok(SegmentCommit::new(lease.clone(), through, through)).await;
    }
}
