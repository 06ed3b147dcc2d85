//! What the tests of this adapter share.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::sync::Arc;

use domain::{
    Document, Event, Filter, Limits,
    ports::{
        AppendOutcome, Atomicity, Order,
        engine::{Appended, Scan, StorageEngine, Transaction},
    },
};
use storage_sqlite::{SqliteEngine, SqliteOptions};
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

/// Appends to an engine, with nothing beside.
pub(crate) async fn put(engine: &SqliteEngine, events: &[Event]) -> Vec<AppendOutcome> {
    match engine.append(0, events, Atomicity::Each, &Transaction::new()).await.unwrap() {
        Appended::Done(outcomes) => outcomes,
        refused @ Appended::Refused { .. } => panic!("{refused:?}"),
    }
}

/// A request for all that matches, oldest first.
pub(crate) fn scan(filter: &Arc<Filter>) -> Scan<'_> {
    Scan { filter, order: Order::OldestFirst, after: None, until: None, limit: 1000, max_bytes: u64::MAX }
}
