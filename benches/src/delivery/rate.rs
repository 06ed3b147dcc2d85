//! The delivery rate of a group, if the log already contains the events.

use std::{cell::Cell, sync::Arc, time::Duration};

use anyhow::Result;
use bus::StartAt;
use domain::{Filter, ports::Stores};
use tokio::runtime::Runtime;

use super::{Kind, PAGE, append_all, bus_over, counting};
use crate::{
    measure::{Bench, Target, timed},
    reading::scan,
    sqlite::events,
};

const HANDLERS: [usize; 3] = [1, 4, 16];

pub(super) fn run(bench: &mut Bench, runtime: &Runtime, kind: Kind, count: u64) -> Result<()> {
    let name = |handlers: usize| {
        let s = if handlers == 1 { "" } else { "s" };
        format!("delivery rate, {}, {handlers} handler{s}", kind.name())
    };
    if !HANDLERS.iter().any(|handlers| bench.wants(&name(*handlers))) {
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let store = runtime.block_on(async {
        let store = kind.store(folder.path()).await?;
        append_all(&*store, events(count)?).await?;
        anyhow::Ok(store)
    })?;
    let groups = Cell::new(0);
    for handlers in HANDLERS {
        let target = if handlers == 16 { Target::Rate(50_000.0) } else { Target::None };
        let read_all = || timed(|| runtime.block_on(scan(&*store, Filter::default(), PAGE, count)));
        let consume = || {
            groups.set(groups.get() + 1);
            let group = format!("group-{}", groups.get());
            runtime.block_on(consume_all(&store, &group, handlers, count))
        };
        bench.row(&name(handlers), "reading the log, decoded", count, &target, read_all, consume)?;
    }
    Ok(())
}

/// Returns the time until all events are handled and committed.
pub(crate) async fn consume_all(
    store: &Arc<dyn Stores>,
    group: &str,
    handlers: usize,
    count: u64,
) -> Result<Duration> {
    let bus = bus_over(store).await?;
    let begun = std::time::Instant::now();
    let (consumer, counter) = counting(&bus, group, handlers, StartAt::Earliest).await?;
    counter.reaches(count).await?;
    consumer.stop().await?;
    let took = begun.elapsed();
    bus.close().await;
    Ok(took)
}
