//! Emission by handlers under a thousand injected faults: errors after the emission, lost requests, lost answers, and
//! crashes of the service. No event is emitted twice, none is lost, and none is a conflict.
//!
//! `EVENT_REPLAY_SEED` sets the random seed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use conformance::{EngineCall, EngineHook, EngineRequest, FaultyEngine};
use event_replay::{
    Backoff, EmitError, Filter, Payload, PublishError, PublishSettings, RetryPolicy, RuntimeClock, Store,
    Timestamp,
    domain::{Retry, StorageFailure, ports::ReadRequest},
    memory::MemoryEngine,
    prelude::*,
};
use fastrand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The number of injected faults of a run.
const FAULTS: u32 = 1_000;
const USERS: u32 = 20;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("order.placed")]
struct OrderPlaced {
    #[entity(key)]
    user_id: String,
    number: u32,
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("payment.captured")]
struct PaymentCaptured {
    #[entity(key)]
    user_id: String,
    number: u32,
    /// The time of the attempt, which differs between two attempts.
    attempt_at: String,
}

/// The faults, and their numbers so far.
struct Faults {
    rng: Mutex<Rng>,
    handler_errors: AtomicU32,
    lost_requests: AtomicU32,
    lost_answers: AtomicU32,
    crashes: AtomicU32,
    conflicts: AtomicU32,
    /// A defect of the handler: each attempt emits under an id of its own.
    has_random_ids: bool,
}

impl Faults {
    fn new(seed: u64, has_random_ids: bool) -> Self {
        Self {
            rng: Mutex::new(Rng::with_seed(seed)),
            handler_errors: AtomicU32::new(0),
            lost_requests: AtomicU32::new(0),
            lost_answers: AtomicU32::new(0),
            crashes: AtomicU32::new(0),
            conflicts: AtomicU32::new(0),
            has_random_ids,
        }
    }

    /// Injects a fault in one of `of` cases, and counts it.
    fn strikes(&self, count: &AtomicU32, of: u32) -> bool {
        let strikes = self.rng.lock().unwrap().u32(..of) == 0;
        count.fetch_add(u32::from(strikes), Ordering::SeqCst);
        strikes
    }

    fn counts(&self) -> [u32; 4] {
        [&self.handler_errors, &self.lost_requests, &self.lost_answers, &self.crashes]
            .map(|count| count.load(Ordering::SeqCst))
    }
}

/// The faults of the store concern the appends of payments alone.
fn appends_payments(call: &EngineCall<'_>) -> bool {
    let EngineRequest::Append { batch, .. } = call.request else { return false };
    batch.iter().any(|event| event.event_type() == "payment.captured")
}

#[async_trait]
impl EngineHook for Faults {
    async fn before(&self, call: &EngineCall<'_>) -> std::result::Result<(), StorageFailure> {
        match appends_payments(call) && self.strikes(&self.lost_requests, 8) {
            true => Err(StorageFailure::Unknown("the request was lost".to_owned())),
            false => Ok(()),
        }
    }

    async fn after(&self, call: &EngineCall<'_>) -> std::result::Result<(), StorageFailure> {
        match appends_payments(call) && self.strikes(&self.lost_answers, 4) {
            true => Err(StorageFailure::Unknown("the answer was lost".to_owned())),
            false => Ok(()),
        }
    }
}

async fn capture(order: OrderPlaced, cx: Context<Arc<Faults>>) -> Result {
    let faults = cx.state();
    let attempt_at = cx.delivery().delivered_at.to_string();
    let payment = PaymentCaptured { user_id: order.user_id, number: order.number, attempt_at };
    let emit = cx.emit(payment);
    let emit = if faults.has_random_ids { emit.id(format!("{:032x}", fastrand::u128(..))) } else { emit };
    let emitted = emit.await;
    if matches!(emitted, Err(EmitError::Publish(PublishError::Conflict { .. }))) {
        faults.conflicts.fetch_add(1, Ordering::SeqCst);
    }
    emitted?;
    // A crash of the service can happen here, after the emission and before the answer.
    tokio::time::sleep(Duration::from_millis(20)).await;
    match faults.strikes(&faults.handler_errors, 4) {
        true => Err(HandlerError::retry("on purpose, after the emission")),
        false => Ok(()),
    }
}

fn shop(store: &Arc<dyn Stores>, clock: RuntimeClock, faults: &Arc<Faults>) -> Service<Arc<Faults>> {
    let fast = Backoff::new(Duration::from_millis(1), Duration::from_millis(5));
    // The publisher repeats nothing, so each lost answer reaches the handler.
    let publish = PublishSettings {
        retry: RetryPolicy { max_retries: 0, backoff: fast },
        ..PublishSettings::default()
    };
    Service::new("shop", Arc::clone(store), Arc::clone(faults))
        .clock(Arc::new(clock))
        .settings(BusSettings { publish, ..BusSettings::default() })
        .event::<OrderPlaced>()
        .event::<PaymentCaptured>()
        .group("payments", |g| {
            g.on(capture).max_retries(1_000).backoff(fast).lease(Duration::from_millis(500))
        })
}

/// Returns the numbers of the payments in the log, by user, in log order.
async fn payments(store: &dyn Stores) -> BTreeMap<String, Vec<u32>> {
    let mut request = ReadRequest::new(Filter::types(["payment.captured"]), 1_000);
    let mut payments: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    loop {
        let page = store.read(&request).await.unwrap();
        for stored in page.events {
            let payment = PaymentCaptured::decode(&stored.event).unwrap();
            payments.entry(payment.user_id).or_default().push(payment.number);
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return payments,
        }
    }
}

/// Places orders, and crashes the service again and again, until there were enough faults. Then the service handles the
/// rest. Returns the orders and the payments, by user.
async fn run(faults: &Arc<Faults>) -> [BTreeMap<String, Vec<u32>>; 2] {
    let clock = RuntimeClock::at(Timestamp::now());
    let engine = FaultyEngine::new(Arc::new(MemoryEngine::new(Arc::new(clock))), Arc::clone(faults));
    let store: Arc<dyn Stores> = Arc::new(Store::new(engine));
    let mut orders: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut placed = 0;
    loop {
        let service = shop(&store, clock, faults).start().await.unwrap();
        if faults.counts().iter().sum::<u32>() >= FAULTS {
            service.settle().await.unwrap();
            service.stop().await.unwrap();
            break;
        }
        for _ in 0..60 {
            let user_id = format!("u{}", placed % USERS);
            // An order may share its batch with a payment, and its fault too. Its id makes the repetition safe.
            let order = || OrderPlaced { user_id: user_id.clone(), number: placed };
            while let Err(error) = service.emit(order()).id(format!("order-{placed}")).await {
                assert_ne!(error.retry(), Retry::Never, "{error}");
            }
            orders.entry(user_id).or_default().push(placed);
            placed += 1;
        }
        let runs = Duration::from_millis(faults.rng.lock().unwrap().u64(50..900));
        tokio::time::sleep(runs).await;
        service.abort();
        faults.crashes.fetch_add(1, Ordering::SeqCst);
        // The lease of the ended consumer expires.
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    let letters = store.count_dead_letters().await.unwrap();
    assert!(letters.is_empty(), "{letters:?}");
    let [errors, requests, answers, crashes] = faults.counts();
    println!(
        "{placed} orders; {errors} errors after the emission, {requests} lost requests, {answers} lost answers, {crashes} \
         crashes"
    );
    [orders, payments(&*store).await]
}

fn seed() -> u64 {
    let seed = std::env::var("EVENT_REPLAY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("EVENT_REPLAY_SEED={seed}");
    seed
}

#[tokio::test(start_paused = true)]
async fn a_thousand_faults_of_every_kind_emit_nothing_twice() {
    let faults = Arc::new(Faults::new(seed(), false));
    let [orders, payments] = run(&faults).await;
    assert_eq!(payments, orders, "each order has one payment, in the order of its user");
    assert_eq!(faults.conflicts.load(Ordering::SeqCst), 0);
    let counts = faults.counts();
    assert!(counts.iter().sum::<u32>() >= FAULTS, "{counts:?}");
    let is_mixed = counts[..3].iter().all(|count| *count >= 50) && counts[3] >= 3;
    assert!(is_mixed, "a kind of fault is too rare: {counts:?}");
}

/// The control: under random ids the same faults emit events twice, and the check finds them.
#[tokio::test(start_paused = true)]
async fn the_check_sees_that_ids_are_not_derived() {
    let faults = Arc::new(Faults::new(seed(), true));
    let [orders, payments] = run(&faults).await;
    let count = |by_user: &BTreeMap<String, Vec<u32>>| by_user.values().map(Vec::len).sum::<usize>();
    let duplicates = count(&payments) - count(&orders);
    println!("{duplicates} duplicates");
    assert!(duplicates >= 100, "{duplicates} duplicates");
}
