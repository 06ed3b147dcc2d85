//! The Redis rows. Each row starts its own servers. The yardstick is bare commands, on the same machine in the same
//! run.

mod append;
mod bare;
mod delivery;
mod masters;
mod memory;
mod reading;
mod work;

use anyhow::{Context, Result};
use domain::Event;
use servers::{Aof, Binary, Config, Server};
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;
use tokio::{runtime::Runtime, task::JoinSet};

use crate::measure::Bench;

/// Number of events in one call.
const BATCH: usize = 100;
/// Number of events in a page.
const PAGE: usize = 1_000;

pub(crate) fn run(bench: &mut Bench, runtime: &Runtime, stored_events: u64) -> Result<()> {
    append::run(bench, runtime)?;
    reading::run(bench, runtime, stored_events)?;
    delivery::run(bench, runtime, stored_events)?;
    masters::run(bench, runtime)?;
    memory::run(bench, runtime, stored_events)
}

/// Starts a server that syncs its append-only file every second.
pub(crate) async fn server() -> Result<Server> {
    Ok(Server::start(&Binary::default(), &Config { aof: Aof::EverySecond, ..Config::default() }).await?)
}

/// Creates a store with one partition on one server.
pub(crate) async fn store(server: &Server) -> Result<Store> {
    Ok(RedisEngine::create(RedisOptions::new(server.url())).await.map(Store::new)?)
}

/// Returns a number from a section of `INFO`.
async fn info(bare: &mut bare::Bare, section: &str, name: &str) -> Result<f64> {
    let answer = bare.ask(redis::cmd("INFO").arg(section)).await?;
    let text: String = redis::FromRedisValue::from_redis_value(answer)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("INFO {section} has no {name}"))?.trim().parse()?)
}

/// Returns `used_memory` of the server, in bytes.
pub(crate) async fn used_memory(server: &Server) -> Result<u64> {
    Ok(info(&mut bare::Bare::connect(server).await?, "memory", "used_memory").await? as u64)
}

async fn append_all(store: &Store, events: &[Event]) -> Result<()> {
    crate::sqlite::append_all(store, events, BATCH).await
}

/// Splits events among concurrent callers.
pub(crate) async fn at_once<F>(events: &[Event], callers: usize, call: impl Fn(Vec<Event>) -> F) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for share in events.chunks(events.len().div_ceil(callers)) {
        tasks.spawn(call(share.to_vec()));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}
