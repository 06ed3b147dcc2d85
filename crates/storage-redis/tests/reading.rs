//! Reads of a log with many chunks and log epochs, compared with the store in memory: filters, both orders, small
//! pages, counts, marks of past epochs, before and after trims.
//!
//! Each chunk has few events. Plain commands move the head, as if more events had been stored and trimmed, and make
//! the server appear to be another one. EVENT_REPLAY_ROUNDS sets the number of logs, and EVENT_REPLAY_SEED sets the
//! first one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod harness;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use conformance::{Draft, Faults as _, ManualClock, Stores};
use domain::{
    Cursor, Entity, Event, Filter, TypePattern,
    ports::{
        AppendOutcome, Atomicity, EventStore, GroupHolds, Order, ReadRequest, RetentionMode, TrimRequest,
    },
    retention::RetentionRule,
};
use event_replay_storage_redis::RedisEngine;
use fastrand::Rng;
use harness::{Namespace, RedisHarness};
use jiff::Timestamp;
use storage_memory::MemoryEngine;
use store::Store;

/// The number of positions of one chunk.
const CHUNK: u64 = 1 << 17;
/// The first timestamp of events, in seconds, and the number of hours over which timestamps spread.
const BEGIN: i64 = 1_705_314_600;
const HOURS: i64 = 9;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The compared parts of a read event: its JSON and its stored time. Positions differ between the stores.
type Seen = (String, Timestamp);

/// The same place in both logs.
#[derive(Debug, Clone)]
struct Mark {
    redis: Cursor,
    memory: Cursor,
}

/// A log on Redis, and the same log in memory.
struct Logs {
    rng: Rng,
    namespace: Namespace,
    clock: ManualClock,
    redis: Store,
    memory: Store,
    stored: u64,
    /// Earlier heads of the log.
    marks: Vec<Mark>,
    epochs: u64,
}

impl Logs {
    async fn new(seed: u64) -> Self {
        let clock = ManualClock::default();
        let namespace = RedisHarness::new().await.namespace(clock.clone(), RetentionMode::History);
        let redis = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
        let memory = Store::new(MemoryEngine::new(Arc::new(clock.clone())));
        let rng = Rng::with_seed(seed);
        Self { rng, namespace, clock, redis, memory, stored: 0, marks: Vec::new(), epochs: 0 }
    }

    /// Returns a log of about this number of chunks.
    async fn of_chunks(seed: u64, chunks: usize) -> Self {
        let mut logs = Self::new(seed).await;
        // The first event is stored before any change of the server.
        logs.append(1).await;
        for _ in 0..chunks {
            match logs.rng.u32(..8) {
                0 => logs.another_server().await,
                1..6 => logs.move_head().await,
                _ => {}
            }
            for _ in 0..logs.rng.usize(1..=3) {
                let size = logs.rng.u64(1..=4);
                logs.append(size).await;
            }
            if logs.rng.u32(..4) == 0 {
                logs.note_mark().await;
            }
            if logs.rng.u32(..8) == 0 {
                logs.fold().await;
            }
            logs.clock.advance(Duration::from_millis(logs.rng.u64(..3_000)));
        }
        // A mark in the newest epoch.
        logs.note_mark().await;
        logs
    }

    async fn chunks(&self) -> usize {
        self.namespace.say::<usize>(&["ZCARD", &self.namespace.key("chunks")]).await
    }

    async fn meta(&self, field: &str) -> u64 {
        self.namespace.say(&["HGET", &self.namespace.key("meta"), field]).await
    }

    async fn set(&self, field: &str, value: &str) {
        let _: i64 = self.namespace.say(&["HSET", &self.namespace.key("meta"), field, value]).await;
    }

    /// Moves the head near the end of a later chunk. Some batches fit into the rest of the chunk, and some do not.
    async fn move_head(&mut self) {
        let next = self.meta("head").await / CHUNK + self.rng.u64(1..=3);
        let head = next * CHUNK + CHUNK - 1 - self.rng.u64(..6);
        self.set("head", &head.to_string()).await;
    }

    /// Makes the server appear to be another one for the next events.
    async fn another_server(&mut self) {
        self.set("run", "another").await;
        self.epochs += 1;
    }

    fn event(&mut self) -> Event {
        let (rng, n) = (&mut self.rng, self.stored);
        self.stored += 1;
        // A few types have most events. One type is so rare that a walk over its lists passes many chunks.
        let event_type = match rng.u32(..20) {
            0..8 => "user.registered".to_owned(),
            8..14 => "user.profile.updated".to_owned(),
            14..19 => format!("lab.{}", rng.u32(..6)),
            _ => "seldom".to_owned(),
        };
        let at = Timestamp::from_second(BEGIN + rng.i64(0..HOURS * 3600)).unwrap();
        let mut draft = Draft::new(&format!("e{n}"))
            .of_type(&event_type)
            .with("source", format!("s{}", rng.u32(..3)))
            .at(&at.to_string());
        if rng.bool() {
            // In the end most of these ids have a separate list, and some never do.
            draft = draft.with("correlationId", format!("c{}", rng.u32(..12).min(rng.u32(..40))));
        }
        if rng.u32(..4) > 0 {
            draft = draft.with("userId", format!("u{}", rng.u32(..5)));
        }
        if rng.u32(..3) == 0 {
            draft = draft.with("courseId", format!("k{}", rng.u32(..40)));
        }
        draft.event()
    }

    async fn append(&mut self, size: u64) {
        let batch: Vec<Event> = (0..size).map(|_| self.event()).collect();
        for store in [&self.redis as &dyn EventStore, &self.memory] {
            let outcomes = store.append(&batch, Atomicity::Each).await.unwrap();
            assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))));
        }
    }

    /// Folds the pending terms, so that some terms are in lists and runs and later ones are pending.
    async fn fold(&mut self) {
        RedisEngine::open(self.namespace.options()).await.unwrap().fold().await.unwrap();
    }

    async fn note_mark(&mut self) {
        let (redis, memory) = (self.redis.head().await.unwrap(), self.memory.head().await.unwrap());
        self.marks.push(Mark { redis, memory });
    }

    fn a_mark(&mut self) -> Option<Mark> {
        let at = self.rng.usize(..self.marks.len());
        self.rng.bool().then(|| self.marks[at].clone())
    }

    fn some(&mut self, what: &str, of: u32) -> BTreeSet<String> {
        (0..self.rng.usize(1..=3)).map(|_| format!("{what}{}", self.rng.u32(..of))).collect()
    }

    fn instant(&mut self) -> Timestamp {
        // Sometimes on the full hour, and sometimes near it.
        let hour = BEGIN - BEGIN % 3600 + 3600 * self.rng.i64(-1..=HOURS);
        let second = match self.rng.u32(..4) {
            0 => 0,
            1 => -1,
            _ => self.rng.i64(0..3600),
        };
        Timestamp::from_second(hour + second).unwrap()
    }

    fn filter(&mut self) -> Filter {
        let mut filter = Filter::default();
        for _ in 0..self.rng.usize(..=3) {
            match self.rng.u32(..9) {
                0 => filter.types = vec![TypePattern::new("seldom")],
                1 => {
                    let patterns = ["user.*", "user.registered", "lab.1", "lab.*", "none", "*d*"];
                    let some = (0..self.rng.usize(1..=2)).map(|_| patterns[self.rng.usize(..6)]);
                    filter.types = some.map(TypePattern::new).collect();
                }
                2 => filter.sources = self.some("s", 4),
                3 => filter.correlation_ids = self.some("c", 20),
                4 => filter.add_entity(Entity::new("user", format!("u{}", self.rng.u32(..6)))),
                5 => filter.add_entity(Entity::new("course", format!("k{}", self.rng.u32(..40)))),
                // Every draft of the suite names this entity.
                6 => filter.add_entity(Entity::new("home", "h4")),
                7 => filter.from = Some(self.instant()),
                _ => filter.to = Some(self.instant()),
            }
        }
        if self.rng.u32(..20) == 0 {
            let most = self.stored as u32 + 5;
            filter.event_ids = (0..30).map(|_| format!("e{}", self.rng.u32(..most))).collect();
        }
        filter
    }

    /// Fails if the stores give different results.
    async fn compare(&mut self, filters: usize) {
        let differences = self.differences(filters).await;
        assert!(differences.is_empty(), "{} of them, such as {}", differences.len(), differences[0]);
    }

    /// Reads and counts by filters, from marks and up to marks, and returns the differences between the stores.
    async fn differences(&mut self, filters: usize) -> Vec<String> {
        let mut differences = Vec::new();
        for at in 0..filters {
            let filter = if at == 0 { Filter::default() } else { self.filter() };
            let filter = Arc::new(filter);
            let (after, until) = (self.a_mark(), self.a_mark());
            let limit = self.rng.usize(1..=7);
            for order in [Order::OldestFirst, Order::NewestFirst] {
                let request = |after: Option<Cursor>, until: Option<Cursor>| ReadRequest {
                    filter: filter.clone(),
                    order,
                    after,
                    until,
                    limit,
                };
                let of = |mark: &Option<Mark>, side: fn(&Mark) -> &Cursor| mark.as_ref().map(side).cloned();
                let on_redis = request(of(&after, |mark| &mark.redis), of(&until, |mark| &mark.redis));
                let in_memory = request(of(&after, |mark| &mark.memory), of(&until, |mark| &mark.memory));
                let found = read(&self.redis, on_redis.clone()).await;
                let wanted = read(&self.memory, in_memory).await;
                if found != wanted {
                    differences.push(format!("{found:?}, not {wanted:?}, by {on_redis:?}"));
                }
            }
            let count_redis = self.redis.count(&filter, until.as_ref().map(|mark| &mark.redis)).await;
            let count_memory = self.memory.count(&filter, until.as_ref().map(|mark| &mark.memory)).await;
            let (found, wanted) = (count_redis.unwrap(), count_memory.unwrap());
            if found != wanted {
                differences.push(format!("{found}, not {wanted}, by {filter:?} until {until:?}"));
            }
        }
        differences
    }

    /// Trims both stores by one rule, in pages of different sizes.
    async fn trim(&mut self) {
        let left = self.memory.info().await.unwrap().events;
        let max_events = Some(self.rng.u64(..=left));
        let types = match self.rng.u32(..3) {
            0 => vec![TypePattern::new("user.*")],
            _ => Vec::new(),
        };
        let rule = RetentionRule { types, max_events, ..RetentionRule::default() };
        let mut gone = Vec::new();
        for store in [&self.redis as &dyn EventStore, &self.memory] {
            let limit = self.rng.usize(1..=200);
            let request = TrimRequest {
                rule: rule.clone(),
                holds: Vec::new(),
                limit,
                dry_run: false,
                groups: GroupHolds::default(),
            };
            let mut events = 0;
            loop {
                let trimmed = store.trim(&request).await.unwrap();
                events += trimmed.events;
                if !trimmed.more {
                    break;
                }
            }
            gone.push(events);
        }
        assert_eq!(gone[0], gone[1], "{rule:?} of {left} events");
    }

    async fn is_sound(&self) {
        let report = self.redis.verify(None).await.unwrap();
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
    }
}

/// Returns all pages of a read. Each page must continue the walk, and none may exceed the limit.
async fn read(store: &dyn Stores, mut request: ReadRequest) -> Vec<Seen> {
    let mut seen = Vec::new();
    let mut last = None;
    loop {
        let page = store.read(&request).await.unwrap();
        assert!(page.events.len() <= request.limit && page.corrupt.is_empty(), "{page:?}");
        for stored in page.events {
            let at = stored.position.sequence;
            let goes_on = last.is_none_or(|last| (at > last) == (request.order == Order::OldestFirst));
            assert!(goes_on && last != Some(at), "{at} came after {last:?}");
            last = Some(at);
            seen.push((stored.event.json().to_owned(), stored.stored_at));
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return seen,
        }
    }
}

async fn a_log_reads_as_in_memory(seed: u64, chunks: usize, filters: usize) {
    println!("EVENT_REPLAY_SEED={seed} EVENT_REPLAY_ROUNDS=1: {chunks} chunks");
    let mut logs = Logs::of_chunks(seed, chunks).await;
    let epoch = logs.redis.head().await.unwrap().epoch;
    println!("{} events in {} chunks, log epoch {epoch}", logs.stored, logs.chunks().await);
    assert_eq!(epoch, logs.epochs + 1);
    assert!(logs.chunks().await * 2 > chunks, "the head was not moved");
    logs.is_sound().await;
    logs.compare(filters).await;
    for _ in 0..2 {
        logs.trim().await;
        logs.is_sound().await;
        logs.compare(filters / 2).await;
        for _ in 0..5 {
            logs.move_head().await;
            logs.append(3).await;
        }
        logs.note_mark().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_many_chunks_and_epochs_reads_as_in_memory() {
    let first = number("EVENT_REPLAY_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40));
    for round in 0..number("EVENT_REPLAY_ROUNDS").unwrap_or(3).min(60) {
        a_log_reads_as_in_memory(first + round, 40, 40).await;
    }
}

/// The comparison detects a list of a chunk that lost one position, and lists of terms that lost most of their
/// positions.
#[tokio::test(flavor = "multi_thread")]
async fn the_comparison_sees_what_lists_have_lost() {
    let mut logs = Logs::of_chunks(11, 40).await;
    logs.compare(60).await;
    let request = ReadRequest {
        filter: Arc::new(Filter { types: vec![TypePattern::new("user.*")], ..Filter::default() }),
        ..ReadRequest::new(Filter::default(), 1)
    };
    let at = logs.redis.read(&request).await.unwrap().events.remove(0).position;
    logs.namespace.drop_index_entry(at).await;
    let differences = logs.differences(60).await;
    println!("{} differences, such as {:.200}", differences.len(), differences[0]);
    // Reduce the lists of terms to their first positions.
    logs.fold().await;
    let lists: Vec<String> = logs.namespace.say(&["KEYS", &logs.namespace.key("ix:*:e:*")]).await;
    let mut logs = Logs { rng: Rng::with_seed(12), ..logs };
    let before = logs.differences(120).await.len();
    for list in lists {
        let _: String = logs.namespace.say(&["LTRIM", &list, "0", "0"]).await;
    }
    let mut logs = Logs { rng: Rng::with_seed(12), ..logs };
    assert!(logs.differences(120).await.len() > before);
}

/// More chunks than one page reads. Pages end without results, and the next pages continue there.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_more_chunks_than_a_page_looks_at_reads_as_in_memory() {
    let first = number("EVENT_REPLAY_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40));
    for round in 0..number("EVENT_REPLAY_ROUNDS").unwrap_or(1).min(5) {
        a_log_reads_as_in_memory(first + round, 420, 12).await;
    }
}

/// Events at both ends of a long log are found from either end. Empty pages always lead to a page with results.
#[tokio::test(flavor = "multi_thread")]
async fn what_lies_at_the_ends_of_many_chunks_is_found_from_either_end() {
    let mut logs = Logs::new(7).await;
    let ends = ["first", "last"].map(|id| Draft::new(id).of_type("rare").event());
    logs.redis.append(&ends[..1], Atomicity::Each).await.unwrap();
    for n in 0..300 {
        logs.move_head().await;
        let events = [0, 1].map(|m| Draft::new(&format!("{n}-{m}")).of_type("common").event());
        logs.redis.append(&events, Atomicity::Each).await.unwrap();
        if n % 50 == 0 {
            logs.set("run", "another").await;
        }
    }
    logs.redis.append(&ends[1..], Atomicity::Each).await.unwrap();
    assert!(logs.chunks().await >= 300);
    let filter: Arc<Filter> = Arc::new(Filter { types: vec![TypePattern::new("rare")], ..Filter::default() });
    for (order, wanted) in [(Order::OldestFirst, [0, 1]), (Order::NewestFirst, [1, 0])] {
        let mut request = ReadRequest { order, ..ReadRequest::new(filter.clone(), 1) };
        let (mut found, mut empty) = (Vec::new(), 0);
        loop {
            let page = logs.redis.read(&request).await.unwrap();
            empty += usize::from(page.events.is_empty());
            found.extend(page.events.into_iter().map(|stored| stored.event.json().to_owned()));
            match page.next {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
        assert_eq!(found, wanted.map(|at| ends[at].json()), "{order:?}");
        assert!(
            empty > 0,
            "{order:?}: one page went through all chunks, so nothing went on where it stopped"
        );
    }
    assert_eq!(logs.redis.count(&filter, None).await.unwrap(), 2);
}
