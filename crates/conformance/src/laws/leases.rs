//! Laws of leases, which decide the consumer that may commit to a segment. All times come from the store's clock.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use domain::{
    group::{BlockedKey, Key, Lease, SegmentState, fair_share},
    ports::{Clock as _, CommitOutcome, GroupStoreError, LeaseRequest, SegmentCommit},
};

use super::{
    append::ODD,
    support::{LEASE, LONG, failure, request, row, sorted, spec, token},
};
use crate::{Bench, Draft, Harness};

const SECOND: Duration = Duration::from_secs(1);

/// A consumer that takes a segment, through any handle, gets the state of the last commit with its claim and ledger
/// (blocked keys).
pub async fn a_lease_gives_the_state_as_the_last_commit_left_it(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 2), 1).await;
    let leases = bench.lease("g", "c").await;
    let rows = vec![
        row(Key::new("user", "u"), 2, &bench),
        BlockedKey {
            through: 8,
            claimed_to: 3,
            attempts: u32::MAX,
            ends: 3,
            due: None,
            error: "\u{202e}'\r\n\u{0}".to_owned(),
            failures: vec![failure(&bench, "\u{202e}'\r\n\u{0}")],
            since: bench.clock.now() - Duration::from_nanos(1),
            ..row(Key::new("", ""), 3, &bench)
        },
    ];
    let lease = leases.held.iter().find(|lease| lease.segment == 1).unwrap().clone();
    bench.commit_ok(SegmentCommit { blocked: rows.clone(), ..SegmentCommit::new(lease, 5, 8) }).await;
    let expected = sorted(SegmentState { partition: 0, cursor: 5, claimed_to: 8, blocked: rows });
    let untouched = SegmentState { cursor: 1, claimed_to: 1, ..SegmentState::default() };
    for _ in 0..2 {
        let states = bench.inherit("g").await;
        assert_eq!(states[&1].1, expected, "leasing changes nothing of it");
        assert_eq!(states[&0].1, untouched);
    }
}

/// A valid lease is not taken over. An expired lease is taken over with a higher epoch.
pub async fn a_good_lease_is_not_taken(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 1), 0).await;
    let first = bench.only("g", "z").await;
    let other = bench.storage.open().await;
    bench.clock.advance(LEASE - SECOND);
    // The share depends only on the names, so the second consumer's fair share is the only segment.
    let waiting = other.lease(&request("g", "a")).await.unwrap();
    assert_eq!((waiting.held, waiting.taken.len(), waiting.share), (Vec::new(), 0, 1));
    bench.clock.advance(2 * SECOND);
    let taken = other.lease(&request("g", "a")).await.unwrap();
    let [(second, _)] = &taken.taken[..] else { panic!("{taken:?}") };
    assert_eq!(taken.held, std::slice::from_ref(second));
    assert!(second.epoch > first.epoch, "{second:?} after {first:?}");
    assert_eq!((second.token, second.group.as_str(), second.segment), (token("a"), "g", 0));
    assert_eq!(bench.commit(SegmentCommit::new(first, 0, 0)).await, CommitOutcome::Fenced);
}

/// A further request extends every lease from the current time, without a new epoch.
pub async fn asking_again_extends_every_lease(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 3), 0).await;
    let first = bench.lease("g", "c").await;
    assert_eq!((first.held.len(), first.taken.len(), first.share), (3, 3, 3));
    for _ in 0..3 {
        bench.clock.advance(LEASE - SECOND);
        let again = bench.lease("g", "c").await;
        assert_eq!((&again.held, again.taken.len()), (&first.held, 0));
    }
    bench.clock.advance(LEASE - SECOND);
    assert_eq!(bench.lease("g", "a").await.held, []);
    // An expired lease that was not taken still belongs to its consumer.
    bench.clock.advance(LONG);
    let again = bench.lease("g", "c").await;
    assert_eq!((&again.held, again.taken.len()), (&first.held, 0));
    assert_eq!(bench.lease("g", "a").await.held, []);
}

/// A consumer gets its fair share among all live consumers, and the segments that it holds beyond its share. It takes
/// segments that others give back, up to its share.
pub async fn consumers_take_their_fair_share(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let made = bench.store.create_group(&spec("g", 16), &bench.start().await).await.unwrap();
    let segments = made.spec.segments;
    for (name, share, taken) in [("b", segments, segments), ("a", segments / 2, 0), ("c", segments / 3, 0)] {
        let leases = bench.lease("g", name).await;
        assert_eq!((leases.share, leases.taken.len(), leases.surplus.len()), (share, usize::from(taken), 0));
    }
    let b = bench.lease("g", "b").await;
    let fair = |name| fair_share(segments, 0, name, ["a", "b", "c"]);
    assert_eq!(
        (b.share, b.held.len()),
        (fair("b"), usize::from(segments)),
        "nothing is taken from who holds more"
    );
    assert_eq!(b.surplus.len(), usize::from(segments - b.share));
    let give = |lease: &&Lease| b.surplus.contains(&lease.segment);
    let given = b.held.iter().filter(give).map(given_back).collect::<Vec<_>>();
    bench.store.commit(&given).await.unwrap();
    for name in ["c", "a", "b", "c"] {
        let leases = bench.lease("g", name).await;
        let of = (leases.share, leases.held.len(), leases.surplus.len());
        assert_eq!(of, (fair(name), usize::from(fair(name)), 0), "{name}");
    }
    let status = bench.status("g").await;
    let consumers: Vec<_> = status.consumers.iter().map(|it| (it.name.as_str(), it.segments)).collect();
    assert_eq!(consumers, ["a", "b", "c"].map(|name| (name, fair(name))));
}

/// With more consumers than segments, some consumers have a share of 0.
pub async fn more_consumers_than_segments_share_them(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let made = bench.store.create_group(&spec("small", 1), &bench.start().await).await.unwrap();
    let names: Vec<String> = (0..=made.spec.segments).map(|n| format!("c{n:03}")).collect();
    for name in &names {
        bench.lease("small", name).await;
    }
    let mut shares = 0;
    for name in &names {
        let share = bench.lease("small", name).await.share;
        assert_eq!(
            share,
            fair_share(made.spec.segments, 0, name, names.iter().map(String::as_str)),
            "{name}"
        );
        shares += share;
    }
    assert_eq!(shares, made.spec.segments);
}

/// Returns a commit that only gives its lease back.
fn given_back(lease: &Lease) -> SegmentCommit {
    SegmentCommit { release: true, ..SegmentCommit::new(lease.clone(), 0, 0) }
}

/// Each lease of a segment has a higher epoch than the previous one. The way in which the previous lease ended does not
/// matter.
pub async fn epochs_rise_however_a_lease_ends(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 1), 0).await;
    let mut newest = bench.only("g", "c").await;
    for (round, end) in ["leave", "release", "reset", "over", "reset", "leave"].into_iter().enumerate() {
        match end {
            "leave" => bench.store.leave("g", "c", token("c")).await.unwrap(),
            "release" => {
                let given_back = SegmentCommit { release: true, ..SegmentCommit::new(newest.clone(), 0, 0) };
                bench.commit_ok(given_back).await;
            }
            "reset" => bench.store.reset_group("g", &bench.mark(0).await).await.unwrap(),
            _ => {
                // Another consumer holds the segment for some time.
                bench.clock.advance(LONG);
                let between = bench.only("g", "other").await;
                assert!(between.epoch > newest.epoch, "{between:?} after {newest:?}");
                newest = between;
                bench.clock.advance(LONG);
            }
        }
        let next = bench.only("g", "c").await;
        assert!(next.epoch > newest.epoch, "round {round}, {end}: {next:?} after {newest:?}");
        newest = next;
    }
}

/// A consumer that leaves frees its segments immediately and no longer counts as a consumer. Nothing else changes.
pub async fn leaving_frees_segments_and_changes_nothing_else(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 9)).await;
    bench.make_group(&spec("g", 2), 0).await;
    let leases = bench.lease("g", "c").await;
    let blocked = vec![row(Key::new("user", "u"), 2, &bench)];
    for lease in leases.held {
        let blocked = blocked.clone();
        bench.commit_ok(SegmentCommit { blocked, ..SegmentCommit::new(lease, 3, 7) }).await;
    }
    bench.lease("g", "d").await;
    bench.storage.open().await.leave("g", "c", token("c")).await.unwrap();
    let status = bench.status("g").await;
    assert_eq!(status.consumers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["d"]);
    assert!(status.segments.iter().all(|it| it.consumer.is_none()), "{status:?}");
    let taken = bench.lease("g", "d").await.taken;
    assert_eq!(taken.len(), 2);
    for (_, state) in taken {
        let left = SegmentState { partition: 0, cursor: 3, claimed_to: 7, blocked: blocked.clone() };
        assert_eq!(state, left);
    }
}

/// A consumer with a new token takes no valid lease, even a lease under its own name. A consumer that leaves under one
/// token frees no lease of another token.
pub async fn a_token_holds_its_leases_alone(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 2), 0).await;
    let first = bench.lease("g", "c").await;
    let again = LeaseRequest { token: 7, ..request("g", "c") };
    let came_back = bench.store.lease(&again).await.unwrap();
    assert_eq!((came_back.held, came_back.taken.len()), (Vec::new(), 0));
    bench.commit_ok(SegmentCommit::new(first.held[0].clone(), 0, 0)).await;
    bench.clock.advance(LEASE + SECOND);
    let later = bench.store.lease(&again).await.unwrap();
    assert_eq!(later.taken.len(), 2, "what is over is taken: {later:?}");
    assert_eq!(bench.commit(SegmentCommit::new(first.held[0].clone(), 0, 0)).await, CommitOutcome::Fenced);
    bench.store.leave("g", "c", token("c")).await.unwrap();
    assert_eq!(bench.lease("g", "d").await.held, []);
    for lease in later.held {
        bench.commit_ok(SegmentCommit::new(lease, 0, 0)).await;
    }
}

/// A consumer is listed until the lease time after its last call. Consumers are listed by name, with names of any text.
pub async fn consumers_are_alive_until_their_time_is_over(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 4), 0).await;
    for name in ODD {
        bench.lease("g", name).await;
    }
    let alive_until = bench.clock.now() + LEASE;
    bench.clock.advance(LEASE - SECOND);
    let status = bench.status("g").await;
    let mut names = ODD.to_vec();
    names.sort_unstable();
    assert_eq!(status.consumers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), names);
    assert!(status.consumers.iter().all(|it| it.alive_until == alive_until), "{status:?}");
    bench.lease("g", "last").await;
    bench.clock.advance(2 * SECOND);
    let status = bench.status("g").await;
    assert_eq!(status.consumers.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["last"]);
    // Expired consumers do not count in the shares.
    let leases = bench.lease("g", "last").await;
    assert_eq!((leases.share, leases.held.len()), (4, 4));
}

/// A group was last seen when a consumer last requested leases.
pub async fn leasing_notes_when_a_group_was_seen(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let made = bench.make_group(&spec("g", 1), 0).await;
    bench.make_group(&spec("idle", 1), 0).await;
    for _ in 0..2 {
        bench.clock.advance(LONG);
        bench.lease("g", "c").await;
        assert_eq!(bench.status("g").await.record.last_seen_at, bench.clock.now());
    }
    let idle = bench.status("idle").await.record;
    assert_eq!((idle.created_at, idle.last_seen_at), (made.created_at, made.created_at));
}

/// Leases of an unknown group are refused.
pub async fn leasing_of_an_unknown_group_is_refused(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    bench.make_group(&spec("g", 1), 0).await;
    for name in ["G", "g ", "%"] {
        let refusal = bench.store.lease(&request(name, "c")).await;
        assert_eq!(refusal, Err(GroupStoreError::NoGroup(name.to_owned())));
    }
}

/// The leases of eight consumers: the current consumer of each segment, and every lease that was ever given.
#[derive(Default)]
struct Held {
    now: BTreeMap<u16, usize>,
    ever: BTreeMap<(u16, u64), usize>,
}

impl Held {
    fn takes(&mut self, consumer: usize, lease: &Lease) {
        let other = self.now.insert(lease.segment, consumer);
        assert_eq!(other, None, "{consumer} was given {lease:?}, which {other:?} holds");
        let given = self.ever.insert((lease.segment, lease.epoch), consumer);
        assert_eq!(given, None, "{lease:?} was given twice");
    }
}

/// Eight concurrent consumers never share a segment, and converge to fair shares.
pub async fn eight_consumers_at_once_never_share_a_segment(h: &impl Harness) {
    const CONSUMERS: usize = 8;
    let bench = Bench::new(h).await;
    let made = bench.store.create_group(&spec("g", 17), &bench.start().await).await.unwrap();
    let held = Arc::new(Mutex::new(Held::default()));
    let together = Arc::new(tokio::sync::Barrier::new(CONSUMERS));
    let mut consumers = tokio::task::JoinSet::new();
    for (me, store) in bench.handles(CONSUMERS).await.into_iter().enumerate() {
        let (held, together) = (held.clone(), together.clone());
        consumers.spawn(async move {
            let ask = request("g", &format!("c{me}"));
            for _ in 0..6 {
                together.wait().await;
                let leases = store.lease(&ask).await.unwrap();
                for (lease, _) in &leases.taken {
                    held.lock().unwrap().takes(me, lease);
                }
                let spare: Vec<&Lease> =
                    leases.held.iter().filter(|lease| leases.surplus.contains(&lease.segment)).collect();
                for lease in &spare {
                    held.lock().unwrap().now.remove(&lease.segment);
                }
                let given: Vec<_> = spare.into_iter().map(given_back).collect();
                for outcome in store.commit(&given).await.unwrap() {
                    assert_eq!(outcome, CommitOutcome::Committed);
                }
            }
        });
    }
    while let Some(consumer) = consumers.join_next().await {
        consumer.unwrap();
    }
    let status = bench.status("g").await;
    let segments: Vec<u16> = status.consumers.iter().map(|it| it.segments).collect();
    let names: Vec<&str> = status.consumers.iter().map(|it| it.name.as_str()).collect();
    let fair = names.iter().map(|name| fair_share(made.spec.segments, 0, name, names.iter().copied()));
    assert_eq!(segments, Vec::from_iter(fair));
}
