//! Publishers and consumers that work while the servers change, and the records that are checked afterwards.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{
    Cursor, Entity, Filter, Position, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStoreError, ReadRequest, Stores},
};
use fastrand::Rng;
use tokio::{task::JoinSet, time::sleep};

use super::{
    consumers::{Process, World},
    effects::{Does, Planned},
};

const PUBLISHERS: usize = 8;
const CONSUMERS: usize = 4;
/// Number of keys of a publisher. No other publisher uses these keys, so that their order is known.
const KEYS: usize = 12;
/// Number of answers to wait for between two promotions.
const ANSWERS: usize = 100;
/// Longer than any change of roles in these tests. A test that waits this long has failed.
const LONG: Duration = Duration::from_secs(90);

/// The records of all publishers.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) planned: Mutex<Vec<Planned>>,
    /// The position of each event, from the answer to its publisher.
    pub(crate) answered: Mutex<BTreeMap<String, Position>>,
    pub(crate) answers: AtomicUsize,
    pub(crate) again: AtomicUsize,
    over: AtomicBool,
}

/// The mode of publishing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publishing {
    /// Whether calls may fail and are then repeated, and whether some events make their handlers fail.
    pub(crate) may_fail: bool,
}

/// Eight publishers, and four consumers in separate processes.
pub(crate) struct Work {
    books: Arc<Books>,
    publishers: JoinSet<()>,
    processes: Vec<Process>,
}

impl Work {
    pub(crate) fn begin(world: &mut World, how: Publishing, rng: &mut Rng) -> Self {
        let books = Arc::new(Books::default());
        let mut publishers = JoinSet::new();
        for number in 0..PUBLISHERS {
            publishers.spawn(publish(Arc::clone(&world.store), Arc::clone(&books), number, how, rng.fork()));
        }
        let processes = (0..CONSUMERS).map(|_| world.start(None, &["lease=3000"])).collect();
        Self { books, publishers, processes }
    }

    pub(crate) fn books(&self) -> &Books {
        &self.books
    }

    /// Waits until publishers get further answers and consumers handle further events.
    pub(crate) async fn goes_on(&mut self, world: &World, when: &str) {
        let answers = self.books.answers.load(Ordering::Relaxed) + ANSWERS;
        let effects = world.effects().len() + ANSWERS;
        let since = Instant::now();
        while self.books.answers.load(Ordering::Relaxed) < answers || world.effects().len() < effects {
            assert!(since.elapsed() < LONG, "{when}: publishers or consumers do not go on");
            for process in &mut self.processes {
                assert!(!process.has_ended(), "{when}: consumer {} ended by itself", process.number);
            }
            tokio::select! {
                biased;
                Some(ended) = self.publishers.join_next() => ended.unwrap(),
                () = sleep(Duration::from_millis(50)) => {}
            }
        }
    }

    /// Stops the work, and waits until all published events are settled.
    pub(crate) async fn end(mut self, world: &World) -> Arc<Books> {
        self.books.over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.publishers.join_next().await {
            ended.unwrap();
        }
        world.until("everything is settled", World::is_idle).await;
        for process in self.processes {
            world.stop(process);
        }
        self.books
    }
}

/// Publishes until the end of the test. Repeats each batch until it is answered.
async fn publish(store: Arc<dyn Stores>, books: Arc<Books>, publisher: usize, how: Publishing, mut rng: Rng) {
    let mut counts = [0usize; KEYS];
    while !books.over.load(Ordering::Relaxed) {
        let mut batch = Vec::new();
        for _ in 0..rng.usize(1..=4) {
            let key = rng.usize(..KEYS);
            let does = match rng.u32(..300) {
                0 if how.may_fail => Does::Fails,
                1..=5 if how.may_fail => Does::FailsOnce,
                _ => Does::Works,
            };
            let takes_ms = rng.u64(..20);
            batch.push(Planned { key: format!("k{publisher}.{key}"), n: counts[key], does, takes_ms });
            counts[key] += 1;
        }
        books.planned.lock().unwrap().extend(batch.iter().cloned());
        let events: Vec<_> = batch.iter().map(|planned| super::admitted(&planned.json())).collect();
        let outcomes = loop {
            match store.append(&events, Atomicity::Each).await {
                Ok(outcomes) => break outcomes,
                Err(error) => {
                    let may_be = matches!(
                        error.failure(),
                        Some(StorageFailure::Unknown(_) | StorageFailure::Unavailable(_))
                    );
                    assert!(may_be && how.may_fail, "a publisher was told: {error}");
                    books.again.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(rng.u64(5..50))).await;
                }
            }
        };
        for (event, outcome) in events.iter().zip(outcomes) {
            match outcome {
                AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at) => {
                    books.answered.lock().unwrap().insert(event.id().to_owned(), at);
                }
                other => panic!("{}: {other:?}", event.id()),
            }
        }
        books.answers.fetch_add(1, Ordering::Relaxed);
        // The pause lets consumers keep up.
        sleep(Duration::from_millis(rng.u64(10..40))).await;
    }
}

impl Books {
    /// Returns the acknowledged events that are not in the log. The store must report the position of each of them as
    /// lost with the end of a log epoch. It must report the neighboring positions as present, and no position may
    /// belong to two events.
    pub(crate) async fn lost(&self, store: &dyn Stores) -> BTreeSet<String> {
        let mut at: BTreeMap<String, Position> = BTreeMap::new();
        let mut request = ReadRequest::new(Filter::default(), 1_000);
        loop {
            let page = store.read(&request).await.unwrap();
            assert_eq!(page.corrupt, []);
            for stored in page.events {
                let before = at.insert(stored.event.id().to_owned(), stored.position);
                assert_eq!(before, None, "{} is in the log twice", stored.event.id());
            }
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
        let mut owners: BTreeMap<Position, &str> = at.iter().map(|(id, at)| (*at, &**id)).collect();
        let answered = self.answered.lock().unwrap().clone();
        let mut gone = BTreeMap::new();
        for (id, position) in &answered {
            match at.get(id) {
                Some(found) => assert_eq!(found, position, "{id} is not where its publisher was told"),
                None => drop(gone.insert(*position, id.clone())),
            }
        }
        let head = store.head().await.unwrap();
        let mut looked = BTreeSet::new();
        for (position, id) in &gone {
            if let Some(other) = owners.get(position) {
                panic!("{position} was handed out for {other} and for {id}");
            }
            assert!(
                is_lost(store, &head, *position).await,
                "{id} at {position} was lost from the midst of its epoch"
            );
            let (before, after) = (owners.range(..position).next_back(), owners.range(position..).next());
            for (neighbour, id) in before.into_iter().chain(after) {
                if looked.insert(*neighbour) {
                    assert!(
                        !is_lost(store, &head, *neighbour).await,
                        "{id} at {neighbour} is there and called lost"
                    );
                }
            }
        }
        // Two lost events must not have the same position either.
        for (id, position) in &answered {
            if !at.contains_key(id)
                && let Some(other) = owners.insert(*position, id)
            {
                panic!("{position} was handed out for {other} and for {id}");
            }
        }
        gone.into_values().collect()
    }
}

/// Whether the store reports a mark at this position as lost.
async fn is_lost(store: &dyn Stores, head: &Cursor, position: Position) -> bool {
    let mut mark = head.clone();
    mark.sequences[usize::from(position.partition)] = position.sequence;
    // The filter matches no event, but the store checks the mark anyway.
    let nobody = Arc::new(Filter::of_entity(Entity::new("user", "nobody")));
    match store.count(&nobody, Some(&mark)).await {
        Ok(_) => false,
        Err(EventStoreError::LostCursor(_)) => true,
        Err(error) => panic!("{position}: {error}"),
    }
}
