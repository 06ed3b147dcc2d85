//! An estimate of the memory that a namespace takes. An exact answer would read every key and block the server.
//!
//! A few chunks of the log are measured with all their keys, and the rest is extrapolated. In the same way, some
//! events of each such chunk stand for the dictionary. Data in single keys is measured directly. Each round trip reads
//! so little that other callers do not notice.

use domain::{
    StorageFailure,
    ports::engine::{Space, SpaceKind},
};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        keys::{CHUNK, Digest},
        partition::Partition,
        state::State,
    },
    index::short,
    log::entries::{entries, range},
};

/// The number of chunks that are measured.
const CHUNKS: usize = 4;
/// The number of lists of a chunk that are measured.
const LISTS: usize = 1_000;
/// The sample for the dictionary: places in a chunk, and events at each place. `EVENT_BYTES` bounds the average total
/// size of the sampled events of a chunk.
const PLACES: u64 = 10;
const EVENTS: u64 = 10;
const EVENT_BYTES: u64 = 256 * 1024;
/// The number of parts of a large key that the server samples.
const PARTS: usize = 100;
/// The data in single keys, beside the rows without a scope.
const SINGLE: [&str; 7] = ["meta", "chunks", "zdict", "holes", "unscrubbed", "pending", "runs"];

/// Returns about how many bytes of memory the namespace takes: log, indexes, runs, dictionary, and the rows without a
/// scope. Rows of groups, replays and minutes are few and are not counted. None if this user may not ask.
pub(crate) async fn bytes(store: &Partition) -> Result<Option<u64>, StorageFailure> {
    match measure(store, &store.state().await?).await {
        Err(StorageFailure::Denied(_) | StorageFailure::Other(_)) => Ok(None),
        measured => measured.map(Some),
    }
}

async fn measure(store: &Partition, state: &State) -> Result<u64, StorageFailure> {
    let (keys, chunks) = (store.keys(), spread(&store.chunks().await?));
    let mut pipeline = Pipeline::new();
    for chunk in &chunks {
        pipeline.cmd("XLEN").arg(keys.log(*chunk));
        for key in [keys.log(*chunk), keys.directory(*chunk), keys.replayed(*chunk)] {
            usage(&mut pipeline, &key);
        }
        pipeline.cmd("HLEN").arg(keys.directory(*chunk));
        // A scan of a small hash returns all of it. A scan of a large hash returns about the requested number of
        // fields.
        pipeline.cmd("HSCAN").arg(keys.directory(*chunk)).arg(0).arg("COUNT").arg(LISTS);
    }
    for name in SINGLE {
        usage(&mut pipeline, &keys.named(name));
    }
    for kind in SpaceKind::ALL {
        usage(&mut pipeline, &keys.space(&Space::of(*kind)));
    }
    let mut answers = store.link().read_all(&pipeline).await?.into_iter();
    let mut answer = || answers.next().ok_or_else(|| unexpected_reply("a measure"));
    let mut measured = Vec::new();
    for chunk in &chunks {
        let events = number(&answer()?);
        let own = number(&answer()?) + number(&answer()?) + number(&answer()?);
        let lists = number(&answer()?);
        let (_, names): (String, Vec<(String, String)>) =
            FromRedisValue::from_redis_value(answer()?).map_err(|_| unexpected_reply("a directory"))?;
        measured.push((*chunk, events, own, lists, names));
    }
    let single: u64 = answers.map(|answer| number(&answer)).sum();

    let mut pipeline = Pipeline::new();
    for (chunk, .., names) in &measured {
        names.iter().for_each(|(name, _)| usage(&mut pipeline, &keys.long(*chunk, name)));
    }
    let mut lists = store.link().read_all(&pipeline).await?.into_iter();
    let (mut bytes, mut events) = (0.0, 0);
    for (_, in_chunk, own, count, names) in &measured {
        let of_lists: u64 = lists.by_ref().take(names.len()).map(|answer| number(&answer)).sum();
        bytes += *own as f64 + of_lists as f64 * ratio(*count, names.len() as u64);
        events += in_chunk;
    }
    let log = bytes * ratio(state.events, events);
    let lengths: Vec<(u64, u64)> = measured.iter().map(|(chunk, events, ..)| (*chunk, *events)).collect();
    let dictionary = dictionary(store, state, &lengths).await?;
    Ok(single + runs(store).await? + (log + dictionary) as u64)
}

/// Returns the bytes of the runs. All of them are measured, since they are few.
async fn runs(store: &Partition) -> Result<u64, StorageFailure> {
    let (_, manifest) = short::ground(store).await?;
    let mut pipeline = Pipeline::new();
    for run in &manifest.0 {
        usage(&mut pipeline, &run.key(store.keys()));
    }
    Ok(store.link().read_all(&pipeline).await?.iter().map(number).sum())
}

/// Estimates the bytes of the dictionary from some events of these chunks, given as pairs of chunk and number of
/// events. The probability that a sample meets a bucket grows with the ids in it. So each bucket counts by its bytes
/// for each field.
async fn dictionary(store: &Partition, state: &State, chunks: &[(u64, u64)]) -> Result<f64, StorageFailure> {
    let keys = store.keys();
    let most = EVENT_BYTES * state.events / state.bytes.max(1) / PLACES;
    let mut pipeline = Pipeline::new();
    for (chunk, events) in chunks {
        for place in 0..PLACES {
            let from = chunk * CHUNK + events * place / PLACES;
            let mut command = range(&keys.log(*chunk), from, "+");
            command.arg("COUNT").arg(most.clamp(1, EVENTS));
            pipeline.add_command(command);
        }
    }
    let mut events = Vec::new();
    for answer in store.read_entries(&pipeline).await? {
        events.extend(entries(answer)?.into_iter().filter_map(|entry| entry.event.ok()));
    }
    let mut pipeline = Pipeline::new();
    for event in &events {
        let bucket = keys.bucket(Digest::of_id(event.id()).bucket(state.level, state.split));
        pipeline.cmd("HLEN").arg(&bucket);
        usage(&mut pipeline, &bucket);
    }
    let buckets = store.link().read_all(&pipeline).await?;
    let field = |pair: &[Value]| match pair {
        [fields, bytes] => ratio(number(bytes), number(fields)),
        _ => 0.0,
    };
    let fields: f64 = buckets.chunks(2).map(field).sum();
    Ok(fields / events.len().max(1) as f64 * state.fields as f64)
}

fn usage(pipeline: &mut Pipeline, key: &str) {
    pipeline.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(PARTS);
}

/// Returns the number of an answer, and 0 for a missing key.
fn number(answer: &Value) -> u64 {
    match answer {
        Value::Int(number) => u64::try_from(*number).unwrap_or(0),
        _ => 0,
    }
}

/// Divides one number by another. Returns 0 if the divisor is 0.
fn ratio(of: u64, each: u64) -> f64 {
    if each == 0 { 0.0 } else { of as f64 / each as f64 }
}

/// Selects some of the chunks, evenly from the first to the last.
fn spread(chunks: &[u64]) -> Vec<u64> {
    let (count, last) = (CHUNKS.min(chunks.len()), chunks.len().saturating_sub(1));
    let picked = (0..count).map(|n| n * last / (count - 1).max(1));
    picked.filter_map(|at| chunks.get(at).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_picked_from_the_first_to_the_last() {
        for (chunks, picked) in [
            (&[][..], &[][..]),
            (&[7], &[7]),
            (&[7, 9], &[7, 9]),
            (&[1, 2, 3, 4], &[1, 2, 3, 4]),
            (&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], &[0, 3, 6, 9]),
        ] {
            assert_eq!(spread(chunks), picked);
        }
    }
}
