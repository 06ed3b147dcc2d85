//! Writers and readers that run while servers change their roles. Afterwards the answers are compared with the log, as
//! plain commands find it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "a panic is a test's way to fail, a seed is printed; not every test uses all of it"
)]

pub(crate) mod answers;
mod books;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use conformance::Draft;
use domain::{
    Event, Filter, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStore as _, EventStoreError, ReadRequest},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use store::Store;
use tokio::{task::JoinSet, time::sleep};

use crate::harness::Namespace;

pub(crate) use books::{Books, Log};

/// The number of concurrent writers.
const WRITERS: usize = 4;
/// The number of answers for each walk through the log. Without this limit, the log would soon be too long for a walk.
const AHEAD: usize = 20;
/// Longer than any change of roles in these tests. A test that reaches this limit has failed.
const LONG: Duration = Duration::from_secs(60);

/// Returns the number of rounds of a test: `EVENT_REPLAY_ROUNDS` if it is set, else `few`. Never more than `most`.
pub(crate) fn rounds(few: usize, most: usize) -> usize {
    let asked = std::env::var("EVENT_REPLAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok());
    asked.unwrap_or(few).min(most)
}

/// Returns options with a timeout that is longer than a failover.
pub(crate) fn patient(namespace: &Namespace) -> RedisOptions {
    RedisOptions { timeout: Duration::from_secs(30), ..namespace.options() }
}

/// Returns the log as plain commands find it.
pub(crate) async fn log(namespace: &Namespace) -> Log {
    let (meta, entries) = namespace.log().await;
    let mut log = Log::new(&meta);
    for (entry, fields) in entries {
        log.add(&entry, &fields.iter().find(|(name, _)| name == "event").unwrap().1);
    }
    log
}

/// Seeds the random numbers of a test, and prints the seed. The timing of the servers is not reproducible.
pub(crate) fn seeded() {
    let seed = std::env::var("EVENT_REPLAY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("EVENT_REPLAY_SEED={seed}");
    fastrand::seed(seed);
}

/// Whether a caller may get an unknown outcome for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Allowed for a lost answer.
    MayBeLost,
    /// Allowed for a lost answer. Callers of a server that hangs wait for their timeout.
    MayBeLate,
    /// No lost answer is possible in these tests.
    AreNeverLost,
}

/// Writers with separate connections, and a reader that repeatedly walks the log.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    walks: Arc<AtomicUsize>,
    books: Arc<Mutex<Books>>,
    tasks: JoinSet<()>,
}

impl Load {
    /// Starts the load. A failure that a writer or a reader should not see ends the test.
    pub(crate) async fn begin(options: &RedisOptions, answers: Answers) -> Self {
        seeded();
        let mut load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            walks: Arc::default(),
            books: Arc::default(),
            tasks: JoinSet::new(),
        };
        for writer in 0..WRITERS {
            let store = Store::new(RedisEngine::create(options.clone()).await.unwrap());
            let (stop, books) = (load.stop.clone(), load.books.clone());
            let (answered, walks) = (load.answered.clone(), load.walks.clone());
            load.tasks.spawn(async move {
                for round in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    if answered.load(Ordering::Relaxed) > AHEAD * (walks.load(Ordering::Relaxed) + 2) {
                        sleep(Duration::from_millis(1)).await;
                        continue;
                    }
                    let events: Vec<Event> = (0..fastrand::usize(1..=8))
                        .map(|n| {
                            Draft::new(&format!("{writer}.{round}.{n}"))
                                .of_type(["a", "b", "c"][n % 3])
                                .with("userId", format!("u{}", round % 50))
                                .event()
                        })
                        .collect();
                    let outcomes = appended(&store, &events, answers).await;
                    let mut books = books.lock().unwrap();
                    for (event, outcome) in events.iter().zip(outcomes) {
                        match outcome {
                            AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at) => {
                                books.answered(event.id(), at.sequence);
                            }
                            other => panic!("{} is {other:?}", event.id()),
                        }
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let store = Store::new(RedisEngine::open(options.clone()).await.unwrap());
        let (stop, walks, books) = (load.stop.clone(), load.walks.clone(), load.books.clone());
        load.tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let (asked, stored) = {
                    let books = books.lock().unwrap();
                    (books.some(), books.len())
                };
                let found = walk(&store, answers).await;
                if answers == Answers::AreNeverLost {
                    assert!(found.is_none_or(|found| found >= stored), "{found:?} of {stored} events");
                }
                look_up(&store, answers, &asked).await;
                walks.fetch_add(1, Ordering::Relaxed);
            }
        });
        load.goes_on().await;
        load
    }

    /// Waits until the writers have more answers and the reader has walked through the log.
    pub(crate) async fn goes_on(&mut self) {
        let (answered, walks) =
            (self.answered.load(Ordering::Relaxed) + 40, self.walks.load(Ordering::Relaxed) + 2);
        let since = Instant::now();
        while self.answered.load(Ordering::Relaxed) < answered || self.walks.load(Ordering::Relaxed) < walks {
            self.look().await;
            let (made, walked) = (self.answered(), self.walks());
            assert!(
                since.elapsed() < LONG,
                "writers or readers do not go on: {made} of {answered} answers, {walked} of {walks} walks"
            );
        }
    }

    /// Returns the number of answers so far.
    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Returns how many times the log was read from end to end.
    pub(crate) fn walks(&self) -> usize {
        self.walks.load(Ordering::Relaxed)
    }

    /// Waits for a moment. A failure of a writer or a reader fails the test.
    pub(crate) async fn look(&mut self) {
        tokio::select! {
            biased;
            Some(ended) = self.tasks.join_next() => ended.unwrap(),
            () = sleep(Duration::from_millis(10)) => {}
        }
    }

    /// Ends the load, and returns the answers.
    pub(crate) async fn end(mut self) -> Books {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        std::mem::take(&mut *self.books.lock().unwrap())
    }
}

/// Appends until the call is answered.
async fn appended(store: &Store, events: &[Event], answers: Answers) -> Vec<AppendOutcome> {
    for _ in 0..100 {
        match store.append(events, Atomicity::Each).await {
            Ok(outcomes) => return outcomes,
            Err(EventStoreError::Storage(StorageFailure::Unknown(_))) if answers != Answers::AreNeverLost => {
            }
            Err(EventStoreError::Storage(StorageFailure::Unavailable(_)))
                if answers == Answers::MayBeLate => {}
            Err(error) => panic!("a writer was told: {error}"),
        }
    }
    panic!("a write stays unknown for ever");
}

/// Reads the log from end to end, in pages, and then the events of one type. Returns the number of events. None if a
/// failover interrupted the walk.
async fn walk(store: &Store, answers: Answers) -> Option<usize> {
    let all = walk_one(store, answers, Filter::default()).await;
    walk_one(store, answers, Filter { types: vec![domain::TypePattern::new("b")], ..Filter::default() })
        .await;
    all
}

async fn walk_one(store: &Store, answers: Answers, filter: Filter) -> Option<usize> {
    let mut request = ReadRequest::new(filter, 200);
    let (mut before, mut found) = (None, 0);
    loop {
        let page = match store.read(&request).await {
            Ok(page) => page,
            // A failover removed the end of the log that this walk had reached, so the walk restarts.
            Err(EventStoreError::LostCursor(_)) => return None,
            Err(EventStoreError::Storage(StorageFailure::Unavailable(_)))
                if answers == Answers::MayBeLate =>
            {
                continue;
            }
            Err(error) => panic!("a reader was told: {error}"),
        };
        assert_eq!(page.corrupt, []);
        for stored in &page.events {
            assert!(before < Some(stored.position), "{} after {before:?}", stored.position);
            before = Some(stored.position);
        }
        found += page.events.len();
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Some(found),
        }
    }
}

/// Looks up answered events, by their ids and by their user. If no answer can be lost, all of them must be found.
async fn look_up(store: &Store, answers: Answers, asked: &[String]) {
    for ids in asked.chunks(3) {
        let found = match store.get(ids).await {
            Ok(found) => found,
            Err(EventStoreError::Storage(StorageFailure::Unavailable(_)))
                if answers == Answers::MayBeLate =>
            {
                continue;
            }
            Err(error) => panic!("a reader was told: {error}"),
        };
        let found: Vec<&str> = found.iter().map(|stored| stored.event.id()).collect();
        assert!(answers != Answers::AreNeverLost || found == ids, "{found:?} of {ids:?}");
    }
    let Some(round) = asked.first().and_then(|id| id.split('.').nth(1)?.parse::<usize>().ok()) else {
        return;
    };
    let users = std::collections::BTreeSet::from([format!("u{}", round % 50)]);
    let entities = std::collections::BTreeMap::from([("user".to_owned(), users)]);
    let filter = Filter { entities, ..Filter::default() };
    match store.read(&ReadRequest::new(filter, 20)).await {
        Ok(page) if answers == Answers::AreNeverLost => assert!(!page.events.is_empty(), "{asked:?}"),
        Err(EventStoreError::Storage(StorageFailure::Unavailable(_))) if answers == Answers::MayBeLate => {}
        other => drop(other.expect("a reader was told")),
    }
}
