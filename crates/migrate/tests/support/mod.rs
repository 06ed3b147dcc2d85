//! Servers with the keys of the old system, and target stores.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    reason = "shared by several test programs, none of which uses all of it"
)]

pub mod reference;

use domain::{
    Cursor, Filter, StoredEvent,
    ports::{ReadRequest, Stores},
};
use event_replay_migrate::{Layout, Options, Report, Source, migrate};
use servers::{Binary, Config, Server};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;

pub use reference::{OldEvent, Reference, events, in_time_order, wanted, write};

/// A server without data.
pub async fn server() -> Server {
    Server::start(&Binary::default(), &Config::default()).await.unwrap()
}

/// A target store in a file. The file is deleted with the folder.
pub async fn sqlite(folder: &tempfile::TempDir) -> Store {
    SqliteEngine::create(SqliteOptions::new(folder.path().join("events.db"))).await.map(Store::new).unwrap()
}

pub async fn source(server: &Server) -> Source {
    Source::connect(&server.url(), Layout::default()).await.unwrap()
}

pub async fn run(source: &Source, target: &dyn Stores) -> Report {
    run_with(source, target, &Options::default()).await
}

pub async fn run_with(source: &Source, target: &dyn Stores, options: &Options) -> Report {
    migrate(source, target, options, &|_, _, _| {}).await.unwrap()
}

/// Returns all events of a log in log order.
pub async fn all(target: &dyn Stores) -> Vec<StoredEvent> {
    after(target, None).await
}

/// Returns the events after a mark in log order.
pub async fn after(target: &dyn Stores, mark: Option<Cursor>) -> Vec<StoredEvent> {
    let mut request = ReadRequest { after: mark, ..ReadRequest::new(Filter::default(), 1000) };
    let mut events = Vec::new();
    loop {
        let page = target.read(&request).await.unwrap();
        assert_eq!(page.corrupt, []);
        events.extend(page.events);
        match page.next {
            Some(next) => request.after = Some(next),
            None => return events,
        }
    }
}

/// Returns the ids in order, for a comparison.
pub fn ids(events: &[StoredEvent]) -> Vec<&str> {
    events.iter().map(|stored| stored.event.id()).collect()
}

/// Checks a target against the events of the old system: order, bytes, replay counts and times.
#[track_caller]
pub fn check_equal(stored: &[StoredEvent], old: &[OldEvent]) {
    let ordered = in_time_order(old);
    let expected: Vec<&str> = ordered.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids(stored), expected, "in the order in which they happened");
    for (stored, old) in stored.iter().zip(ordered) {
        assert_eq!(stored.event.json(), old.json);
        let last = old.last_replay_at.as_ref().map(|at| at.parse().unwrap());
        assert_eq!((stored.replay_count, stored.last_replay_at), (old.replays, last), "{}", old.id);
    }
}
