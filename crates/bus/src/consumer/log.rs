//! The shared log reader of one process. Its consumers share the pages that it reads.
//!
//! Groups at the same place get the same page, which is read once. The reader requests the types that any of the groups
//! takes. So a process that needs few types reads only the index lists of these types.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::{
    Cursor, Filter, StoredEvent, TypePattern,
    ports::{EventStore, EventStoreError, Order, ReadRequest},
};
use tokio::{sync::watch, task::JoinSet};

/// The highest number of events in a page.
const PAGE: usize = 512;
/// The number of pages kept for groups that arrive later.
const KEPT: usize = 4;
/// The longest time of one wait for new events.
const WAIT: Duration = Duration::from_secs(5);
/// The pause after a failed wait.
const PAUSE: Duration = Duration::from_millis(500);

/// A piece of the log.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) events: Arc<[StoredEvent]>,
    /// The end of the piece. All events up to here that match the filter are in `events`.
    pub(crate) through: Cursor,
}

#[derive(Debug)]
struct Kept {
    after: Cursor,
    piece: Piece,
}

/// The event types that each reader takes.
#[derive(Debug, Default)]
struct Interests {
    next: u64,
    types: HashMap<u64, Vec<TypePattern>>,
    /// Counts changes, so that a page of an older filter or an older lease is not used for a newer one.
    version: u64,
}

/// The reader of the log. It wakes the consumers when the log grows.
pub(crate) struct LogReader {
    store: Arc<dyn EventStore>,
    interests: Mutex<Interests>,
    pages: tokio::sync::Mutex<(u64, VecDeque<Kept>)>,
    head: watch::Receiver<Option<Cursor>>,
    /// The task that watches the head of the log. It ends with the reader.
    _watcher: JoinSet<()>,
}

impl LogReader {
    pub(crate) fn new(store: Arc<dyn EventStore>) -> Self {
        let (sender, head) = watch::channel(None);
        let mut watcher = JoinSet::new();
        watcher.spawn(watch_head(Arc::clone(&store), sender));
        Self {
            store,
            interests: Mutex::default(),
            pages: tokio::sync::Mutex::default(),
            head,
            _watcher: watcher,
        }
    }

    /// Returns a receiver of the head of the log.
    pub(crate) fn head(&self) -> watch::Receiver<Option<Cursor>> {
        self.head.clone()
    }

    fn interests(&self) -> std::sync::MutexGuard<'_, Interests> {
        self.interests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a reader's event types while the returned value exists.
    pub(crate) fn wants(self: &Arc<Self>, types: Vec<TypePattern>) -> Interest {
        let mut interests = self.interests();
        interests.next += 1;
        interests.version += 1;
        let number = interests.next;
        interests.types.insert(number, types);
        Interest { log: Arc::clone(self), number }
    }

    /// Invalidates all kept pages and any page that is being read. A segment that is leased again must read the current
    /// log, because the log may have lost its end since.
    pub(crate) fn forget(&self) {
        self.interests().version += 1;
    }

    fn filter(&self) -> (u64, Filter) {
        let interests = self.interests();
        let everything = interests.types.values().any(Vec::is_empty);
        let mut types: Vec<TypePattern> = match everything {
            true => Vec::new(),
            false => interests.types.values().flatten().cloned().collect(),
        };
        types.sort();
        types.dedup();
        (interests.version, Filter { types, ..Filter::default() })
    }

    /// Returns the events after a cursor, at most up to a mark.
    pub(crate) async fn read(&self, after: &Cursor, until: &Cursor) -> Result<Piece, EventStoreError> {
        let (version, filter) = self.filter();
        let mut pages = self.pages.lock().await;
        if pages.0 != version {
            *pages = (version, VecDeque::new());
        }
        if let Some(piece) = pages.1.iter().find_map(|kept| kept.from(after)) {
            return Ok(piece);
        }
        let request = ReadRequest {
            filter: Arc::new(filter),
            order: Order::OldestFirst,
            after: Some(after.clone()),
            until: Some(until.clone()),
            limit: PAGE,
        };
        let page = self.store.read(&request).await?;
        for damaged in &page.corrupt {
            tracing::error!(position = %damaged.position, detail = %damaged.detail, "a damaged event cannot be delivered and is passed");
        }
        let piece = Piece { events: page.events.into(), through: page.next.unwrap_or_else(|| until.clone()) };
        if pages.1.len() >= KEPT {
            pages.1.pop_front();
        }
        pages.1.push_back(Kept { after: after.clone(), piece: piece.clone() });
        Ok(piece)
    }
}

/// A reader's registered event types. The log reader requests these types while this value exists.
pub(crate) struct Interest {
    log: Arc<LogReader>,
    number: u64,
}

impl Drop for Interest {
    fn drop(&mut self) {
        let mut interests = self.log.interests();
        interests.types.remove(&self.number);
        interests.version += 1;
    }
}

impl Kept {
    /// Returns the page or its remaining part, for a reader at the start of the page or within it.
    fn from(&self, after: &Cursor) -> Option<Piece> {
        if *after == self.after {
            return (self.after != self.piece.through).then(|| self.piece.clone());
        }
        // Events within a page have a total order only if the log has one partition.
        let [at] = after.sequences.as_slice() else { return None };
        let (from, to) = (self.after.sequence(0), self.piece.through.sequence(0));
        if after.epoch != self.after.epoch || *at < from || *at >= to {
            return None;
        }
        let events =
            self.piece.events.iter().filter(|stored| stored.position.sequence > *at).cloned().collect();
        Some(Piece { events, through: self.piece.through.clone() })
    }
}

async fn watch_head(store: Arc<dyn EventStore>, sender: watch::Sender<Option<Cursor>>) {
    let mut known: Option<Cursor> = None;
    let mut reported = false;
    while !sender.is_closed() {
        let found = match &known {
            None => store.head().await,
            Some(known) => store.changed(known, WAIT).await,
        };
        match found {
            Ok(head) => {
                reported = false;
                if known.as_ref() != Some(&head) {
                    sender.send_replace(Some(head.clone()));
                }
                known = Some(head);
            }
            Err(error) => {
                if !std::mem::replace(&mut reported, true) {
                    tracing::warn!(%error, "the log cannot be watched for now");
                }
                // The cursor may be the cause, for example after a restored backup.
                known = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
