//! The processor time of a waiting consumer.

use std::time::Duration;

use anyhow::Result;
use bus::StartAt;
use tokio::runtime::Runtime;

use super::{Kind, append_all, bus_over, counting, cpu};
use crate::{measure::Bench, sqlite::events};

const NAME: &str = "delivery idle, SQLite, 10 s";
const WINDOW: Duration = Duration::from_secs(10);

pub(super) fn run(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    if !bench.wants(NAME) {
        return Ok(());
    }
    let (ours, bare) = runtime.block_on(measure())?;
    let share = |took: Duration| format!("{took:.1?} of a processor, {:.2} %", percent(took));
    bench.figures(NAME, &share(ours), "a bus without consumers", &share(bare));
    Ok(())
}

fn percent(took: Duration) -> f64 {
    took.as_secs_f64() / WINDOW.as_secs_f64() * 100.0
}

async fn measure() -> Result<(Duration, Duration)> {
    let folder = tempfile::tempdir()?;
    let store = Kind::Sqlite.store(folder.path()).await?;
    append_all(&*store, events(10_000)?).await?;
    let bus = bus_over(&store).await?;
    let bare = used().await?;
    let (mut consumer, counter) = counting(&bus, "g", 16, StartAt::Earliest).await?;
    consumer.settled().await;
    counter.reaches(10_000).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ours = used().await?;
    consumer.stop().await?;
    bus.close().await;
    Ok((ours, bare))
}

async fn used() -> Result<Duration> {
    let before = cpu()?;
    tokio::time::sleep(WINDOW).await;
    Ok(cpu()?.saturating_sub(before))
}
