//! What is said to be pending is what a scan of the store finds unhandled: with handlers that fail, keys that are blocked or
//! parked, and a replay that is paused, on every store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::Duration,
};

use event_replay::{
    Backoff, Filter, GroupReplayOptions, PlanRequest, SystemClock, Timestamp, TypePattern,
    domain::{
        group::Pending,
        ports::{DeadLetterQuery, ReadRequest, ReplayWish},
    },
    prelude::*,
};
use serde_json::json;

const TYPES: [&str; 3] = ["user.registered", "user.profile.updated", "payment.processed"];
const GROUP: &str = "mail";
const ROUNDS: u64 = 3;

/// A handler whose answer is drawn from an event's id: handled, slow, failing for a while, or given up on.
struct Drawn {
    seed: u64,
    handled: Mutex<BTreeSet<String>>,
}

/// A number for an id: the same in each attempt.
fn drawn(seed: u64, id: &str) -> u64 {
    let mut hash = seed ^ 0xcbf2_9ce4_8422_2325;
    for byte in id.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash >> 16
}

#[async_trait]
impl EventHandler for Drawn {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let id = delivery.stored.event.id();
        match drawn(self.seed, id) % 10 {
            0 => return Err(HandlerError::retry_after(Duration::from_secs(3600), "not before an hour")),
            1 => return Err(HandlerError::give_up("never")),
            2 if delivery.attempt == 1 => return Err(HandlerError::retry("not at once")),
            3 => tokio::time::sleep(Duration::from_millis(20)).await,
            _ => {}
        }
        self.handled.lock().unwrap().insert(id.to_owned());
        Ok(())
    }
}

async fn publish(bus: &Bus, seed: u64, round: u64, count: u64) {
    for n in 0..count {
        let id = format!("e-{round}-{n}");
        let draw = drawn(seed.wrapping_mul(7), &id);
        let event = json!({
            "id": id, "type": TYPES[(draw % 3) as usize], "version": "1.0", "timestamp": "2026-01-01T00:00:00Z",
            "source": "s", "userId": format!("u{}", draw / 3 % 7), "metadata": {}, "data": {},
        });
        bus.publish(event.to_string().as_bytes()).await.unwrap();
    }
}

/// What a scan finds: events of the group's types that are neither handled nor dead letters.
async fn scanned(store: &dyn Stores, handled: &BTreeSet<String>) -> Pending {
    let query = DeadLetterQuery { limit: 10_000, ..DeadLetterQuery::default() };
    let dead: BTreeSet<String> =
        store.dead_letters(&query).await.unwrap().iter().map(|letter| letter.event.id().to_owned()).collect();
    let filter = Filter { types: vec![TypePattern::new("user.*")], ..Filter::default() };
    let mut request = ReadRequest::new(filter, 1000);
    let mut found = Pending::default();
    loop {
        let page = store.read(&request).await.unwrap();
        for stored in page.events {
            let id = stored.event.id();
            if !handled.contains(id) && !dead.contains(id) {
                found.add(Pending { events: 1, is_exact: true, oldest: Some(stored.stored_at) });
            }
        }
        request.after = page.next;
        if request.after.is_none() {
            return found;
        }
    }
}

/// Pauses a replay of the group's events that no process runs: it is not pending, for its events were published before.
async fn pause_a_replay(store: &Arc<dyn Stores>) {
    let manager = replay_manager(store, None, Arc::new(SystemClock));
    let filter = Filter { types: vec![TypePattern::new("user.*")], ..Filter::default() };
    let plan = manager.plan(PlanRequest::new(filter), None).await.unwrap();
    let options = GroupReplayOptions { groups: vec![GROUP.to_owned()], ..GroupReplayOptions::default() };
    let replay = manager.start_group_replay(&plan, &options).await.unwrap();
    manager.wish(&replay.id, ReplayWish::Pause).await.unwrap();
}

async fn agrees(location: &str, seed: u64) {
    let store = open(location).await.unwrap();
    let handler = Arc::new(Drawn { seed, handled: Mutex::default() });
    let bus = Bus::builder(store).enable_validation(false).build().await.unwrap();
    let store = Arc::clone(bus.store());
    let mut told: HashMap<u64, Pending> = HashMap::new();
    for round in 0..ROUNDS {
        publish(&bus, seed, round, 40 + seed % 20).await;
        let backoff = Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(20) };
        let subscription = bus.subscribe(GROUP).on("user.*", handler.clone()).start_at(StartAt::Earliest);
        let park = seed % 2 == 1;
        let consumer = subscription.backoff(backoff).park(park).concurrency(4).start().await.unwrap();
        // It is stopped at any moment.
        tokio::time::sleep(Duration::from_millis(drawn(seed, &round.to_string()) % 300)).await;
        consumer.stop().await.unwrap();
        let handled = handler.handled.lock().unwrap().clone();
        let pending = store.pending(GROUP).await.unwrap().expect("the group");
        assert_eq!(pending, scanned(&*store, &handled).await, "{location} seed {seed} round {round}");
        if round == 1 {
            pause_a_replay(&store).await;
            assert_eq!(store.pending(GROUP).await.unwrap().unwrap(), pending, "a replay adds nothing");
        }
        told.insert(round, pending);
    }
    assert!(
        told.values().any(|pending| pending.events > 0 && pending.oldest < Some(Timestamp::now())),
        "{told:?}"
    );
    bus.close().await;
}

#[tokio::test]
async fn pending_is_what_a_scan_finds_in_memory() {
    for seed in 0..8 {
        agrees("memory:", seed).await;
    }
}

#[tokio::test]
async fn pending_is_what_a_scan_finds_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    for seed in 0..6 {
        agrees(&format!("sqlite:{}/{seed}.db", folder.path().display()), seed).await;
    }
}

#[tokio::test]
async fn pending_is_what_a_scan_finds_on_redis() {
    let server =
        servers::Server::start(&servers::Binary::default(), &servers::Config::default()).await.unwrap();
    for seed in 0..6 {
        agrees(&format!("redis://127.0.0.1:{}?namespace=n{seed}", server.port()), seed).await;
    }
}
