//! Reading: the whole log, one type out of twelve, and a look-up by correlation id.

use std::collections::HashMap;

use anyhow::{Context, Result};
use domain::{Event, Filter, TypePattern};
use tokio::runtime::Runtime;

use super::{BATCH, PAGE, append_all, bare::Bare, server, store, work::Work};
use crate::{
    measure::{Bench, Target, timed},
    reading::{look_up, scan},
    sqlite::events,
};

pub(super) fn run(bench: &mut Bench, runtime: &Runtime, count: u64) -> Result<()> {
    if !["redis read, the log", "redis read, one type", "redis read, a correlation id"]
        .iter()
        .any(|name| bench.wants(name))
    {
        return Ok(());
    }
    let all = events(count)?;
    let (theirs, ours) = runtime.block_on(async { anyhow::Ok((server().await?, server().await?)) })?;
    let mut bare = runtime.block_on(Bare::connect(&theirs))?;
    let store = runtime.block_on(store(&ours))?;
    runtime.block_on(async {
        bare.add_all(&all, BATCH).await?;
        append_all(&store, &all).await
    })?;
    let mut whole = bare.clone();
    let (name, mut bare_work, mut work) = ("redis read, the log, decoded", Work::default(), Work::default());
    bench.row(
        name,
        "XRANGE COUNT 1000",
        count,
        &Target::Ratio(0.8),
        || timed(|| runtime.block_on(bare_work.of(&theirs, whole.read_all()))),
        || timed(|| runtime.block_on(work.of(&ours, scan(&store, Filter::default(), PAGE, count)))),
    )?;
    if bench.wants(name) {
        let of = format!("{name}: processor time an event");
        bench.figures(&of, &work.each(count), "XRANGE COUNT 1000", &bare_work.each(count));
    }
    let (event_type, of_type) = one_of_twelve(&all)?;
    let filter = || Filter { types: vec![TypePattern::new(&event_type)], ..Filter::default() };
    // Both rates count the read events. The yardstick is the share of a full read for the same number of events.
    let one_type = || timed(|| runtime.block_on(scan(&store, filter(), PAGE, of_type)));
    let full = || {
        let took = timed(|| runtime.block_on(scan(&store, Filter::default(), PAGE, count)))?;
        Ok(took.mul_f64(of_type as f64 / count as f64))
    };
    let share = count / of_type.max(1);
    bench.row(
        &format!("redis read, one type (1 of {share})"),
        "our full read, for each event",
        of_type,
        &Target::Ratio(0.4),
        full,
        one_type,
    )?;
    let ids: Vec<&str> = all.iter().step_by(97).filter_map(Event::correlation_id).take(2_000).collect();
    let sample: Vec<Event> = all.iter().take(ids.len()).cloned().collect();
    let (name, mut work) = (format!("redis read, a correlation id of {count} events"), Work::default());
    bench.row(
        &name,
        "one XADD awaited",
        ids.len() as u64,
        &Target::Ratio(0.5),
        || {
            timed(|| {
                runtime.block_on(async {
                    for event in &sample {
                        bare.add(event).await?;
                    }
                    Ok(())
                })
            })
        },
        || timed(|| runtime.block_on(work.of(&ours, look_up(&store, &ids, 10)))),
    )?;
    if bench.wants(&name) {
        bench.figures(&format!("{name}: processor time"), &work.each(ids.len() as u64), "–", "–");
    }
    Ok(())
}

/// Returns the type with a share nearest to one twelfth of all events, and its number of events.
fn one_of_twelve(all: &[Event]) -> Result<(String, u64)> {
    let mut counts: HashMap<&str, u64> = HashMap::new();
    for event in all {
        *counts.entry(event.event_type()).or_default() += 1;
    }
    let twelfth = all.len() as u64 / 12;
    let nearest = counts.into_iter().min_by_key(|(_, count)| count.abs_diff(twelfth));
    let (name, count) = nearest.context("no events")?;
    Ok((name.to_owned(), count))
}
