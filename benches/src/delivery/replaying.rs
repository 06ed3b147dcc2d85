//! A replay of a long log into a group.

use std::{fs, sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use bus::StartAt;
use domain::{Document, Event, Filter, Limits, ports::Stores};
use replay::{Cancel, GroupReplayOptions, JobRunner, PlanRequest};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;
use tokio::runtime::Runtime;

use super::{PAGE, append_all, bus_over, counting, manager, memory, unpaced};
use crate::{
    measure::{Bench, thousands},
    reading::scan,
};

const NAME: &str = "delivery replay, SQLite, 16 handlers";

pub(super) fn run(bench: &mut Bench, runtime: &Runtime, count: u64) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let (ours, yardstick) = runtime.block_on(measure(count))?;
    bench.figures(NAME, &ours, "reading the log, decoded", &yardstick);
    Ok(())
}

async fn measure(count: u64) -> Result<(String, String)> {
    let folder = tempfile::tempdir()?;
    let store = Arc::new(
        SqliteEngine::create(SqliteOptions::new(folder.path().join("events.db"))).await.map(Store::new)?,
    );
    for from in (0..count).step_by(10_000) {
        let batch: Vec<Event> = (from..count.min(from + 10_000)).map(event).collect::<Result<_>>()?;
        append_all(&*store, batch).await?;
    }
    let begun = Instant::now();
    scan(&*store, Filter::default(), PAGE, count).await?;
    let yardstick = format!("{}/s", thousands(count as f64 / begun.elapsed().as_secs_f64()));

    let stores: Arc<dyn Stores> = store.clone();
    let bus = bus_over(&stores).await?;
    let (mut consumer, counter) = counting(&bus, "g", 16, StartAt::Head).await?;
    consumer.settled().await;
    let manager = manager(&stores);
    let options = unpaced(GroupReplayOptions::to_all_groups());
    // Resets the peak of the memory use.
    fs::write("/proc/self/clear_refs", "5")?;
    let before = memory("VmRSS")?;
    let begun = Instant::now();
    let plan = manager.plan(PlanRequest::new(Filter::default()), None).await?;
    let planned = begun.elapsed();
    let replay = manager.start_group_replay(&plan, &options).await?;
    let begun = Instant::now();
    let report = JobRunner::new(manager).run(&replay.id, &(), &Cancel::default()).await?;
    let took = begun.elapsed();
    ensure!(report.successful_replays == count, "not all was replayed: {report:?}");
    counter.reaches(count).await?;
    let mib = |bytes: u64| bytes / (1 << 20);
    let ours = format!(
        "{} events: {}/s, after planning for {planned:.1?}; at most {} MiB ({} before)",
        thousands(count as f64),
        thousands(count as f64 / took.as_secs_f64()),
        mib(memory("VmHWM")?),
        mib(before),
    );
    consumer.stop().await?;
    bus.close().await;
    Ok((ours, yardstick))
}

fn event(number: u64) -> Result<Event> {
    let (user, minute) = (number % 5_000, number / 1_000 % 60);
    let json = format!(
        r#"{{"id":"e{number}","type":"payment.processed","version":"1.0","timestamp":"2024-01-15T10:{minute:02}:00Z","source":"bench","userId":"user-{user}","metadata":{{}},"data":{{"amount":{number},"currency":"EUR"}}}}"#
    );
    let document = Document::parse(json.as_bytes(), &Limits::default())
        .map_err(|violation| anyhow::anyhow!("{violation}"))?;
    document.into_event().map_err(|violations| anyhow::anyhow!("{violations:?}"))
}
