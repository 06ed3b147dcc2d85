//! A process that consumes a group until its stdin ends or it is killed. The tests kill this process.
//!
//! STORE is a file, or the URL of a store on Redis. The command is `test-consumer STORE GROUP NUMBER EFFECTS [name=…]
//! [lease=MS] [commits=MS] [fault=…]`. The `data` of an event states the action of the handler. Each finished attempt
//! is one line of the file EFFECTS (see `effects`), written before the handler returns. A fault breaks the process on
//! purpose, so that the tests can prove that they detect the fault.

mod effects;
mod handling;
mod passing;
mod stdin;
mod unfenced;
mod watched;

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use bus::{Bus, StartAt};
use domain::{Backoff, ports::Stores};
use storage_redis::{RedisEngine, RedisOptions};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;

use crate::{effects::Effects, handling::Handling, unfenced::Unfenced, watched::Watched};

/// Number of concurrent handlers. The tests use the same number.
const CONCURRENCY: usize = 8;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [store, group, number, effects, options @ ..] = args.as_slice() else {
        return Err(anyhow!("STORE GROUP NUMBER EFFECTS [name=…] [lease=MS] [commits=MS] [fault=…]"));
    };
    let options: HashMap<&str, &str> = options.iter().filter_map(|option| option.split_once('=')).collect();
    let millis = |name: &str, usual: u64| match options.get(name) {
        Some(text) => text.parse().map(Duration::from_millis).with_context(|| name.to_owned()),
        None => Ok(Duration::from_millis(usual)),
    };
    let fault = options.get("fault").copied().unwrap_or_default();
    let effects = Arc::new(Effects::open(effects, number)?);
    let inner = open(store).await?;
    let unfenced = (fault == "drops-fencing").then(|| Unfenced::of(store));
    let watched = Watched::new(inner, Arc::clone(&effects), millis("commits", 0)?, unfenced);
    let handling = Handling { effects, lapses: watched.lapses(), early: fault == "commit-before-handling" };
    let bus = Bus::builder(Arc::new(watched)).enable_validation(false).build().await?;
    let consumer = bus
        .subscribe(group)
        .on_everything(Arc::new(handling))
        .start_at(StartAt::Earliest)
        .concurrency(CONCURRENCY)
        .lease(millis("lease", 1000)?)
        .backoff(Backoff { base: Duration::from_millis(50), cap: Duration::from_millis(200) })
        .named(options.get("name").map_or_else(|| format!("p{number}"), |name| (*name).to_owned()))
        .start()
        .await?;
    stdin::end().await;
    consumer.stop().await?;
    bus.close().await;
    Ok(())
}

fn is_redis(store: &str) -> bool {
    store.contains("://")
}

async fn open(store: &str) -> Result<Arc<dyn Stores>> {
    Ok(if is_redis(store) {
        Arc::new(RedisEngine::create(RedisOptions::new(store)).await.map(Store::new)?)
    } else {
        Arc::new(SqliteEngine::create(SqliteOptions::new(store)).await.map(Store::new)?)
    })
}
