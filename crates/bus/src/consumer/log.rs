//! The log as the consumers of one process read it: one reader, whose pages they share.
//!
//! Groups that are at the same place get the same page, read once. The reader asks for the types that any of the groups
//! takes, so a process that wants few types reads the lists of those types.

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

/// Events of a page.
const PAGE: usize = 512;
/// Pages that are kept for groups that come later.
const KEPT: usize = 4;
/// How long one wait for news lasts.
const WAIT: Duration = Duration::from_secs(5);
/// How long after a failed wait the next one begins.
const PAUSE: Duration = Duration::from_millis(500);

/// A piece of the log.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) events: Arc<[StoredEvent]>,
    /// It ends here: what is wanted up to here is among the events.
    pub(crate) through: Cursor,
}

#[derive(Debug)]
struct Kept {
    after: Cursor,
    piece: Piece,
}

/// Who wants which types.
#[derive(Debug, Default)]
struct Interests {
    next: u64,
    types: HashMap<u64, Vec<TypePattern>>,
    /// Counts changes, so that pages of an older filter, or of an older lease, are not taken for newer ones.
    version: u64,
}

/// The log's reader. Wakes its readers when the log grows.
pub(crate) struct LogReader {
    store: Arc<dyn EventStore>,
    interests: Mutex<Interests>,
    pages: tokio::sync::Mutex<(u64, VecDeque<Kept>)>,
    head: watch::Receiver<Option<Cursor>>,
    /// Ends with the reader.
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

    /// The newest positions, as they become known.
    pub(crate) fn head(&self) -> watch::Receiver<Option<Cursor>> {
        self.head.clone()
    }

    fn interests(&self) -> std::sync::MutexGuard<'_, Interests> {
        self.interests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a reader's types, for as long as what is returned is kept.
    pub(crate) fn wants(self: &Arc<Self>, types: Vec<TypePattern>) -> Interest {
        let mut interests = self.interests();
        interests.next += 1;
        interests.version += 1;
        let number = interests.next;
        interests.types.insert(number, types);
        Interest { log: Arc::clone(self), number }
    }

    /// Forgets the pages that are kept, also one that is being read. A segment that is leased again reads what the log has now: it
    /// may have lost its end since.
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

    /// What comes after a cursor, up to a mark at the most.
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

/// A reader's types are asked for as long as this is kept.
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
    /// The page, or its end, for a reader that is at its beginning or within it.
    fn from(&self, after: &Cursor) -> Option<Piece> {
        if *after == self.after {
            return (self.after != self.piece.through).then(|| self.piece.clone());
        }
        // Within a page there is one order only where there is one partition.
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
                // The cursor may be what is wrong, as after a restored backup.
                known = None;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
