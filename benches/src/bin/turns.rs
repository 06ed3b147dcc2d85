//! Measures the paths of one build, to compare two builds.
//!
//! Build it in a worktree of each build with `cargo build --profile dist -p event-replay-benches --bin turns`. Then run
//! the two programs by turns, at least ten times each, and compare the medians of their lines. A line is the name of a
//! row, a tab, and a figure: events or look-ups a second, or bytes an event.
#![allow(clippy::print_stdout, reason = "a benchmark's output is its table")]

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use bus::{Bus, Consumer, StartAt};
use clap::{Parser, ValueEnum};
use domain::{
    Delivery, Document, Event, Filter, HandlerError, Limits, OrderingRule,
    ports::{Atomicity, ReadRequest, Stores, SystemClock},
};
use generator::{Generator, Settings, Validity};
use replay::{Cancel, GroupReplayOptions, JobRunner, Pace, PlanRequest, ReplayManager};
use servers::{Aof, Binary, Config, Server};
use storage_redis::{RedisEngine, RedisOptions};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;
use tokio::{sync::Notify, task::JoinSet};

/// Measures the paths of one build, a line a row.
#[derive(Parser)]
struct Args {
    store: Kind,
    /// Events in the log that is read and delivered.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    /// Measure deliveries alone, this many groups one after the other.
    #[arg(long)]
    deliveries: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Sqlite,
    Redis,
}

/// Events that single calls append.
const SINGLE: usize = 3_000;
/// Events that concurrent callers append, and the number of callers.
const CONCURRENT: usize = 40_000;
const CALLERS: usize = 64;

fn main() -> Result<()> {
    let args = Args::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(&args))
}

async fn run(args: &Args) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = match args.store {
        Kind::Redis => {
            let config = Config { aof: Aof::EverySecond, ..Config::default() };
            Some(Server::start(&Binary::default(), &config).await?)
        }
        Kind::Sqlite => None,
    };
    let store: Arc<dyn Stores> = match &server {
        Some(server) => Arc::new(RedisEngine::create(RedisOptions::new(server.url())).await.map(Store::new)?),
        None => sqlite(&folder.path().join("events.db")).await?,
    };
    let empty = bytes(server.as_ref(), folder.path()).await?;
    let all = events(args.events + SINGLE + CONCURRENT)?;
    let (log, rest) = all.split_at(args.events);
    let (first, second) = log.split_at(args.events / 2);
    // A call on Redis has at most 200 events.
    let large = if server.is_some() { 200 } else { 1_000 };
    row("append by 100", first.len(), append(&*store, first, 100).await?);
    row(&format!("append by {large}"), second.len(), append(&*store, second, large).await?);
    if let Some(groups) = args.deliveries {
        for group in 0..groups {
            let handlers = if group % 2 == 0 { 1 } else { 16 };
            deliver(&store, &format!("only-{group}"), handlers, log.len()).await?;
        }
        return Ok(());
    }
    row("read", log.len(), read(&*store, log.len()).await?);
    let ids: Vec<&str> = log.iter().step_by(47).filter_map(Event::correlation_id).take(2_000).collect();
    row("correlation", ids.len(), look_up(&*store, &ids).await?);
    for handlers in [1, 4, 16] {
        deliver(&store, &format!("group-{handlers}"), handlers, log.len()).await?;
    }
    row("replay into a group", log.len(), replay(&store, log.len()).await?);
    let (single, concurrent) = rest.split_at(SINGLE);
    row("append by 1", single.len(), append(&*store, single, 1).await?);
    row(&format!("{CALLERS} callers"), concurrent.len(), append_at_once(&store, concurrent).await?);
    let used = bytes(server.as_ref(), folder.path()).await?.saturating_sub(empty);
    println!("bytes an event\t{:.1}", used as f64 / all.len() as f64);
    Ok(())
}

async fn sqlite(path: &Path) -> Result<Arc<dyn Stores>> {
    Ok(Arc::new(SqliteEngine::create(SqliteOptions::new(path)).await.map(Store::new)?))
}

fn row(name: &str, events: usize, took: Duration) {
    println!("{name}\t{:.0}", events as f64 / took.as_secs_f64());
}

/// Returns generated events with their ordering keys, as a publisher admits them.
fn events(count: usize) -> Result<Vec<Event>> {
    let (limits, rule) = (Limits::default(), OrderingRule::default());
    // A few generated events are invalid on purpose.
    Generator::new(Settings::demo((count + count / 20 + 10) as u64))
        .filter(|generated| generated.validity == Validity::Valid)
        .take(count)
        .map(|generated| {
            let document = Document::parse(generated.json.as_bytes(), &limits)
                .map_err(|violation| anyhow::anyhow!("generated event: {violation}"))?;
            let event = document
                .into_event()
                .map_err(|violations| anyhow::anyhow!("generated event: {violations:?}"))?;
            let key = rule.resolve(&event, None);
            Ok(event.with_key_source(key))
        })
        .collect()
}

/// Returns the memory of the server, or the size of the files, in bytes.
async fn bytes(server: Option<&Server>, folder: &Path) -> Result<u64> {
    let Some(server) = server else {
        let mut sum = 0;
        for entry in fs::read_dir(folder)? {
            sum += entry?.metadata()?.len();
        }
        return Ok(sum);
    };
    let mut connection = redis::Client::open(server.url())?.get_multiplexed_async_connection().await?;
    let text: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let used = text.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
    Ok(used.trim().parse()?)
}

async fn append(store: &dyn Stores, events: &[Event], batch: usize) -> Result<Duration> {
    let began = Instant::now();
    for batch in events.chunks(batch) {
        store.append(batch, Atomicity::Each).await?;
    }
    Ok(began.elapsed())
}

async fn append_at_once(store: &Arc<dyn Stores>, events: &[Event]) -> Result<Duration> {
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for share in events.chunks(events.len().div_ceil(CALLERS)) {
        let (store, share) = (Arc::clone(store), share.to_vec());
        callers.spawn(async move { append(&*store, &share, 1).await });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(began.elapsed())
}

async fn read(store: &dyn Stores, count: usize) -> Result<Duration> {
    let began = Instant::now();
    let mut request = ReadRequest::new(Filter::default(), 1_000);
    let mut seen = 0;
    loop {
        let page = store.read(&request).await?;
        seen += page.events.len();
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    ensure!(seen == count, "a read saw {seen} of {count} events");
    Ok(began.elapsed())
}

async fn look_up(store: &dyn Stores, ids: &[&str]) -> Result<Duration> {
    let began = Instant::now();
    for id in ids {
        let page = store.read(&ReadRequest::new(Filter::correlation(*id), 10)).await?;
        page.events.first().context("a correlation id without events")?;
    }
    Ok(began.elapsed())
}

/// Counts deliveries, and signals when the wanted number is reached.
#[derive(Default)]
struct Counter {
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

    async fn reaches(&self, wanted: usize) -> Result<()> {
        let wanted = wanted as u64;
        self.wanted.store(wanted, Ordering::Relaxed);
        let end = Instant::now() + Duration::from_secs(300);
        while self.seen.load(Ordering::Relaxed) < wanted {
            // A delivery between the two lines above would send no signal, so the loop also checks every 5 ms.
            let _ = tokio::time::timeout(Duration::from_millis(5), self.news.notified()).await;
            ensure!(Instant::now() < end, "the deliveries do not come");
        }
        Ok(())
    }
}

async fn consumer(
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

/// Delivers the whole log to a new group, and prints its row. The time ends when all deliveries are committed.
async fn deliver(store: &Arc<dyn Stores>, group: &str, handlers: usize, count: usize) -> Result<()> {
    let bus = Bus::builder(Arc::clone(store)).enable_validation(false).build().await?;
    let began = Instant::now();
    let (consumer, counter) = consumer(&bus, group, handlers, StartAt::Earliest).await?;
    counter.reaches(count).await?;
    consumer.stop().await?;
    row(&format!("delivery, {handlers} handlers"), count, began.elapsed());
    bus.close().await;
    Ok(())
}

async fn replay(store: &Arc<dyn Stores>, count: usize) -> Result<Duration> {
    let bus = Bus::builder(Arc::clone(store)).enable_validation(false).build().await?;
    let (mut consumer, counter) = consumer(&bus, "replayed", 16, StartAt::Head).await?;
    consumer.settled().await;
    let manager =
        ReplayManager::new(store.clone(), store.clone(), store.clone(), None, Arc::new(SystemClock))
            .with_groups(store.clone());
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await?;
    let options = GroupReplayOptions {
        pace: Pace::Unpaced,
        all: true,
        batch_size: 1_000,
        ..GroupReplayOptions::to(["replayed"])
    };
    let began = Instant::now();
    let started = manager.start_group_replay(&plan, &options).await?;
    let report = JobRunner::new(manager).run(&started.id, &(), &Cancel::default()).await?;
    let took = began.elapsed();
    ensure!(report.successful_replays == count as u64, "not all was replayed: {report:?}");
    counter.reaches(count).await?;
    consumer.stop().await?;
    bus.close().await;
    Ok(took)
}
