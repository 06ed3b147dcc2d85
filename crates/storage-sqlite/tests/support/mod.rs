//! Helpers for the tests of this adapter.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{ops::Deref, path::Path, sync::Arc};

use domain::{
    Document, Event, Filter, Limits, StorageFailure,
    ports::{
        AppendOutcome, Atomicity, EventStore, EventStoreError, Order, ReadRequest,
        engine::{Appended, Scan, StorageEngine, Transaction},
    },
};
use event_replay_storage_sqlite::{Restored, SqliteEngine, SqliteOptions};
use store::Store;
use tempfile::TempDir;

pub(crate) fn event(id: &str, user: &str, note: &str) -> Event {
    let json = format!(
        r#"{{"id":"{id}","type":"note.made","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"notes","userId":"{user}","metadata":{{}},"data":{{"note":"{note}"}}}}"#
    );
    Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
}

pub(crate) fn many(count: usize) -> Vec<Event> {
    (0..count).map(|n| event(&format!("e{n}"), &format!("user-{}", n % 7), "hello")).collect()
}

pub(crate) fn options(folder: &TempDir) -> SqliteOptions {
    SqliteOptions::new(folder.path().join("events.db"))
}

pub(crate) async fn engine(folder: &TempDir) -> SqliteEngine {
    SqliteEngine::create(options(folder)).await.unwrap()
}

/// Appends events to an engine without a transaction.
pub(crate) async fn put(engine: &SqliteEngine, events: &[Event]) -> Vec<AppendOutcome> {
    match engine.append(0, events, Atomicity::Each, &Transaction::new()).await.unwrap() {
        Appended::Done(outcomes) => outcomes,
        refused @ Appended::Refused { .. } => panic!("{refused:?}"),
    }
}

/// Returns a request for all matching events, oldest first.
pub(crate) fn scan(filter: &Arc<Filter>) -> Scan<'_> {
    Scan { filter, order: Order::OldestFirst, after: None, until: None, limit: 1000, max_bytes: u64::MAX }
}

/// A store over an engine on a file, with direct access to the engine.
#[derive(Clone)]
pub(crate) struct SqliteStore {
    store: Store,
    engine: SqliteEngine,
}

impl Deref for SqliteStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl SqliteStore {
    fn over(engine: SqliteEngine) -> Self {
        Self { store: Store::new(engine.clone()), engine }
    }

    pub(crate) async fn create(options: SqliteOptions) -> Result<Self, StorageFailure> {
        SqliteEngine::create(options).await.map(Self::over)
    }

    pub(crate) async fn open(options: SqliteOptions) -> Result<Self, StorageFailure> {
        SqliteEngine::open(options).await.map(Self::over)
    }

    pub(crate) async fn open_read_only(options: SqliteOptions) -> Result<Self, StorageFailure> {
        SqliteEngine::open_read_only(options).await.map(Self::over)
    }

    pub(crate) async fn restore(
        options: SqliteOptions,
        from: &Path,
        replace: bool,
    ) -> Result<Restored, StorageFailure> {
        let settle = |engine| async move { Store::new(engine).remove_erased_copies().await };
        SqliteEngine::restore(options, from, replace, settle).await
    }

    pub(crate) async fn backup_to(&self, path: &Path) -> Result<u64, StorageFailure> {
        self.engine.backup_to(path).await
    }

    pub(crate) fn path(&self) -> &Path {
        self.engine.path()
    }

    pub(crate) async fn close(self) {
        self.engine.close().await;
    }
}

pub(crate) async fn store(folder: &TempDir) -> SqliteStore {
    SqliteStore::create(options(folder)).await.unwrap()
}

pub(crate) async fn append(store: &SqliteStore, events: &[Event]) -> Vec<AppendOutcome> {
    store.append(events, Atomicity::Each).await.unwrap()
}

pub(crate) async fn read_all(store: &SqliteStore) -> Result<Vec<String>, EventStoreError> {
    let mut request = ReadRequest::new(Filter::default(), 1000);
    let mut ids = Vec::new();
    loop {
        let page = store.read(&request).await?;
        ids.extend(page.events.iter().map(|stored| stored.event.id().to_owned()));
        match page.next {
            Some(next) => request.after = Some(next),
            None => return Ok(ids),
        }
    }
}
