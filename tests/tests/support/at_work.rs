//! Publishers and consumers at work while something happens to the servers, and the books that are checked afterwards.

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
/// Keys of a publisher. No other publisher has events of them, so that their order is known.
const KEYS: usize = 12;
/// Answers that are waited for between two promotions.
const ANSWERS: usize = 100;
/// Longer than any change of roles takes here: a test that waits for it has failed.
const LONG: Duration = Duration::from_secs(90);

/// What publishers did.
#[derive(Default)]
pub(crate) struct Books {
    pub(crate) planned: Mutex<Vec<Planned>>,
    /// Where each event is, by the answer to its publisher.
    pub(crate) answered: Mutex<BTreeMap<String, Position>>,
    pub(crate) answers: AtomicUsize,
    pub(crate) again: AtomicUsize,
    over: AtomicBool,
}

/// How it is published.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publishing {
    /// Whether calls may fail, and are made again then; and whether there are events that handlers fail at.
    pub(crate) may_fail: bool,
}

/// Eight publishers and four consumers in processes of their own.
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

    /// Waits until publishers are answered and consumers handle what came.
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

    /// Ends, once everything that was published is settled.
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

/// Publishes until it is over, each event again until it is answered.
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
        // Consumers are to keep up.
        sleep(Duration::from_millis(rng.u64(10..40))).await;
    }
}

impl Books {
    /// Events that were answered and are not in the log. The store must say of the place of each that it was lost with the end of
    /// a log epoch, and of what is left around it that it is there; and no position may be two events'.
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
        // Two that are both gone may not have had one position either.
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

/// Whether the store says of a mark at this place that the place was lost.
async fn is_lost(store: &dyn Stores, head: &Cursor, position: Position) -> bool {
    let mut mark = head.clone();
    mark.sequences[usize::from(position.partition)] = position.sequence;
    // Of a user that there is not: the mark is looked at all the same.
    let nobody = Arc::new(Filter::of_entity(Entity::new("user", "nobody")));
    match store.count(&nobody, Some(&mark)).await {
        Ok(_) => false,
        Err(EventStoreError::LostCursor(_)) => true,
        Err(error) => panic!("{position}: {error}"),
    }
}
