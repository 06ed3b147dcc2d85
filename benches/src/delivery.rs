//! The delivery rows: events through consumer groups, with a handler that does nothing.

mod idle;
mod latency;
mod rate;
mod replaying;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use bus::{Bus, Consumer, StartAt};
use domain::{
    Delivery, Event, HandlerError, OrderingRule,
    ports::{Atomicity, Stores, SystemClock},
};
use replay::{GroupReplayOptions, Pace, ReplayManager};
use storage_memory::MemoryEngine;
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;
use tokio::{runtime::Runtime, sync::Notify};

pub(crate) use self::rate::consume_all;
use crate::measure::Bench;

/// Number of events in a page of a read, as in a consumer.
const PAGE: usize = 512;

/// The store of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Memory,
    Sqlite,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Sqlite => "SQLite",
        }
    }

    async fn store(self, folder: &Path) -> Result<Arc<dyn Stores>> {
        Ok(match self {
            Self::Memory => Arc::new(Store::new(MemoryEngine::default())),
            Self::Sqlite => Arc::new(
                SqliteEngine::create(SqliteOptions::new(folder.join("events.db"))).await.map(Store::new)?,
            ),
        })
    }
}

pub(crate) fn run(bench: &mut Bench, runtime: &Runtime, events: u64, replayed: u64) -> Result<()> {
    for kind in [Kind::Memory, Kind::Sqlite] {
        rate::run(bench, runtime, kind, events)?;
        latency::run(bench, runtime, kind)?;
    }
    idle::run(bench, runtime)?;
    replaying::run(bench, runtime, replayed)
}

async fn append_all(store: &dyn Stores, events: Vec<Event>) -> Result<()> {
    let rule = OrderingRule::default();
    let admitted: Vec<Event> = events
        .into_iter()
        .map(|event| {
            let key = rule.resolve(&event, None);
            event.with_key_source(key)
        })
        .collect();
    for batch in admitted.chunks(1000) {
        store.append(batch, Atomicity::Each).await?;
    }
    Ok(())
}

pub(crate) async fn bus_over(store: &Arc<dyn Stores>) -> Result<Bus> {
    Ok(Bus::builder(Arc::clone(store)).enable_validation(false).build().await?)
}

/// Returns a manager of replays into the groups of a store.
pub(crate) fn manager(store: &Arc<dyn Stores>) -> ReplayManager {
    let clock = Arc::new(SystemClock);
    ReplayManager::new(store.clone(), store.clone(), store.clone(), None, clock).with_groups(store.clone())
}

/// Returns options for a replay of a whole log at full speed.
pub(crate) fn unpaced(options: GroupReplayOptions) -> GroupReplayOptions {
    GroupReplayOptions { pace: Pace::Unpaced, all: true, batch_size: 1000, ..options }
}

/// Counts deliveries, and signals when the wanted number is reached.
#[derive(Default)]
pub(crate) struct Counter {
    seen: AtomicU64,
    news: Notify,
    wanted: AtomicU64,
}

impl Counter {
    fn one_more(&self) {
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        if seen >= self.wanted.load(Ordering::Relaxed) {
            self.news.notify_one();
        }
    }

    pub(crate) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Relaxed)
    }

    pub(crate) async fn reaches(&self, wanted: u64) -> Result<()> {
        self.wanted.store(wanted, Ordering::Relaxed);
        let end = Instant::now() + Duration::from_secs(600);
        while self.seen() < wanted {
            // A delivery between the two lines above would send no signal, so the loop also checks every 50 ms.
            let _ = tokio::time::timeout(Duration::from_millis(50), self.news.notified()).await;
            anyhow::ensure!(Instant::now() < end, "the deliveries do not come");
        }
        Ok(())
    }
}

/// Starts a consumer of a new group at `start`, with a handler that only counts.
pub(crate) async fn counting(
    bus: &Bus,
    group: &str,
    handlers: usize,
    start: StartAt,
) -> Result<(Consumer, Arc<Counter>)> {
    let counter = Arc::new(Counter::default());
    let counts = Arc::clone(&counter);
    let handler = bus::handler(move |_: &Delivery| {
        counts.one_more();
        std::future::ready(Ok::<(), HandlerError>(()))
    });
    let subscription = bus.subscribe(group).on_everything(handler).start_at(start).concurrency(handlers);
    Ok((subscription.start().await?, counter))
}

/// Returns a value of `/proc/self/status`, in bytes.
pub(crate) fn memory(figure: &str) -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with(figure)).context("no such figure")?;
    let kib: u64 = line.split_whitespace().nth(1).context("no number")?.parse()?;
    Ok(kib * 1024)
}

/// Returns the processor time of all threads of the process.
pub(crate) fn cpu() -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        // The thread may have ended since the list was read.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanos += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}
