//! Shared parts of the consumer tests: a clock that follows tokio's clock, events, and a service that records its
//! deliveries.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a panic is a test's way to fail"
)]

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Delivery, HandlerError,
    ports::{Clock, EventHandler, Stores},
};
use event_replay_bus::Bus;
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// A clock that follows tokio's clock, paused or not.
#[derive(Debug, Clone, Copy)]
pub struct TokioClock {
    begun: Instant,
    base: Timestamp,
}

impl TokioClock {
    pub fn start() -> Self {
        Self { begun: Instant::now(), base: "2026-01-01T00:00:00Z".parse().unwrap() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.base + SignedDuration::try_from(self.begun.elapsed()).unwrap()
    }
}

/// An event of a user.
pub fn event(id: &str, user: &str) -> Vec<u8> {
    typed(id, user, "user.registered")
}

/// An event of a type and a user.
pub fn typed(id: &str, user: &str, event_type: &str) -> Vec<u8> {
    format!(
        r#"{{"id":"{id}","type":"{event_type}","version":"1.0","timestamp":"2026-01-01T00:00:00Z","source":"test","metadata":{{}},"userId":"{user}"}}"#
    )
    .into_bytes()
}

/// The behaviour of a handler for one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    /// Handles the event immediately.
    Works,
    /// Handles the event after a time.
    Takes(Duration),
    /// Fails the given number of times, then handles the event.
    FailsTimes(u32),
    /// Always fails.
    Fails,
    /// Fails immediately and permanently.
    Refuses,
    /// Panics at each attempt.
    Panics,
    /// Ends its process at each attempt.
    Aborts,
}

#[derive(Debug, Default)]
struct Notes {
    /// The ids of each key, in the order of the log.
    published: BTreeMap<String, Vec<String>>,
    behaviours: HashMap<String, Behaviour>,
    /// The number of deliveries of each event.
    tries: HashMap<String, u32>,
    handled: HashMap<String, u32>,
    /// Events that were handled, or that will not be delivered again.
    over: HashSet<String>,
    /// The event of each key that is with a handler, and its process.
    running: HashMap<String, (String, u32)>,
    violations: Vec<String>,
    /// Processes that are stopped.
    frozen: HashSet<u32>,
    /// The number of stops of each process.
    freezes: HashMap<u32, u32>,
    order: Vec<String>,
}

/// A service with handlers that record their deliveries and check the order.
#[derive(Debug, Clone, Default)]
pub struct Service {
    notes: Arc<Mutex<Notes>>,
}

impl Service {
    pub fn publishes(&self, id: &str, key: &str, behaviour: Behaviour) {
        let mut notes = self.notes.lock().unwrap();
        notes.published.entry(key.to_owned()).or_default().push(id.to_owned());
        notes.behaviours.insert(id.to_owned(), behaviour);
    }

    /// Returns the handler of one process. It sends to `abort` when an event ends the process.
    pub fn process(
        &self,
        number: u32,
        max_attempts: u32,
        abort: tokio::sync::mpsc::UnboundedSender<u32>,
    ) -> Arc<dyn EventHandler> {
        Arc::new(Process { service: self.clone(), number, max_attempts, abort })
    }

    /// Stops a process. Its running handlers answer after it continues, if their answers still count then.
    pub fn freeze(&self, number: u32) {
        self.ended(number);
        let mut notes = self.notes.lock().unwrap();
        notes.frozen.insert(number);
        *notes.freezes.entry(number).or_default() += 1;
    }

    pub fn thaw(&self, number: u32) {
        self.notes.lock().unwrap().frozen.remove(&number);
    }

    pub fn is_frozen(&self, number: u32) -> bool {
        self.notes.lock().unwrap().frozen.contains(&number)
    }

    /// Waits while a process is stopped.
    pub async fn while_frozen(&self, number: u32) {
        while self.is_frozen(number) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn freezes(&self, number: u32) -> u32 {
        self.notes.lock().unwrap().freezes.get(&number).copied().unwrap_or(0)
    }

    /// Waits while a process is stopped, and then until the process knows its lost segments. For a short time it does
    /// not know that other processes work on its segments. Deliveries that it starts in this time are no violation. If
    /// the process stops again in this time, it may lose more segments, and the time starts again.
    async fn while_unaware(&self, number: u32) {
        let mut known = self.freezes(number) - u32::from(self.is_frozen(number));
        while known != self.freezes(number) {
            known = self.freezes(number);
            self.while_frozen(number).await;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }

    /// Records the end of a process, so that none of its handlers runs any more.
    pub fn ended(&self, number: u32) {
        self.notes.lock().unwrap().running.retain(|_, (_, process)| *process != number);
    }

    pub fn handled(&self, id: &str) -> u32 {
        self.notes.lock().unwrap().handled.get(id).copied().unwrap_or(0)
    }

    pub fn tries(&self, id: &str) -> u32 {
        self.notes.lock().unwrap().tries.get(id).copied().unwrap_or(0)
    }

    /// Returns the ids in the order in which they were handled.
    pub fn order(&self) -> Vec<String> {
        self.notes.lock().unwrap().order.clone()
    }

    pub fn violations(&self) -> Vec<String> {
        self.notes.lock().unwrap().violations.clone()
    }

    /// Returns the number of handled deliveries beyond the first of each event.
    pub fn repeats(&self) -> u32 {
        self.notes.lock().unwrap().handled.values().map(|times| times - 1).sum()
    }

    /// Records the start of a replay of these events. Within the replay their keys also keep their order.
    pub fn replays(&self, replay_id: &str, events: &[domain::StoredEvent]) {
        let mut notes = self.notes.lock().unwrap();
        for stored in events {
            let (id, key) = (stored.event.id(), stored.event.ordering_key().id);
            let name = format!("{replay_id}/{id}");
            notes.published.entry(format!("{replay_id}/{key}")).or_default().push(name.clone());
            let behaviour = notes.behaviours[id];
            notes.behaviours.insert(name, behaviour);
        }
    }

    fn begin(&self, delivery: &Delivery, process: u32) -> Behaviour {
        let (id, key) = names(delivery);
        let mut notes = self.notes.lock().unwrap();
        *notes.tries.entry(id.clone()).or_default() += 1;
        let earlier: Vec<String> =
            notes.published[&key].iter().take_while(|other| **other != id).cloned().collect();
        let open: Vec<String> = earlier.into_iter().filter(|other| !notes.over.contains(other)).collect();
        for other in open {
            notes.violations.push(format!("{id} came before {other} was over"));
        }
        if let Some((other, _)) = notes.running.insert(key, (id.clone(), process)) {
            notes.violations.push(format!("{id} came while {other} was with a handler"));
        }
        notes.behaviours[&id]
    }

    fn end(&self, delivery: &Delivery, process: u32, worked: bool, gave_up: bool) {
        let (id, key) = names(delivery);
        let mut notes = self.notes.lock().unwrap();
        if notes.running.get(&key).is_some_and(|running| *running == (id.clone(), process)) {
            notes.running.remove(&key);
        }
        if worked {
            *notes.handled.entry(id.clone()).or_default() += 1;
            notes.order.push(id.clone());
        }
        if worked || gave_up {
            notes.over.insert(id);
        }
    }

    /// Records that the group gives up on an event. An event that ends processes needs this, because no handler sees
    /// it.
    pub fn is_over(&self, id: &str) {
        self.notes.lock().unwrap().over.insert(id.to_owned());
    }
}

/// Returns the names of a delivery and its key, with the id of the replay if there is one.
fn names(delivery: &Delivery) -> (String, String) {
    let event = &delivery.stored.event;
    let (id, key) = (event.id(), event.ordering_key().id);
    match delivery.replay() {
        Some(replay) => (format!("{}/{id}", replay.replay_id), format!("{}/{key}", replay.replay_id)),
        None => (id.to_owned(), key.to_owned()),
    }
}

struct Process {
    service: Service,
    number: u32,
    max_attempts: u32,
    abort: tokio::sync::mpsc::UnboundedSender<u32>,
}

/// Records the end of a handler call, even if the call is dropped at its time limit.
struct Ending<'a>(&'a Process, &'a Delivery, bool, bool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.service.end(self.1, self.0.number, self.2, self.3);
    }
}

#[async_trait]
impl EventHandler for Process {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        self.service.while_unaware(self.number).await;
        let behaviour = self.service.begin(delivery, self.number);
        let mut ending = Ending(self, delivery, false, delivery.is_last_attempt);
        if behaviour == Behaviour::Aborts {
            ending.3 = false;
            // The group gives up on the event without another delivery, and no handler sees that. A process that is
            // killed before the delivery also uses up an attempt.
            if self.service.tries(&names(delivery).0) >= self.max_attempts / 2 {
                self.service.is_over(&names(delivery).0);
            }
            self.abort.send(self.number).unwrap();
            std::future::pending::<()>().await;
        }
        match behaviour {
            Behaviour::Works | Behaviour::Aborts => {}
            Behaviour::Takes(time) => tokio::time::sleep(time).await,
            Behaviour::FailsTimes(times) => {
                if self.service.tries(&names(delivery).0) <= times {
                    self.service.while_frozen(self.number).await;
                    return Err(HandlerError::retry("not yet"));
                }
            }
            Behaviour::Fails => return Err(HandlerError::retry("never")),
            Behaviour::Refuses => {
                ending.3 = true;
                return Err(HandlerError::give_up("for no money"));
            }
            // A panic like any other, but without output on stderr.
            Behaviour::Panics => std::panic::resume_unwind(Box::new("on purpose")),
        }
        self.service.while_frozen(self.number).await;
        ending.2 = true;
        Ok(())
    }
}

/// A bus without validation.
pub async fn bus_over(store: Arc<dyn Stores>, clock: TokioClock) -> Bus {
    Bus::builder(store).clock(Arc::new(clock)).enable_validation(false).build().await.unwrap()
}

/// Waits until a condition holds, for a long time of tokio's clock.
pub async fn eventually<F: AsyncFnMut() -> bool>(what: &str, mut holds: F) {
    for _ in 0..200_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came true: {what}");
}

/// Returns whether a group has settled all events: no blocked keys, cursors at the head, and empty lanes.
pub async fn is_idle(store: &dyn Stores, group: &str) -> bool {
    let head = store.head().await.unwrap();
    let status = store.group(group).await.unwrap().unwrap();
    status
        .segments
        .iter()
        .all(|s| s.cursor == head.sequence(s.partition) && s.blocked_keys == s.parked_keys && s.lane == 0)
}
