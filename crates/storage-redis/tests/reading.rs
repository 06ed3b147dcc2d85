//! Reading and counting where lists are long, chunks are many and log epochs leave gaps: held against a filter's definition.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;

use std::{collections::BTreeSet, sync::Arc};

use conformance::{Draft, ManualClock, Storage, Stores, walk};
use domain::{
    Condition, Cursor, Entity, Event, Filter, Position, TypePattern,
    ports::{Atomicity, Keeps, Order, ReadRequest},
};
use fastrand::Rng;
use harness::{Namespace, RedisHarness};

const CHUNK: u64 = 1 << 17;

/// An event of few types and sources, some users that have many events, and workflows that have few.
fn event(random: &mut Rng, n: usize) -> Event {
    let weight = random.u32(0..100);
    let event_type = match weight {
        0..50 => "user.profile.updated".to_owned(),
        50..80 => "lab.created".to_owned(),
        80..98 => format!("user.seen.{}", random.u32(0..6)),
        _ => "rare".to_owned(),
    };
    // A day in order, but for some that come late.
    let minute = if random.u32(0..20) == 0 { random.usize(0..1_440) } else { n / 6 % 1_440 };
    let mut draft = Draft::new(&format!("e{n}"))
        .of_type(&event_type)
        .with("source", format!("s{}", random.u32(0..3)))
        .with("data", serde_json::json!({ "n": n }))
        .at(&format!("2024-01-15T{:02}:{:02}:00Z", minute / 60, minute % 60));
    if random.bool() {
        draft = draft.with("userId", format!("u{}", random.u32(0..4)));
    }
    if random.u32(0..4) == 0 {
        draft = draft.with("correlationId", format!("c{}", n / 30));
    }
    if random.u32(0..3) == 0 {
        draft = draft.with("labId", format!("l{}", random.u32(0..900)));
    }
    draft.event()
}

/// A log with what each of its events is, in order.
struct Log {
    storage: Namespace,
    store: Arc<dyn Stores>,
    events: Vec<(Position, Event)>,
    /// Heads as they were after a batch.
    marks: Vec<Cursor>,
}

impl Log {
    async fn new(keeps: Keeps) -> Self {
        let storage = RedisHarness::new().await.namespace(ManualClock::default(), keeps);
        let store = storage.open().await;
        let marks = vec![store.head().await.unwrap()];
        Self { storage, store, events: Vec::new(), marks }
    }

    async fn append(&mut self, batch: Vec<Event>) {
        let outcomes = self.store.append(&batch, Atomicity::Each).await.unwrap();
        for (outcome, event) in outcomes.into_iter().zip(batch) {
            let domain::ports::AppendOutcome::Stored(position) = outcome else { panic!("{outcome:?}") };
            self.events.push((position, event));
        }
        self.marks.push(self.store.head().await.unwrap());
    }

    /// Lets the log go on elsewhere, as it does in a new log epoch.
    async fn jump(&self, head: u64) {
        let (key, head) = (self.storage.key("meta"), head.to_string());
        let () = self.storage.say(&["HSET", &key, "head", &head]).await;
    }

    fn expected(&self, filter: &Filter, until: Option<&Cursor>) -> Vec<Position> {
        let covered = |position| until.is_none_or(|until| until.covers(position));
        let matching =
            self.events.iter().filter(|(position, event)| covered(*position) && filter.matches(event));
        matching.map(|(position, _)| *position).collect()
    }

    async fn check(&self, filter: &Filter, limit: usize, until: Option<&Cursor>) {
        let mut expected = self.expected(filter, until);
        let filter = Arc::new(filter.clone());
        let what = format!("{filter:?} up to {until:?} in pages of {limit}");
        assert_eq!(self.store.count(&filter, until).await.unwrap(), expected.len() as u64, "count {what}");
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let read = walk(&*self.store, &filter, order, limit, until.cloned()).await;
            let read: Vec<Position> = read.iter().map(|stored| stored.position).collect();
            assert_eq!(read.len(), expected.len(), "{order:?} {what}");
            assert!(read == expected, "{order:?} {what}");
            expected.reverse();
        }
    }
}

fn filter(random: &mut Rng, events: usize) -> Filter {
    let mut filter = Filter::default();
    for _ in 0..random.usize(1..=3) {
        match random.u32(0..10) {
            0..3 => {
                let types = ["rare", "lab.created", "user.*", "user.seen.3", "*", "absent", "user.seen.*"];
                filter.types.extend(
                    random
                        .choose_multiple(types, 2)
                        .into_iter()
                        .take(random.usize(1..3))
                        .map(TypePattern::new),
                );
            }
            3 => filter.sources = BTreeSet::from([format!("s{}", random.u32(0..4))]),
            4 => filter.add_entity(Entity::new("user", format!("u{}", random.u32(0..5)))),
            5 => filter.add_entity(Entity::new("lab", format!("l{}", random.u32(0..900)))),
            6 => {
                filter.correlation_ids =
                    (0..3).map(|_| format!("c{}", random.usize(0..events / 30 + 1))).collect()
            }
            7 => filter.event_ids = (0..20).map(|_| format!("e{}", random.usize(0..events + 5))).collect(),
            8 => filter.condition = Some(Arc::new(Late(random.usize(0..events)))),
            _ => {
                let (one, other) = (random.u32(0..1_440), random.u32(0..1_440));
                let time = |minute: u32| {
                    Some(format!("2024-01-15T{:02}:{:02}:00Z", minute / 60, minute % 60).parse().unwrap())
                };
                if random.bool() {
                    filter.from = time(one.min(other));
                }
                filter.to = time(one.max(other));
            }
        }
    }
    filter
}

/// `data.n` is at least this.
#[derive(Debug)]
struct Late(usize);

impl Condition for Late {
    fn text(&self) -> &'static str {
        "data.n is at least something"
    }

    fn holds(&self, event: &Event) -> bool {
        let value: serde_json::Value = serde_json::from_str(event.json()).unwrap();
        value["data"]["n"].as_u64().is_some_and(|n| n >= self.0 as u64)
    }
}

fn seed() -> u64 {
    let seed = std::env::var("EVENT_REPLAY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("EVENT_REPLAY_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_give_what_a_filter_means() {
    let random = &mut Rng::with_seed(seed());
    let mut log = Log::new(Keeps::History).await;
    let total = 7_000;
    for from in (0..total).step_by(200) {
        log.append((from..from + 200).map(|n| event(random, n)).collect()).await;
    }
    for turn in 0..60 {
        let filter = filter(random, total);
        let mark = (turn % 2 == 1).then(|| log.marks[random.usize(..log.marks.len())].clone());
        let limit = [90, 1_000, usize::MAX][turn % 3];
        log.check(&filter, limit, mark.as_ref()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_chunks_and_log_epochs_give_what_a_filter_means() {
    let random = &mut Rng::with_seed(seed());
    let mut log = Log::new(Keeps::History).await;
    let mut total = 0;
    for _ in 0..40 {
        let batch = random.usize(1..25);
        log.append((total..total + batch).map(|n| event(random, n)).collect()).await;
        total += batch;
        let head = log.marks.last().unwrap().sequence(0);
        match random.u32(0..4) {
            // The next batch does not fit into the chunk, or just so.
            0 => log.jump((head / CHUNK + 1) * CHUNK - 1 - random.u64(0..12)).await,
            1 => log.jump(((head >> 32) + 1) << 32).await,
            _ => {}
        }
    }
    for turn in 0..60 {
        let filter = if turn == 0 { Filter::default() } else { filter(random, total) };
        let mark = (turn % 2 == 1).then(|| log.marks[random.usize(..log.marks.len())].clone());
        let limit = [1, 7, 50, 1_000][turn % 4];
        log.check(&filter, limit, mark.as_ref()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_without_lists_gives_what_a_filter_means() {
    let random = &mut Rng::with_seed(seed());
    let mut log = Log::new(Keeps::Deliveries).await;
    log.append((0..150).map(|n| event(random, n)).collect()).await;
    log.jump(3 * CHUNK - 20).await;
    log.append((150..300).map(|n| event(random, n)).collect()).await;
    for turn in 0..30 {
        let filter = filter(random, 300);
        let mark = (turn % 2 == 1).then(|| log.marks[turn % 3].clone());
        log.check(&filter, [7, 1_000][turn % 2], mark.as_ref()).await;
    }
}

/// A reader that follows a type page by page, while others append and the head of the log goes, sees every event that
/// stays, once and in order.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_by_type_misses_nothing_while_the_log_moves() {
    let random = &mut Rng::with_seed(seed());
    let mut log = Log::new(Keeps::History).await;
    let mut total = 0;
    for _ in 0..15 {
        log.append((total..total + 200).map(|n| event(random, n)).collect()).await;
        total += 200;
    }
    let filter = Filter { types: vec![TypePattern::new("user.seen.*")], ..Filter::default() };
    for order in [Order::OldestFirst, Order::NewestFirst] {
        let until = log.marks.last().unwrap().clone();
        let (mut seen, mut gone) = (Vec::new(), 0);
        let mut request =
            ReadRequest { order, until: Some(until.clone()), ..ReadRequest::new(filter.clone(), 23) };
        loop {
            let page = log.store.read(&request).await.unwrap();
            seen.extend(page.events.iter().map(|stored| stored.position));
            let Some(next) = page.next else { break };
            request.after = Some(next);
            log.append((total..total + 20).map(|n| event(random, n)).collect()).await;
            total += 20;
            let rule = domain::retention::RetentionRule {
                max_events: Some(log.store.info().await.unwrap().events - 30),
                ..Default::default()
            };
            let request = domain::ports::TrimRequest {
                rule,
                holds: Vec::new(),
                limit: 100,
                dry_run: false,
                groups: domain::ports::GroupHolds::default(),
            };
            log.store.trim(&request).await.unwrap();
            gone = log.store.info().await.unwrap().trimmed_through[0];
        }
        let expected = log.expected(&filter, Some(&until));
        let stayed: Vec<_> = expected.iter().filter(|position| position.sequence > gone).collect();
        let missed: Vec<_> = stayed.iter().filter(|position| !seen.contains(position)).collect();
        assert!(stayed.len() > 50 && missed.is_empty(), "{order:?} missed {missed:?} of {}", stayed.len());
        assert!(
            seen.is_sorted_by(|one, other| (one < other) == (order == Order::OldestFirst) && one != other)
        );
        assert!(seen.iter().all(|position| expected.contains(position)));
        log.events.retain(|(position, _)| position.sequence > gone);
    }
}
