//! What the tests of this adapter share.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

use domain::{
    Document, Event, Filter, Limits,
    ports::{AppendOutcome, Atomicity, EventStore, EventStoreError, ReadRequest},
};
use storage_sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

pub(crate) fn event(id: &str, user: &str, note: &str) -> Event {
    let json = format!(
        r#"{{"id":"{id}","type":"note.made","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"notes","userId":"{user}","metadata":{{}},"data":{{"note":"{note}"}}}}"#
    );
    Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
}

pub(crate) async fn store(folder: &TempDir) -> SqliteStore {
    SqliteStore::create(SqliteOptions::new(folder.path().join("events.db"))).await.unwrap()
}

pub(crate) async fn append(store: &SqliteStore, events: &[Event]) -> Vec<AppendOutcome> {
    store.append(events, Atomicity::Each).await.unwrap()
}

pub(crate) fn many(count: usize) -> Vec<Event> {
    (0..count).map(|n| event(&format!("e{n}"), &format!("user-{}", n % 7), "hello")).collect()
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
