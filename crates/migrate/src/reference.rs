//! Migrates the data of the old system from Redis.

use domain::ports::Stores;

use crate::{
    checkpoints,
    comparing::{Compared, Seen},
    differences,
    error::MigrateError,
    index::IndexKey,
    old_event::OldEvent,
    options::{Options, Phase, ProgressCallback},
    report::Report,
    source::{Kind, Source},
    strays,
    taking::{Content, Incoming, Taking},
    time_order::TimeOrder,
};

/// Migrates all data of the old system into a store: events in time order, their replay counts, and checkpoints. It
/// then compares the counts of every index.
///
/// The migration may be interrupted at any time. A new run continues it. A run after a complete run changes nothing. Do
/// not run two migrations at the same time. They store no event twice, but may raise a replay count twice.
///
/// # Errors
/// Returns [`MigrateError::NothingThere`] when the source has no data. Returns another [`MigrateError`] when the source
/// or the target fails. The events that were stored by then stay.
pub async fn migrate(
    source: &Source,
    target: &dyn Stores,
    options: &Options,
    progress: ProgressCallback<'_>,
) -> Result<Report, MigrateError> {
    let mut taking = Taking::begin(target, options).await?;
    let strays = strays::find(source, &mut taking.report, progress).await?;
    let listed = source.events().await?;
    let total = listed + strays.len() as u64;
    let old_checkpoints = source.checkpoints().await?;
    if total == 0 && old_checkpoints.is_empty() {
        return Err(MigrateError::NothingThere(source.layout().events().to_owned()));
    }
    taking.report.without_index = strays.len() as u64;
    take_events(source, &mut taking, TimeOrder::new(source, strays), total, progress).await?;
    checkpoints::take_old(&mut taking, old_checkpoints, progress).await?;
    if !options.dry_run {
        compare(source, &mut taking, progress).await?;
    }
    Ok(taking.report.conclude())
}

async fn take_events(
    source: &Source,
    taking: &mut Taking<'_>,
    mut order: TimeOrder<'_>,
    total: u64,
    progress: ProgressCallback<'_>,
) -> Result<(), MigrateError> {
    let mut batch = order.next().await?;
    while !batch.is_empty() {
        let incoming = readable(source, taking, batch);
        // The next batch is read while this batch is stored.
        let (next, taken) = tokio::join!(order.next(), taking.take(incoming));
        taken?;
        batch = next?;
        progress(Phase::Events, taking.report.found, Some(total));
    }
    Ok(())
}

/// Returns the events of a batch that exist and have a valid id. The others are reported as problems.
fn readable(source: &Source, taking: &mut Taking<'_>, batch: Vec<OldEvent>) -> Vec<Incoming> {
    let mut incoming = Vec::with_capacity(batch.len());
    for old in batch {
        let Some(json) = old.json else {
            taking.report.found += 1;
            taking.report.without_event += 1;
            let detail = format!(
                "the index of time lists it, and there is no event at {}",
                crate::report::shown(&source.layout().event(&old.id))
            );
            taking.report.problem("event", &old.id, "without-event", detail);
            continue;
        };
        let Ok(id) = String::from_utf8(old.id.clone()) else {
            taking.report.found += 1;
            taking.reject(&old.id, "its id is not UTF-8");
            continue;
        };
        if old.replays.is_none() {
            let detail = "its replay count is no number; it is taken as never replayed";
            taking.report.problem("event", &old.id, "replay-count", detail);
        }
        let (replays, last_replay_at) = (old.replays.unwrap_or(0), old.last_replay_at);
        incoming.push(Incoming { id, content: Content::Json(json), replays, last_replay_at });
    }
    incoming
}

/// Compares the size of every sorted set of the old system with the count of the same events in the target.
async fn compare(
    source: &Source,
    taking: &mut Taking<'_>,
    progress: ProgressCallback<'_>,
) -> Result<(), MigrateError> {
    let (mut seen, mut compared, mut cursor) = (Seen::new(), Compared::default(), Some(0));
    while let Some(at) = cursor {
        let (found, next) = source.scan(at).await?;
        cursor = next;
        let (mut redis_keys, mut keys): (Vec<Vec<u8>>, Vec<IndexKey>) = (Vec::new(), Vec::new());
        for (redis_key, _) in found.into_iter().filter(|(_, kind)| *kind == Kind::SortedSet) {
            match source.layout().index(&redis_key) {
                Some(key) if seen.is_new(&key) => {
                    redis_keys.push(redis_key);
                    keys.push(key);
                }
                Some(_) => {}
                None => {
                    let detail =
                        "it is an index that the old system is not known to keep; it was passed over";
                    taking.report.problem("key", &redis_key, "unknown-index", detail);
                }
            }
        }
        let sizes = source.sizes(&redis_keys).await?;
        let pairs: Vec<(IndexKey, u64)> = keys.into_iter().zip(sizes).collect();
        for (at, difference) in compared.compare(taking.target, &pairs).await? {
            taking.report.total_differences += 1;
            let is_told = taking.report.differences.len() < Report::MAX_DIFFERENCES;
            if let (true, Some(redis_key), Some((key, _))) = (is_told, redis_keys.get(at), pairs.get(at)) {
                let filter = key.filter();
                let explained =
                    differences::explained(source, taking.target, redis_key, &filter, difference).await?;
                taking.report.differences.push(explained);
            }
        }
        progress(Phase::Comparing, compared.keys, None);
    }
    compared.tell(&mut taking.report);
    Ok(())
}
