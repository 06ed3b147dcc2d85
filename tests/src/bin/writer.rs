//! A process that appends a number of batches to a SQLite store, unless it is killed before. The tests kill this
//! process.
//!
//! `test-writer PATH NAME BATCHES` appends batches of 1 to 200 events with the ids `NAME-0`, `NAME-1`, …. After each
//! response it prints the number of acknowledged events to stdout, one line for each batch.
#![allow(clippy::print_stdout, reason = "its acknowledgements are read by a test")]

use std::io::Write;

use anyhow::{Context, Result, anyhow, ensure};
use domain::{
    Document, Event, Limits,
    ports::{AppendOutcome, Atomicity, EventStore},
};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [path, name, batches] = args.as_slice() else { return Err(anyhow!("PATH NAME BATCHES")) };
    let engine = SqliteEngine::create(SqliteOptions::new(path)).await?;
    let store = Store::new(engine.clone());
    let mut appended = 0;
    for _ in 0..batches.parse::<u64>().context("BATCHES")? {
        let size = if fastrand::bool() { 1 } else { fastrand::u64(1..=200) };
        let batch = (appended..appended + size).map(|n| event(name, n)).collect::<Result<Vec<_>>>()?;
        let outcomes = store.append(&batch, Atomicity::Each).await?;
        let good = |outcome: &AppendOutcome| {
            matches!(outcome, AppendOutcome::Stored(_) | AppendOutcome::AlreadyStored(_))
        };
        ensure!(outcomes.iter().all(good), "{outcomes:?}");
        appended += size;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{appended}")?;
        out.flush()?;
    }
    engine.close().await;
    Ok(())
}

/// Returns an event. The bytes depend only on the name and the number, so that every process creates the same event.
fn event(name: &str, n: u64) -> Result<Event> {
    let (user, minute, filler) = (n % 97, n % 60, "x".repeat((n % 900) as usize));
    let json = format!(
        "{{\"id\":\"{name}-{n}\",\"type\":\"kill.test\",\"version\":\"1.0\",\
         \"timestamp\":\"2024-01-15T10:{minute:02}:00Z\",\"source\":\"{name}\",\"userId\":\"user-{user}\",\
         \"metadata\":{{}},\"data\":{{\"filler\":\"{filler}\"}}}}"
    );
    let document =
        Document::parse(json.as_bytes(), &Limits::default()).map_err(|violation| anyhow!("{violation}"))?;
    document.into_event().map_err(|violations| anyhow!("{violations:?}"))
}
