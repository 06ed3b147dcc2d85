//! Partitions and several masters, compared with one server with one partition: the rates of appends and reads, and the
//! memory.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use domain::{Event, Filter};
use servers::{Aof, Binary, Cluster, Config, Server};
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;
use tokio::runtime::Runtime;

use super::{PAGE, append_all, at_once, bare::Bare, info, server};
use crate::{
    measure::{Bench, Target, timed},
    reading::scan,
    sqlite::events,
};

/// Number of concurrent callers. A single caller would wait for one server at a time.
const CALLERS: usize = 8;
const COUNT: u64 = 50_000;

/// The servers of a store.
enum Place {
    One(Box<Server>),
    Cluster(Cluster),
}

impl Place {
    async fn masters(masters: usize) -> Result<Self> {
        let config = Config { aof: Aof::EverySecond, ..Config::default() };
        Ok(Self::Cluster(Cluster::of_masters(&Binary::default(), &config, masters).await?))
    }

    fn servers(&self) -> &[Server] {
        match self {
            Self::One(server) => std::slice::from_ref(&**server),
            Self::Cluster(cluster) => cluster.nodes(),
        }
    }

    async fn store(&self, partitions: u16) -> Result<Arc<Store>> {
        let url = match self {
            Self::One(server) => server.url(),
            Self::Cluster(cluster) => cluster.url(),
        };
        let options = RedisOptions { partitions: Some(partitions), ..RedisOptions::new(url) };
        Ok(Arc::new(RedisEngine::create(options).await.map(Store::new)?))
    }

    /// Returns the sum of `used_memory` of all servers, in bytes.
    async fn used(&self) -> Result<f64> {
        let mut used = 0.0;
        for server in self.servers() {
            used += info(&mut Bare::connect(server).await?, "memory", "used_memory").await?;
        }
        Ok(used)
    }
}

pub(super) fn run(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "redis masters";
    if !bench.wants(name) {
        return Ok(());
    }
    let all = events(COUNT * bench.rounds() as u64)?;
    for (what, masters, partitions) in [
        ("one server, 16 partitions", 0, 16),
        ("a cluster of 1 master, 1 partition", 1, 1),
        ("a cluster of 1 master, 16 partitions", 1, 16),
        ("a cluster of 3 masters, 16 partitions", 3, 16),
    ] {
        let yardstick = runtime.block_on(async { anyhow::Ok(Place::One(Box::new(server().await?))) })?;
        let place = match masters {
            0 => runtime.block_on(async { anyhow::Ok(Place::One(Box::new(server().await?))) })?,
            masters => runtime.block_on(Place::masters(masters))?,
        };
        let empty = runtime.block_on(async { anyhow::Ok((yardstick.used().await?, place.used().await?)) })?;
        let (theirs, ours) =
            (runtime.block_on(yardstick.store(1))?, runtime.block_on(place.store(partitions))?);
        let (mut left, mut right) = (all.chunks(COUNT as usize), all.chunks(COUNT as usize));
        let append = |store: &Arc<Store>, events: Option<&[Event]>| {
            let events = events.context("no events left")?;
            timed(|| {
                runtime.block_on(at_once(events, CALLERS, |events| {
                    let store = store.clone();
                    async move { append_all(&store, &events).await }
                }))
            })
        };
        bench.row(
            &format!("{name}: append, batches of 100, {CALLERS} callers, {what}"),
            "one server, 1 partition",
            COUNT,
            &Target::None,
            || append(&theirs, left.next()),
            || append(&ours, right.next()),
        )?;
        let stored = all.len() as u64;
        let read = |store: &Arc<Store>| -> Result<Duration> {
            timed(|| runtime.block_on(scan(&**store, Filter::default(), PAGE, stored)))
        };
        bench.row(
            &format!("{name}: read the log, {what}"),
            "one server, 1 partition",
            stored,
            &Target::None,
            || read(&theirs),
            || read(&ours),
        )?;
        let payload: usize = all.iter().map(Event::size_bytes).sum();
        let (theirs, ours) =
            runtime.block_on(async { anyhow::Ok((yardstick.used().await?, place.used().await?)) })?;
        let of = |used: f64, empty: f64| format!("{:.2} × payload", (used - empty) / payload as f64);
        bench.figures(
            &format!("{name}: memory, {what}"),
            &of(ours, empty.1),
            "one server, 1 partition",
            &of(theirs, empty.0),
        );
    }
    Ok(())
}
