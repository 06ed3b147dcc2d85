//! The memory of a log with all its indexes, by part, compared with a bare stream of the same events.

use std::collections::BTreeMap;

use anyhow::Result;
use domain::Event;
use redis::cmd;
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;
use tokio::runtime::Runtime;

use super::{BATCH, append_all, bare::Bare, info, server};
use crate::{measure::Bench, sqlite::events};

pub(super) fn run(bench: &mut Bench, runtime: &Runtime, count: u64) -> Result<()> {
    let name = "redis memory, all indexes";
    if !bench.wants(name) {
        return Ok(());
    }
    let all = events(count)?;
    let payload: u64 = all.iter().map(|event| event.size_bytes() as u64).sum();
    let bare = runtime.block_on(async {
        let server = server().await?;
        let mut bare = Bare::connect(&server).await?;
        let empty = used(&mut bare).await?;
        bare.add_all(&all, BATCH).await?;
        anyhow::Ok(used(&mut bare).await? - empty)
    })?;
    for compression in [false, true] {
        let (ours, parts) = runtime.block_on(measured(&all, compression))?;
        let of = |bytes: u64| bytes as f64 / payload as f64;
        let with = if compression { "compressed" } else { "as published" };
        bench.figures(
            &format!("{name}, {count} events of {} bytes, {with}", payload / count.max(1)),
            &format!("{:.2} × payload (target ≤ {})", of(ours), if compression { 0.5 } else { 1.3 }),
            "bare stream",
            &format!("{:.2} × payload", of(bare)),
        );
        for (part, bytes) in parts {
            bench.figures(&format!("redis memory, {part}"), &format!("{:.3} × payload", of(bytes)), "–", "–");
        }
    }
    Ok(())
}

async fn measured(all: &[Event], compression: bool) -> Result<(u64, BTreeMap<String, u64>)> {
    let server = server().await?;
    let mut bare = Bare::connect(&server).await?;
    let empty = used(&mut bare).await?;
    let options = RedisOptions { compression, ..RedisOptions::new(server.url()) };
    let store = RedisEngine::create(options).await.map(Store::new)?;
    append_all(&store, all).await?;
    let ours = used(&mut bare).await? - empty;
    Ok((ours, parts(&mut bare).await?))
}

/// Returns `used_memory` of the server, in bytes.
async fn used(bare: &mut Bare) -> Result<u64> {
    Ok(info(bare, "memory", "used_memory").await? as u64)
}

/// Returns the sums of `MEMORY USAGE` of the keys, by part of the layout.
async fn parts(bare: &mut Bare) -> Result<BTreeMap<String, u64>> {
    let (mut cursor, mut parts) = (0u64, BTreeMap::new());
    loop {
        let answer = bare.ask(cmd("SCAN").arg(cursor).arg("COUNT").arg(1000)).await?;
        let (next, keys): (u64, Vec<String>) = redis::FromRedisValue::from_redis_value(answer)?;
        for key in keys {
            let bytes = bare.ask(cmd("MEMORY").arg("USAGE").arg(&key).arg("SAMPLES").arg(0)).await?;
            let bytes: u64 = redis::FromRedisValue::from_redis_value(bytes)?;
            *parts.entry(part_of(&key)).or_insert(0) += bytes;
        }
        cursor = next;
        if cursor == 0 {
            return Ok(parts);
        }
    }
}

fn part_of(key: &str) -> String {
    let name = key.split_once("}:").map_or(key, |(_, name)| name);
    let mut words = name.split(':');
    match (words.next(), words.nth(1)) {
        (Some("ix"), Some("t")) => "index of types".to_owned(),
        (Some("ix"), Some("s")) => "index of sources".to_owned(),
        (Some("ix"), Some("h")) => "index of hours".to_owned(),
        (Some("log"), _) => "log".to_owned(),
        (Some("ix"), Some("e")) => "lists of terms".to_owned(),
        (Some("d"), _) => "dictionary of ids".to_owned(),
        (Some("run"), _) => "runs of terms".to_owned(),
        (other, _) => other.unwrap_or_default().to_owned(),
    }
}
