//! Laws of deliveries, the state of an event in a group.

use std::sync::Arc;

use domain::{
    Filter, Position, StoredEvent, TypePattern,
    dead_letter::DeadLetterState,
    group::{BlockedKey, DeliveryState, EventDelivery, GroupKey, GroupSpec, Key, SkipReason},
    ports::{Clock as _, SegmentCommit},
};

use super::support::{LONG, given_up, row, spec};
use crate::{Bench, Draft, Harness};

/// Returns the delivery of every event of the log in a group, read through another handle.
async fn deliveries(bench: &Bench, group: &str) -> Vec<EventDelivery> {
    let events: Vec<StoredEvent> = bench.all(Filter::default()).await;
    bench.storage.open().await.deliveries(group, &events).await.unwrap().expect("a group")
}

async fn states(bench: &Bench, group: &str) -> Vec<DeliveryState> {
    deliveries(bench, group).await.into_iter().map(|delivery| delivery.state).collect()
}

/// Returns the ordering key of each event of the log in a group with this rule.
async fn keys(bench: &Bench, key: &GroupKey) -> Vec<Key> {
    bench.all(Filter::default()).await.iter().map(|stored| key.of(&stored.event).into()).collect()
}

/// Events up to the cursor are done, except the events of the ledger (blocked keys). Claimed events may be in flight
/// while the lease is valid.
pub async fn deliveries_follow_cursors_and_rows(h: &impl Harness) {
    use DeliveryState::{Done, InFlight, Waiting};
    let bench = Bench::of_one_partition(h).await;
    bench.store_all(&Draft::many("e", 7)).await;
    let spec = spec("g", 1);
    bench.make_group(&spec, 0).await;
    assert_eq!(states(&bench, "g").await, vec![Waiting; 7]);
    let lease = bench.only("g", "c").await;
    let own = keys(&bench, &spec.key).await;
    let is_one_key = own.windows(2).all(|two| two[0] == two[1]);
    let failing = BlockedKey { through: if is_one_key { 4 } else { 2 }, ..row(own[1].clone(), 2, &bench) };
    let claimed = BlockedKey { claimed_to: 3, ..row(own[2].clone(), 3, &bench) };
    let mut commit = SegmentCommit { blocked: vec![failing.clone()], ..SegmentCommit::new(lease, 4, 6) };
    let since = claimed.since;
    commit.blocked.extend((!is_one_key).then_some(claimed));
    bench.commit_ok(commit).await;
    let retrying = DeliveryState::Retrying {
        attempts: failing.attempts,
        due: failing.due.unwrap(),
        error: failing.error.clone(),
    };
    if is_one_key {
        let blocked = DeliveryState::Blocked { behind: 2, parked: false, since: failing.since };
        let expected = [vec![Done, retrying], vec![blocked; 5]].concat();
        assert_eq!(states(&bench, "g").await, expected);
        return;
    }
    let flying = |attempts| InFlight { attempts };
    // Events with the key of the third event are blocked behind it. In one partition of several, keys repeat.
    let behind = |at: usize, otherwise| match own[at] == own[2] {
        true => DeliveryState::Blocked { behind: 3, parked: false, since },
        false => otherwise,
    };
    let rest =
        |states: [DeliveryState; 3]| states.into_iter().enumerate().map(|(n, state)| behind(n + 4, state));
    let mut expected = vec![Done, retrying.clone(), flying(1), Done];
    expected.extend(rest([flying(0), flying(0), Waiting]));
    assert_eq!(states(&bench, "g").await, expected);
    // After the end of the lease, no delivery is known to be in flight.
    bench.clock.advance(LONG);
    let mut left = vec![Done, retrying.clone(), retrying, Done];
    left.extend(rest([Waiting, Waiting, Waiting]));
    assert_eq!(states(&bench, "g").await, left);
}

/// A group skips events before its start or its last reset. It also skips events of types that it does not take.
pub async fn a_delivery_before_the_groups_place_is_skipped(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let types = ["user.registered", "payment.processed"];
    let event = |n: usize| Draft::new(&format!("e-{n}")).of_type(types[n % 2]).event();
    bench.store_all(&(0..6).map(event).collect::<Vec<_>>()).await;
    let spec = GroupSpec { types: vec![TypePattern::new("user.*")], ..spec("g", 2) };
    bench.make_group(&spec, 2).await;
    let skipped = |reason| DeliveryState::Skipped { reason };
    let (before, other) = (skipped(SkipReason::BeforeStart), skipped(SkipReason::Type));
    let open = [DeliveryState::Waiting, other.clone(), DeliveryState::Waiting, other.clone()];
    let expected = [vec![before.clone(), before.clone()], open.to_vec()].concat();
    assert_eq!(states(&bench, "g").await, expected);
    let mark = bench.mark(5).await;
    bench.store.reset_group("g", &mark).await.unwrap();
    assert_eq!(states(&bench, "g").await, [vec![before.clone(); 5], vec![other]].concat());
    bench.store.reset_group("g", &bench.start().await).await.unwrap();
    assert!(!states(&bench, "g").await.contains(&before));
}

/// A delivery names the dead letter of its group and position in any state, and no other dead letter.
pub async fn a_delivery_names_the_dead_letter_of_its_position(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, letters) = bench.dead_letters_for(&Draft::many("e", 3)).await;
    let more = bench.store_all(&Draft::many("f", 2)).await;
    bench.make_group(&spec("other", 1), 0).await;
    let of_other = bench.only("other", "c").await;
    let dead_letters = vec![given_up(&bench, more[1])];
    bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(of_other, 5, 5) }).await;
    bench.commit_ok(SegmentCommit::new(lease, 4, 4)).await;
    bench.store.discard(&[letters[1].id.clone()], "no").await.unwrap();
    let found = deliveries(&bench, "g").await;
    let named = |delivery: &EventDelivery| {
        delivery.dead_letter.as_ref().map(|letter| (letter.id.clone(), letter.state))
    };
    let own = |n: usize, state| Some((letters[n].id.clone(), state));
    let (open, discarded) = (DeadLetterState::Open, DeadLetterState::Discarded);
    assert_eq!(
        found.iter().map(named).collect::<Vec<_>>(),
        [own(0, open), own(1, discarded), own(2, open), None, None]
    );
    assert_eq!(found[4].state, DeliveryState::Waiting);
    let of_other = deliveries(&bench, "other").await;
    let events: Vec<Option<Position>> =
        of_other.iter().map(|delivery| Some(delivery.dead_letter.as_ref()?.position)).collect();
    assert_eq!(events, [None, None, None, None, Some(more[1])]);
    assert_eq!(found[0].dead_letter.as_ref().unwrap().event.id(), "e-0");
    assert!(letters[0].created_at <= bench.clock.now());
}

/// The deliveries of an unknown group are none. Without events, the result is an empty list.
pub async fn deliveries_of_an_unknown_group_are_none(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&Draft::many("e", 3)).await;
    let store = Arc::clone(&bench.store);
    let events = bench.all(Filter::default()).await;
    assert!(store.deliveries("g", &events).await.unwrap().is_none());
    store.create_group(&GroupSpec::new("g"), &bench.start().await).await.unwrap();
    assert_eq!(store.deliveries("g", &[]).await.unwrap().map(|all| all.len()), Some(0));
    let all = store.deliveries("g", &events).await.unwrap().expect("a group");
    assert!(all.iter().all(|delivery| delivery.state == DeliveryState::Waiting), "{all:?}");
    assert_eq!(all.len(), 3);
}
