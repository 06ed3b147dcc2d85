//! Merges adjacent runs, so that a look-up reads few runs in a log of any length. Also drops runs without remaining
//! events. The process with the fold or removal that made a merge due performs it in the background.
//!
//! Runs have classes by their size. Each class is four times as large as the one before. When the newest four runs are
//! of one class or below it, they become one run. So an entry is written once for each class, and a class has at most
//! three runs.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use domain::StorageFailure;
use redis::{FromRedisValue, Pipeline, Value, cmd};
use tokio::task::JoinSet;

use crate::{
    client::{failure::unexpected_reply, optimistic_retry::OptimisticRetry, reply::text},
    engine::{keys::CHUNK, partition::Partition},
    index::runs::{self, Manifest, REACH, Run, RunId},
};

/// The least number of runs that are merged.
const FAN: usize = 4;
/// The largest number of entries of a merged run.
const MOST_ENTRIES: u64 = 1 << 20;
/// The number of bytes of a run that one call reads or writes.
const PIECE: usize = 256 * 1024;

/// The merges of one partition's runs.
#[derive(Debug, Default)]
pub(crate) struct Merging {
    tasks: Mutex<JoinSet<()>>,
    is_running: Arc<AtomicBool>,
}

impl Merging {
    /// Starts the merges that are due, unless merges are already running.
    pub(crate) fn begin(&self, partition: Partition) {
        if self.is_running.swap(true, Ordering::AcqRel) {
            return;
        }
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        let is_running = self.is_running.clone();
        tasks.spawn(async move {
            if let Err(failure) = all_due(&partition).await {
                tracing::debug!(%failure, "runs of the index were not merged; a later fold tries again");
            }
            is_running.store(false, Ordering::Release);
        });
    }

    /// Stops the running merges.
    pub(crate) async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        self.is_running.store(false, Ordering::Release);
    }
}

/// The work that is due on adjacent runs.
#[derive(Debug, PartialEq, Eq)]
enum Due<'m> {
    Merge(&'m [RunId]),
    Drop(&'m [RunId]),
}

async fn all_due(partition: &Partition) -> Result<(), StorageFailure> {
    loop {
        let ground = Ground::read(partition).await?;
        let is_done = match due(&ground.manifest, ground.first) {
            None => return Ok(()),
            Some(Due::Drop(gone)) => replace(partition, &ground.removals, gone, None).await?,
            Some(Due::Merge(group)) => merge(partition, &ground, group).await?,
        };
        if !is_done {
            return Ok(());
        }
    }
}

/// Drops runs without remaining events. If other removals interfere, it tries again.
pub(crate) async fn drop_gone(partition: &Partition) -> Result<(), StorageFailure> {
    let mut tries = OptimisticRetry::new();
    loop {
        let ground = Ground::read(partition).await?;
        let Some(Due::Drop(gone)) = due(&ground.manifest, ground.first) else { return Ok(()) };
        if !replace(partition, &ground.removals, gone, None).await? {
            tries.again().await?;
        }
    }
}

/// The facts for a decision.
struct Ground {
    /// The number of pages of events that were ever removed.
    removals: String,
    /// The key of a run that was begun and not finished.
    begun: Option<String>,
    /// The log has no event before this sequence.
    first: u64,
    manifest: Manifest,
}

impl Ground {
    async fn read(partition: &Partition) -> Result<Self, StorageFailure> {
        let keys = partition.keys();
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("HMGET").arg(keys.meta()).arg(&["removals", "making"][..]);
        // The list of runs is read before the chunks. Otherwise it could have a newer run with a chunk that is not
        // among these chunks.
        pipeline.cmd("GET").arg(keys.manifest());
        pipeline.cmd("ZRANGE").arg(keys.chunks()).arg(0).arg(0);
        let answers = partition.link().read_all(&pipeline).await?;
        let [state, listed, chunks] = answers.as_slice() else {
            return Err(unexpected_reply("the list of runs"));
        };
        let first: Vec<u64> =
            FromRedisValue::from_redis_value(chunks.clone()).map_err(|_| unexpected_reply("the chunks"))?;
        let (removals, making): (Option<String>, Option<String>) =
            FromRedisValue::from_redis_value(state.clone()).map_err(|_| unexpected_reply("the state"))?;
        Ok(Self {
            removals: removals.unwrap_or_else(|| "0".to_owned()),
            begun: making.and_then(|making| Some(making.rsplit_once(' ')?.0.to_owned())),
            first: first.first().map_or(u64::MAX, |chunk| chunk * CHUNK),
            manifest: Manifest::read_answer(listed)?,
        })
    }
}

/// Returns the work that is due, in a log without events before the sequence `first`.
fn due(manifest: &Manifest, first: u64) -> Option<Due<'_>> {
    let runs = manifest.0.as_slice();
    let gone = runs.iter().take_while(|run| run.through < first).count();
    if gone > 0 {
        return runs.get(..gone).map(Due::Drop);
    }
    let last = runs.last()?;
    let (mut entries, mut from) = (0, runs.len());
    for (at, run) in runs.iter().enumerate().rev() {
        entries += u64::from(run.entries);
        let fits = class(run) <= class(last) && last.through - run.base < REACH && entries <= MOST_ENTRIES;
        if !fits {
            break;
        }
        from = at;
    }
    (runs.len() - from >= FAN).then(|| runs.get(from..).map(Due::Merge))?
}

fn class(run: &RunId) -> u32 {
    u64::from(run.entries).max(1).ilog(FAN as u64)
}

/// Merges runs into one. Returns whether this was done: not if events were removed or runs were merged meanwhile.
async fn merge(partition: &Partition, ground: &Ground, group: &[RunId]) -> Result<bool, StorageFailure> {
    let removals = ground.removals.as_str();
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(false) };
    let mut entries = Vec::new();
    for run in group {
        let Some(bytes) = read(partition, run).await? else { return Ok(false) };
        let Some(own) = runs::entries(run, &bytes) else { return Ok(false) };
        entries.extend(own);
    }
    let run = Run::of(first.base, last.through, entries);
    if run.id.entries == 0 {
        return replace(partition, removals, group, None).await;
    }
    let key = run.id.key(partition.keys());
    let mut given_up = ground.begun.clone().unwrap_or_else(|| key.clone());
    let len = run.bytes.len().to_string();
    for (at, piece) in run.bytes.chunks(PIECE).enumerate() {
        let from = (at * PIECE).to_string();
        let names = [partition.keys().meta(), key.clone(), std::mem::replace(&mut given_up, key.clone())];
        let args = [removals.as_bytes(), len.as_bytes(), from.as_bytes(), piece];
        if !is_ok(&partition.link().call("write_run", &names, &args).await?)? {
            return Ok(false);
        }
    }
    replace(partition, removals, group, Some(&run.id)).await
}

/// Reads a whole run, piece by piece. None if the run no longer exists.
pub(crate) async fn read(partition: &Partition, run: &RunId) -> Result<Option<Vec<u8>>, StorageFailure> {
    let (key, mut bytes) = (run.key(partition.keys()), Vec::with_capacity(run.len()));
    while bytes.len() < run.len() {
        let mut command = cmd("GETRANGE");
        command.arg(&key).arg(bytes.len()).arg(bytes.len() + PIECE - 1);
        let Value::BulkString(piece) = partition.link().read(&command).await? else {
            return Err(unexpected_reply("a run"));
        };
        if piece.is_empty() {
            return Ok(None);
        }
        bytes.extend(piece);
    }
    Ok(Some(bytes))
}

/// Replaces runs by one run, or by none. Returns whether this was done.
async fn replace(
    partition: &Partition,
    removals: &str,
    others: &[RunId],
    run: Option<&RunId>,
) -> Result<bool, StorageFailure> {
    let keys = partition.keys();
    let Some(first) = others.first() else { return Ok(false) };
    let mut names = vec![keys.meta(), keys.manifest(), run.unwrap_or(first).key(keys)];
    names.extend(others.iter().map(|other| other.key(keys)));
    let bytes = run.map_or(0, RunId::len).to_string();
    let listed: Vec<u8> = others.iter().flat_map(RunId::listed).collect();
    let new = run.map_or_else(Vec::new, |run| run.listed().to_vec());
    let args = [removals.as_bytes().to_vec(), bytes.into_bytes(), listed, new];
    is_ok(&partition.link().call("merge", &names, &args).await?)
}

/// Returns whether a function did its work.
fn is_ok(answer: &Value) -> Result<bool, StorageFailure> {
    match answer {
        Value::Array(parts) => Ok(parts.first().and_then(text) == Some("ok")),
        _ => Err(unexpected_reply("a merge")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(base: u64, through: u64, entries: u32) -> RunId {
        RunId { base, through, entries, bits: 0, bytes: 0 }
    }

    #[test]
    fn four_runs_of_a_class_are_merged_with_what_is_smaller_between_them() {
        let mut manifest = Manifest((0..3).map(|n| run(n * 100, n * 100 + 100, 2_500)).collect());
        assert_eq!(due(&manifest, 0), None);
        manifest.0.push(run(300, 310, 30));
        assert_eq!(due(&manifest, 0), None);
        manifest.0.push(run(310, 400, 2_400));
        assert_eq!(due(&manifest, 0), Some(Due::Merge(&manifest.0[..])));
        manifest.0.insert(0, run(0, 0, 50_000));
        assert_eq!(due(&manifest, 0), Some(Due::Merge(&manifest.0[1..])));
    }

    #[test]
    fn no_run_becomes_too_large_or_reaches_too_far() {
        let large = Manifest((0..9).map(|n| run(n, n + 1, MOST_ENTRIES as u32 / 3)).collect());
        assert_eq!(due(&large, 0), None);
        let far = Manifest((0..4).map(|n| run(n * REACH, n * REACH + 1, 2_500)).collect());
        assert_eq!(due(&far, 0), None);
    }

    #[test]
    fn runs_before_the_first_event_are_dropped() {
        let manifest = Manifest(vec![run(0, 10, 5), run(10, 20, 5), run(20, 30, 5)]);
        assert_eq!(due(&manifest, 21), Some(Due::Drop(&manifest.0[..2])));
        assert_eq!(due(&manifest, u64::MAX), Some(Due::Drop(&manifest.0[..])));
    }
}
