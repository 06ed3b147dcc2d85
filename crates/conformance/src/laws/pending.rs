//! Laws of pending events. The pending events of a group are the log's events that the group has not finished.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{
    Event, Filter, StoredEvent, TypePattern,
    group::{BlockedKey, DeliveryState, GroupKey, GroupSpec, Key, MAX_PENDING_LOOKS, Pending, segment_of},
    ordering::{KeySource, OrderingKey},
    ports::{Clock as _, SegmentCommit},
};
use fastrand::Rng;

use super::support::{row, spec};
use crate::{Bench, Draft, Harness, model::seeds};

const TYPES: [&str; 3] = ["user.registered", "user.profile.updated", "payment.processed"];
const KEYS: [GroupKey; 3] = [GroupKey::Event, GroupKey::Correlation, GroupKey::All];

/// Returns the pending events of a group, read through another handle.
async fn pending(bench: &Bench, group: &str) -> Pending {
    bench.storage.open().await.pending(group).await.unwrap().expect("a group")
}

/// Derives the pending events of a group from its deliveries. The result must equal the reported pending events.
async fn open(bench: &Bench, group: &str) -> Pending {
    let events = bench.all(Filter::default()).await;
    let deliveries = bench.storage.open().await.deliveries(group, &events).await.unwrap().expect("a group");
    let mut found = Pending::default();
    for (stored, delivery) in events.iter().zip(deliveries) {
        let is_over = matches!(delivery.state, DeliveryState::Done | DeliveryState::Skipped { .. });
        if !is_over {
            found.add(Pending { events: 1, is_exact: true, oldest: Some(stored.stored_at) });
        }
    }
    found
}

/// Scans the log for events that are not among the finished ids.
async fn scanned(bench: &Bench, spec: &GroupSpec, finished: &BTreeSet<String>) -> Pending {
    let filter = Filter { types: spec.types.clone(), ..Filter::default() };
    let mut found = Pending::default();
    for stored in bench.all(filter).await {
        if !finished.contains(stored.event.id()) {
            found.add(Pending { events: 1, is_exact: true, oldest: Some(stored.stored_at) });
        }
    }
    found
}

/// For any progress of the segments and any ledger of blocked keys, the pending events equal the unfinished events of a
/// scan. A failing round prints the seed that reproduces it.
pub async fn what_is_pending_is_what_a_scan_finds_unfinished(h: &impl Harness) {
    for seed in seeds(h.partitions()) {
        let mut rng = Rng::with_seed(seed);
        let bench = Bench::of_one_partition(h).await;
        let key = if bench.is_a_part { GroupKey::Event } else { KEYS[rng.usize(..KEYS.len())].clone() };
        let types = TYPES.into_iter().filter(|_| rng.bool()).map(TypePattern::new).collect();
        let spec = GroupSpec { key, types, ..spec("g", rng.u16(1..5)) };
        let count = rng.usize(0..90);
        store_some(&bench, &mut rng, 0..count).await;
        bench.make_group(&spec, 0).await;
        let finished = consume(&bench, &spec, &mut rng).await;
        assert_eq!(
            pending(&bench, "g").await,
            scanned(&bench, &spec, &finished).await,
            "seed {seed}: {spec:?}"
        );
        let later = 100 + rng.usize(0..20);
        store_some(&bench, &mut rng, 100..later).await;
        assert_eq!(
            pending(&bench, "g").await,
            scanned(&bench, &spec, &finished).await,
            "seed {seed}: later events"
        );
        assert_eq!(open(&bench, "g").await, pending(&bench, "g").await, "seed {seed}: deliveries");
        bench.erase("user", "u1").await;
        assert_eq!(
            pending(&bench, "g").await,
            scanned(&bench, &spec, &finished).await,
            "seed {seed}: erased"
        );
    }
}

async fn store_some(bench: &Bench, rng: &mut Rng, numbers: std::ops::Range<usize>) {
    for n in numbers {
        bench.clock.advance(Duration::from_secs(1));
        let draft = Draft::new(&format!("e-{n}")).of_type(TYPES[rng.usize(..TYPES.len())]);
        let draft = draft.with("userId", format!("u{}", rng.u8(..4)));
        let draft = if rng.bool() { draft.with("correlationId", format!("c{}", rng.u8(..3))) } else { draft };
        let event = if rng.u8(..4) > 0 { of_user(&draft) } else { draft.event() };
        bench.store_all(&[event]).await;
    }
}

/// Returns an event with its user as ordering key.
fn of_user(draft: &Draft) -> Event {
    let event = draft.event();
    let user = event.entities().position(|(kind, _)| kind == "user").expect("a user");
    event.with_key_source(KeySource::Entity(user as u16))
}

/// Commits a possible state to each segment: a cursor, and ledger rows for the unfinished keys up to it. Returns the
/// ids of the finished events.
async fn consume(bench: &Bench, spec: &GroupSpec, rng: &mut Rng) -> BTreeSet<String> {
    let filter = Filter { types: spec.types.clone(), ..Filter::default() };
    let mut segments: BTreeMap<u16, BTreeMap<Key, Vec<StoredEvent>>> = BTreeMap::new();
    for stored in bench.all(filter).await {
        let own = spec.key.of(&stored.event);
        let segment = segment_of(&own, 0, 1, spec.segments);
        segments.entry(segment).or_default().entry(own.into()).or_default().push(stored);
    }
    let head = bench.store.head().await.unwrap().sequence(0);
    let mut finished = BTreeSet::new();
    for lease in bench.lease("g", "c").await.held {
        let cursor = rng.u64(0..=head);
        let mut commit = SegmentCommit::new(lease.clone(), cursor, cursor);
        for (key, events) in segments.remove(&lease.segment).unwrap_or_default() {
            let passed = events.iter().filter(|stored| stored.position.sequence <= cursor).count();
            // For a key with a row, some events after the cursor may already be finished.
            let read = if rng.bool() { passed } else { rng.usize(passed..=events.len()) };
            let has_row = read > 0 && rng.u8(..3) > 0;
            let done = if has_row { rng.usize(..=read) } else { passed };
            let at = |index: usize| events[index].position.sequence;
            finished.extend(events[..done].iter().map(|stored| stored.event.id().to_owned()));
            if has_row {
                let through = at(read - 1);
                let mut row = BlockedKey { through, ..row(key, through + 1, bench) };
                if done < read {
                    row.position = at(done);
                    if rng.u8(..3) == 0 {
                        // The key is parked behind a dead letter. The event of the dead letter is no longer pending.
                        row.due = None;
                        finished.insert(events[done].event.id().to_owned());
                    }
                }
                commit.blocked.push(row);
            }
        }
        bench.commit_ok(commit).await;
    }
    finished
}

/// With too many events between the oldest open event and the highest cursor, the store may count fewer pending events.
/// It never counts more, and such a count is not exact.
pub async fn too_much_to_look_at_is_at_least_so_much(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let users = ["u0", "u1", "u2", "u3"];
    let count = MAX_PENDING_LOOKS + 400;
    let draft = |n: usize| Draft::new(&format!("e-{n}")).with("userId", users[n % users.len()]);
    bench.store_all(&(0..count).map(|n| of_user(&draft(n))).collect::<Vec<_>>()).await;
    let keys: Vec<Key> = bench
        .all(Filter::default())
        .await
        .iter()
        .map(|stored| Key::from(GroupKey::Event.of(&stored.event)))
        .collect();
    let head = count as u64;
    bench.make_group(&spec("slow", 1), 0).await;
    let lease = bench.only("slow", "c").await;
    let oldest = Some(bench.clock.now());
    // One event of a key waits at the start of the log. Only this event needs a look-up.
    let mut commit = SegmentCommit::new(lease.clone(), head - 10, head - 10);
    commit.blocked = vec![row(keys[0].clone(), 1, &bench)];
    bench.commit_ok(commit).await;
    assert_eq!(pending(&bench, "slow").await, Pending { events: 11, is_exact: true, oldest });
    // All events of the key wait.
    let mut commit = SegmentCommit::new(lease, head - 10, head - 10);
    commit.blocked = vec![BlockedKey { through: head - 12, ..row(keys[0].clone(), 1, &bench) }];
    bench.commit_ok(commit).await;
    let open = pending(&bench, "slow").await;
    let of_key = keys[..count - 12].iter().filter(|key| **key == keys[0]).count();
    assert!(open.events <= of_key as u64 + 10 && open.events > 2_000, "{open:?}");
    assert_eq!(open.oldest, oldest, "{open:?} of {of_key}");
    assert!(open.is_exact || bench.is_a_part, "few events name the entity of the key: {open:?}");
    assert!(!open.is_exact || open.events == of_key as u64 + 10, "{open:?} of {of_key}");
    // A segment that makes no progress is far behind another.
    bench.make_group(&spec("torn", 2), 0).await;
    let segment = |key: &Key| segment_of(&OrderingKey { kind: &key.kind, id: &key.id }, 0, 1, 2);
    let ahead = segment(&keys[0]);
    let leases = bench.lease("torn", "c").await;
    let lease = leases.held.into_iter().find(|lease| lease.segment == ahead).expect("a lease");
    bench.commit_ok(SegmentCommit::new(lease, head, head)).await;
    let behind = keys.iter().filter(|key| segment(key) != ahead).count() as u64;
    let open = pending(&bench, "torn").await;
    assert!(!open.is_exact && open.events <= behind, "{open:?} of {behind}");
}
