//! The paths of one build, to compare two builds.
//!
//! Build this program in a worktree of each build. Then run `--turns sqlite` and `--turns redis` of both by turns, at
//! least ten times each, and compare the medians of their lines. A line is the name of a row, a tab, and a figure:
//! events or look-ups a second, or bytes an event.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use bus::StartAt;
use clap::ValueEnum;
use domain::{Event, Filter, ports::Stores};
use replay::{Cancel, GroupReplayOptions, JobRunner, PlanRequest};
use servers::Server;
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;

use crate::{
    delivery::{self, bus_over, consume_all, counting},
    reading::{look_up, scan},
    redis::{self, at_once, used_memory},
    sqlite::{append_all, events},
};

/// The store that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Redis,
}

/// Events that single calls append.
const SINGLE: usize = 3_000;
/// Events that concurrent callers append, and the number of callers.
const CONCURRENT: usize = 40_000;
const CALLERS: usize = 64;
/// Number of events in a page.
const PAGE: usize = 1_000;

/// Measures a store with a log of `count` events, and prints a line for each row.
pub(crate) async fn run(kind: Kind, count: usize) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = match kind {
        Kind::Redis => Some(redis::server().await?),
        Kind::Sqlite => None,
    };
    let store: Arc<dyn Stores> = match &server {
        Some(server) => Arc::new(redis::store(server).await?),
        None => {
            let options = SqliteOptions::new(folder.path().join("events.db"));
            Arc::new(SqliteEngine::create(options).await.map(Store::new)?)
        }
    };
    let empty = bytes(server.as_ref(), folder.path()).await?;
    let all = events((count + SINGLE + CONCURRENT) as u64)?;
    let (log, rest) = all.split_at(count);
    let (first, second) = log.split_at(count / 2);
    // A call on Redis has at most 200 events.
    let large = if server.is_some() { 200 } else { 1_000 };
    for (events, batch) in [(first, 100), (second, large)] {
        let began = Instant::now();
        append_all(&*store, events, batch).await?;
        row(&format!("append by {batch}"), events.len(), began.elapsed());
    }
    let began = Instant::now();
    scan(&*store, Filter::default(), PAGE, count as u64).await?;
    row("read", count, began.elapsed());
    let ids: Vec<&str> = log.iter().step_by(47).filter_map(Event::correlation_id).take(2_000).collect();
    let began = Instant::now();
    look_up(&*store, &ids, 10).await?;
    row("correlation", ids.len(), began.elapsed());
    for handlers in [1, 4, 16] {
        let took = consume_all(&store, &format!("group-{handlers}"), handlers, count as u64).await?;
        row(&format!("delivery, {handlers} handlers"), count, took);
    }
    row("replay into a group", count, replay(&store, count as u64).await?);
    let (single, concurrent) = rest.split_at(SINGLE);
    let began = Instant::now();
    append_all(&*store, single, 1).await?;
    row("append by 1", single.len(), began.elapsed());
    let began = Instant::now();
    at_once(concurrent, CALLERS, |events| {
        let store = Arc::clone(&store);
        async move { append_all(&*store, &events, 1).await }
    })
    .await?;
    row(&format!("{CALLERS} callers"), concurrent.len(), began.elapsed());
    let used = bytes(server.as_ref(), folder.path()).await?.saturating_sub(empty);
    println!("bytes an event\t{:.1}", used as f64 / all.len() as f64);
    Ok(())
}

fn row(name: &str, events: usize, took: Duration) {
    println!("{name}\t{:.0}", events as f64 / took.as_secs_f64());
}

/// Returns the memory of the server, or the size of the files, in bytes.
async fn bytes(server: Option<&Server>, folder: &Path) -> Result<u64> {
    if let Some(server) = server {
        return used_memory(server).await;
    }
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        sum += entry?.metadata()?.len();
    }
    Ok(sum)
}

/// Replays the whole log into one of the groups. Returns the time from the start of the replay to its end.
async fn replay(store: &Arc<dyn Stores>, count: u64) -> Result<Duration> {
    let bus = bus_over(store).await?;
    let (mut consumer, counter) = counting(&bus, "replayed", 16, StartAt::Head).await?;
    consumer.settled().await;
    let manager = delivery::manager(store);
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await?;
    let options = delivery::unpaced(GroupReplayOptions::to(["replayed"]));
    let began = Instant::now();
    let started = manager.start_group_replay(&plan, &options).await?;
    let report = JobRunner::new(manager).run(&started.id, &(), &Cancel::default()).await?;
    let took = began.elapsed();
    ensure!(report.successful_replays == count, "not all was replayed: {report:?}");
    counter.reaches(count).await?;
    consumer.stop().await?;
    bus.close().await;
    Ok(took)
}
