//! The SQLite rows: append, scan, look-up.

use std::time::Duration;

use anyhow::{Context, Result};
use domain::{
    Document, Event, Filter, Limits, OrderingRule,
    ports::{Atomicity, EventStore},
};
use generator::{Generator, Settings, Validity};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;
use tokio::runtime::Runtime;

use crate::{
    measure::{Bench, Target, timed},
    plain_sql::PlainSql,
    reading::{look_up, scan},
};

pub(crate) fn run(bench: &mut Bench, runtime: &Runtime, stored_events: u64) -> Result<()> {
    for (batch, count, least) in [(1, 1_000, 1.0), (100, 20_000, 1.0), (1000, 60_000, 1.5)] {
        append(bench, runtime, batch, count, least)?;
    }
    if bench.wants("sqlite scan") || bench.wants("sqlite correlation") {
        read(bench, runtime, stored_events)?;
    }
    Ok(())
}

pub(crate) fn events(count: u64) -> Result<Vec<Event>> {
    let (limits, rule) = (Limits::default(), OrderingRule::default());
    // A few generated events are invalid on purpose.
    Generator::new(Settings::demo(count + count / 20 + 10))
        .filter(|generated| generated.validity == Validity::Valid)
        .take(count as usize)
        .map(|generated| {
            let document = Document::parse(generated.json.as_bytes(), &limits)
                .map_err(|violation| anyhow::anyhow!("generated event: {violation}"))?;
            let event = document
                .into_event()
                .map_err(|violations| anyhow::anyhow!("generated event: {violations:?}"))?;
            // The ordering key is set as a publisher sets it.
            let key = rule.resolve(&event, None);
            Ok(event.with_key_source(key))
        })
        .collect()
}

/// Number of events in both stores before the measurement of appends. An index that fits into one page would cost
/// nothing.
const HISTORY: u64 = 200_000;

/// Measures durable appends to stores with some history.
fn append(bench: &mut Bench, runtime: &Runtime, batch: usize, count: u64, least: f64) -> Result<()> {
    let name = format!("sqlite append, batches of {batch}");
    if !bench.wants(&name) {
        return Ok(());
    }
    let events = events(HISTORY + count * bench.rounds() as u64)?;
    let (history, new) = events.split_at(HISTORY as usize);
    let folder = tempfile::tempdir()?;
    let mut plain = PlainSql::create(&folder.path().join("plain.db"))?;
    history.chunks(1000).try_for_each(|batch| plain.append(batch))?;
    let store = stored(runtime, &folder.path().join("ours.db"), history)?;
    let mut theirs = new.chunks(count as usize);
    let mut ours = new.chunks(count as usize);
    let yardstick = || {
        let events = theirs.next().context("no events left")?;
        timed(|| events.chunks(batch).try_for_each(|batch| plain.append(batch)))
    };
    let ours = || {
        let events = ours.next().context("no events left")?;
        timed(|| runtime.block_on(append_all(&store, events, batch)))
    };
    bench.row(&name, "plain SQL, a row an index", count, &Target::Ratio(least), yardstick, ours)
}

/// Appends events in calls of `batch` events.
pub(crate) async fn append_all(store: &dyn EventStore, events: &[Event], batch: usize) -> Result<()> {
    for batch in events.chunks(batch) {
        store.append(batch, Atomicity::Each).await?;
    }
    Ok(())
}

fn stored(runtime: &Runtime, path: &std::path::Path, events: &[Event]) -> Result<Store> {
    runtime.block_on(async {
        let store = SqliteEngine::create(SqliteOptions::new(path)).await.map(Store::new)?;
        append_all(&store, events, 1000).await?;
        Ok(store)
    })
}

fn read(bench: &mut Bench, runtime: &Runtime, count: u64) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let events = events(count)?;
    let mut plain = PlainSql::create(&folder.path().join("plain.db"))?;
    for batch in events.chunks(1000) {
        plain.append(batch)?;
    }
    let store = stored(runtime, &folder.path().join("ours.db"), &events)?;
    bench.row(
        "sqlite scan, decoded",
        "SELECT, undecoded",
        count,
        &Target::Rate(800_000.0),
        || timed(|| plain.scan()),
        || timed(|| runtime.block_on(scan(&store, Filter::default(), 2_000, count))),
    )?;
    let ids: Vec<&str> = events.iter().step_by(97).filter_map(Event::correlation_id).take(2_000).collect();
    bench.row(
        "sqlite correlation, a look-up",
        "indexed SELECT",
        ids.len() as u64,
        &Target::None,
        || timed(|| ids.iter().try_for_each(|id| plain.by_correlation(id).map(drop))),
        || timed(|| runtime.block_on(look_up(&store, &ids, 100))),
    )
}

/// Returns a target time in microseconds per operation.
pub(crate) const fn micros(micros: f64) -> Duration {
    Duration::from_nanos((micros * 1000.0) as u64)
}
