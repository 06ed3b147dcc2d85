//! Servers with the old system's keys, and stores to bring them to.
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

/// A server that holds nothing yet.
pub async fn server() -> Server {
    Server::start(&Binary::default(), &Config::default()).await.unwrap()
}

/// A file to bring events to. It goes with the folder.
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

/// Everything in a log, in its order.
pub async fn all(target: &dyn Stores) -> Vec<StoredEvent> {
    after(target, None).await
}

/// What comes after a mark, in the log's order.
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

/// Ids in order, for comparing.
pub fn ids(events: &[StoredEvent]) -> Vec<&str> {
    events.iter().map(|stored| stored.event.id()).collect()
}

/// Holds a target against what was put into the old system: order, bytes, replay counts and times.
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
