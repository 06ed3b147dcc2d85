//! Appending: in batches, by many concurrent callers, and one event at a time.

use std::{sync::Arc, time::Instant};

use anyhow::{Context, Result};
use bus::Bus;
use domain::ports::{Atomicity, EventStore};
use tokio::runtime::Runtime;

use super::{BATCH, append_all, at_once, bare::Bare, server, store};
use crate::{
    measure::{Bench, Target, timed},
    sqlite::events,
};

const CALLERS: usize = 64;

pub(super) fn run(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    batches(bench, runtime)?;
    longest(bench, runtime)?;
    callers(bench, runtime)?;
    awaited(bench, runtime)
}

fn batches(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "redis append, batches of 100";
    if !bench.wants(name) {
        return Ok(());
    }
    const COUNT: u64 = 50_000;
    let all = events(COUNT * bench.rounds() as u64)?;
    let (theirs, ours) = runtime.block_on(async { anyhow::Ok((server().await?, server().await?)) })?;
    let mut bare = runtime.block_on(Bare::connect(&theirs))?;
    let store = runtime.block_on(store(&ours))?;
    let (mut left, mut right) = (all.chunks(COUNT as usize), all.chunks(COUNT as usize));
    bench.row(
        name,
        "XADD, pipelines of 100",
        COUNT,
        &Target::Ratio(0.35),
        || {
            let events = left.next().context("no events left")?;
            timed(|| runtime.block_on(bare.add_all(events, BATCH)))
        },
        || {
            let events = right.next().context("no events left")?;
            timed(|| runtime.block_on(append_all(&store, events)))
        },
    )?;
    Ok(())
}

/// Measures how long one call of 200 events blocks the server.
fn longest(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "redis append, one call of 200 events";
    if !bench.wants(name) {
        return Ok(());
    }
    let all = events(100_000)?;
    let text = runtime.block_on(async {
        let server = server().await?;
        let (mut bare, store) = (Bare::connect(&server).await?, store(&server).await?);
        let (first, rest) = all.split_at(20_000);
        append_all(&store, first).await?;
        bare.ask(redis::cmd("CONFIG").arg("RESETSTAT")).await?;
        for batch in rest.chunks(200) {
            store.append(batch, Atomicity::Each).await?;
        }
        let answer = bare.ask(redis::cmd("INFO").arg("latencystats")).await?;
        anyhow::Ok(redis::FromRedisValue::from_redis_value(answer)?)
    })?;
    let text: String = text;
    let line = text.lines().find_map(|line| line.strip_prefix("latency_percentiles_usec_fcall:"));
    let line = line.context("the server keeps no percentiles")?;
    bench.figures(name, &format!("server time in µs: {line} (target: p99 ≤ 3000)"), "–", "–");
    Ok(())
}

fn callers(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "redis append, 64 callers of one event each";
    if !bench.wants(name) {
        return Ok(());
    }
    const COUNT: u64 = 32_000;
    let all = events(COUNT * bench.rounds() as u64)?;
    let (theirs, ours) = runtime.block_on(async { anyhow::Ok((server().await?, server().await?)) })?;
    let bare = runtime.block_on(Bare::connect(&theirs))?;
    let store = runtime.block_on(store(&ours))?;
    let bus = runtime.block_on(Bus::builder(Arc::new(store)).enable_validation(false).build())?;
    let (mut left, mut right) = (all.chunks(COUNT as usize), all.chunks(COUNT as usize));
    bench.row(
        name,
        "64 callers of XADD",
        COUNT,
        &Target::Ratio(0.25),
        || {
            let events = left.next().context("no events left")?;
            timed(|| {
                runtime.block_on(at_once(events, CALLERS, |events| {
                    let mut bare = bare.clone();
                    async move {
                        for event in events {
                            bare.add(&event).await?;
                        }
                        Ok(())
                    }
                }))
            })
        },
        || {
            let events = right.next().context("no events left")?;
            timed(|| {
                runtime.block_on(at_once(events, CALLERS, |events| {
                    let bus = bus.clone();
                    async move {
                        for event in events {
                            bus.publish(event.json().as_bytes()).await?;
                        }
                        Ok(())
                    }
                }))
            })
        },
    )
}

fn awaited(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "redis append, one awaited";
    if !bench.wants(name) {
        return Ok(());
    }
    const COUNT: usize = 3_000;
    let all = events(COUNT as u64 * 2)?;
    let (mut theirs, mut ours) = (Vec::with_capacity(COUNT), Vec::with_capacity(COUNT));
    let p50 = |values: &mut Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    runtime.block_on(async {
        let (their_server, our_server) = (server().await?, server().await?);
        let mut bare = Bare::connect(&their_server).await?;
        let store = store(&our_server).await?;
        for event in all.iter().take(COUNT) {
            let begun = Instant::now();
            bare.add(event).await?;
            theirs.push(begun.elapsed().as_secs_f64() * 1e6);
            let begun = Instant::now();
            store.append(std::slice::from_ref(event), Atomicity::Each).await?;
            ours.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        anyhow::Ok(())
    })?;
    let (theirs, ours) = (p50(&mut theirs), p50(&mut ours));
    bench.figures(
        name,
        &format!("p50 {ours:.0} µs ({:.2} ×, target ≤ 1.5)", ours / theirs),
        "one XADD awaited",
        &format!("p50 {theirs:.0} µs"),
    );
    Ok(())
}
