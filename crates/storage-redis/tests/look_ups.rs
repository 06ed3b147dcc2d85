//! Look-ups of events by correlation id while the log grows. Between calls, a server caches the terms that it has
//! read. It must never answer from another history of the same namespace.
//!
//! EVENT_REPLAY_ROUNDS sets the number of histories, and EVENT_REPLAY_SEED sets the first one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod harness;

use std::collections::{BTreeMap, BTreeSet};

use conformance::{Draft, ManualClock};
use domain::{
    Entity, Event, Filter,
    ports::{AppendOutcome, Atomicity, EventStore, ReadRequest, RetentionMode},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use fastrand::Rng;
use harness::{Namespace, RedisHarness};
use servers::{Binary, Config, Server};
use store::Store;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Ids of events by correlation id.
type Expected = BTreeMap<String, BTreeSet<String>>;

/// A namespace with the server's clock, and its expected content.
struct History {
    rng: Rng,
    namespace: Namespace,
    store: Store,
    expected: Expected,
    /// Ids of events by user.
    of_users: Expected,
    events: u64,
}

/// All keys with their values, and the expected content of the namespace.
type Copy = (Vec<(String, Vec<u8>)>, Expected, Expected, u64);

fn options(namespace: &Namespace) -> RedisOptions {
    RedisOptions { clock: None, ..namespace.options() }
}

impl History {
    async fn new(seed: u64) -> Self {
        let namespace = RedisHarness::new().await.namespace(ManualClock::default(), RetentionMode::History);
        let store = Store::new(RedisEngine::create(options(&namespace)).await.unwrap());
        let (expected, of_users) = Default::default();
        Self { rng: Rng::with_seed(seed), namespace, store, expected, of_users, events: 0 }
    }

    async fn append(&mut self, size: usize) {
        let mut batch: Vec<Event> = Vec::with_capacity(size);
        for _ in 0..size {
            // All ids have one length. So two histories behind the same place differ only in their bytes.
            let (id, of) = (format!("e{:06}", self.events), format!("c{:02}", self.rng.u32(..30)));
            self.events += 1;
            let user = format!("u{:02}", self.rng.u32(..60));
            batch.push(
                Draft::new(&id).with("correlationId", of.as_str()).with("userId", user.as_str()).event(),
            );
            self.expected.entry(of).or_default().insert(id.clone());
            self.of_users.entry(user).or_default().insert(id);
        }
        let outcomes = self.store.append(&batch, Atomicity::Each).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))));
    }

    /// Looks up some correlation ids, in pages so small that the function finds the events.
    async fn look_up(&mut self, count: usize) {
        for _ in 0..count {
            let of = format!("c{:02}", self.rng.u32(..32));
            let mut request = ReadRequest::new(Filter::correlation(of.as_str()), 90);
            let mut found = BTreeSet::new();
            loop {
                let page = self.store.read(&request).await.unwrap();
                found.extend(page.events.iter().map(|stored| stored.event.id().to_owned()));
                match page.next {
                    Some(next) => request.after = Some(next),
                    None => break,
                }
            }
            assert_eq!(found, self.expected.get(&of).cloned().unwrap_or_default(), "events of {of}");
        }
    }

    async fn fold(&self) {
        RedisEngine::open(options(&self.namespace)).await.unwrap().fold().await.unwrap();
    }

    /// Erases the events of a user.
    async fn erase(&mut self) {
        let user = format!("u{:02}", self.rng.u32(..60));
        self.store.erase(&Entity::new("user", &user)).await.unwrap();
        for id in self.of_users.remove(&user).unwrap_or_default() {
            self.expected.values_mut().for_each(|ids| ids.retain(|own| *own != id));
        }
    }

    async fn keys(&self) -> Vec<String> {
        self.namespace.say(&["KEYS", &self.namespace.key("*")]).await
    }

    /// Returns all keys, like a backup.
    async fn copy(&self) -> Copy {
        let mut copied = Vec::new();
        for key in self.keys().await {
            copied.push((key.clone(), self.namespace.say::<Vec<u8>>(&["DUMP", &key]).await));
        }
        (copied, self.expected.clone(), self.of_users.clone(), self.events)
    }

    /// Replaces all keys by a copy, while the server runs.
    async fn restore(&mut self, (copied, expected, of_users, events): &Copy) {
        for key in self.keys().await {
            let _: i64 = self.namespace.say(&["DEL", &key]).await;
        }
        for (key, value) in copied {
            let _: String = self.namespace.command(&[b"RESTORE", key.as_bytes(), b"0", value]).await;
        }
        (self.expected, self.of_users, self.events) = (expected.clone(), of_users.clone(), *events);
        self.store = Store::new(RedisEngine::open(options(&self.namespace)).await.unwrap());
    }
}

/// Appends, folds, erasures and restores of copies while the server runs, with look-ups in between, in random order.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_finds_the_present_content_of_the_log() {
    let first = number("EVENT_REPLAY_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40));
    for round in 0..number("EVENT_REPLAY_ROUNDS").unwrap_or(2) {
        println!("EVENT_REPLAY_SEED={} EVENT_REPLAY_ROUNDS=1", first + round);
        let mut history = History::new(first + round).await;
        let mut copy = history.copy().await;
        for _ in 0..100 {
            match history.rng.u32(..20) {
                0 => history.fold().await,
                1 => history.erase().await,
                2 => copy = history.copy().await,
                3 => history.restore(&copy).await,
                4 => history.append(200).await,
                5..8 => history.append(1).await,
                _ => {
                    let size = history.rng.usize(1..=12);
                    history.append(size).await;
                }
            }
            let count = history.rng.usize(..4);
            history.look_up(count).await;
        }
        history.look_up(40).await;
        let report = history.store.verify(None).await.unwrap();
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
    }
}

/// Two histories continue from the same copy and append equally many events of equal length. Neither has events of the
/// other.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_put_back_has_nothing_of_what_was_appended_since() {
    for is_folded in [false, true] {
        let mut history = History::new(5).await;
        history.append(20).await;
        history.look_up(5).await;
        let copy = history.copy().await;
        for round in 0..4 {
            history.restore(&copy).await;
            for _ in 0..6 {
                history.append(10).await;
                // In odd rounds, look-ups start only when the log is as long as the one before it.
                if round % 2 == 0 {
                    history.look_up(6).await;
                }
            }
            if is_folded {
                history.fold().await;
            }
            history.look_up(30).await;
        }
    }
}

/// Returns how many times a server ran a command.
async fn calls(namespace: &Namespace, command: &str) -> u64 {
    let said: String = namespace.say(&["INFO", "commandstats"]).await;
    let line = said.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
}

/// A look-up reads the pending terms once, and then only newer ones. It reads the list of runs each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_reads_only_what_came_since_the_last_one() {
    let server = Server::start(&Binary::default(), &Config::default()).await.unwrap();
    let harness = RedisHarness::over(server.url(), std::slice::from_ref(&server));
    let namespace = harness.namespace(ManualClock::default(), RetentionMode::History);
    let store = Store::new(RedisEngine::create(options(&namespace)).await.unwrap());
    let event = |n: u32| Draft::new(&format!("e{n}")).with("correlationId", "c").event();
    let look_up = async || {
        let before = (calls(&namespace, "get").await, calls(&namespace, "getrange").await);
        let page = store.read(&ReadRequest::new(Filter::correlation("c"), 10)).await.unwrap();
        let after = (calls(&namespace, "get").await, calls(&namespace, "getrange").await);
        (page.events.len(), after.0 - before.0, after.1 - before.1)
    };
    store.append(&[event(1)], Atomicity::Each).await.unwrap();
    assert_eq!(look_up().await, (1, 2, 0), "what waits, and the list of runs");
    assert_eq!(look_up().await, (1, 1, 0), "nothing came");
    store.append(&[event(2)], Atomicity::Each).await.unwrap();
    assert_eq!(look_up().await, (2, 1, 1), "one event came");
    assert_eq!(look_up().await, (2, 1, 0), "nothing came");
}
