//! A walk over all terms of the index, while other clients append, fold, merge and remove.

use domain::StorageFailure;
use redis::{FromRedisValue, cmd};

use crate::{
    client::{failure::unexpected_reply, optimistic_retry::OptimisticRetry},
    engine::{
        keys::{CHUNK, Term},
        partition::Partition,
    },
    index::{
        merge,
        runs::{self, Place, RunId},
        short,
    },
    verify::read_list,
};

/// Passes every pair of a term and a sequence that the index had at the start to `meet`, in any order.
pub(crate) async fn each(
    store: &Partition,
    chunks: &[u64],
    mut meet: impl FnMut(Term, u64),
) -> Result<(), StorageFailure> {
    let (pending, mut manifest) = short::ground(store).await?;
    // Terms that are folded meanwhile were already met here.
    let mark = pending.base().unwrap_or(u64::MAX);
    for (term, sequence) in pending.records.iter().flat_map(|record| &record.postings) {
        meet(*term, *sequence);
    }
    let (mut passed, mut tries) = (0, OptimisticRetry::new());
    while let Some(run) = manifest.0.iter().find(|run| run.through > passed).copied() {
        let Some(bytes) = merge::read(store, &run).await? else {
            // The run no longer exists, because it was merged into another one meanwhile.
            tries.again().await?;
            manifest = short::ground(store).await?.1;
            continue;
        };
        met_in_run(&run, &bytes, &mut |term, sequence| {
            if passed < sequence && sequence <= mark {
                meet(term, sequence);
            }
        })?;
        passed = run.through;
    }
    for chunk in chunks {
        for field in directory(store, *chunk).await? {
            let Some(term) = Term::of_field(&field) else { continue };
            let offsets = read_list(store, &store.keys().long(*chunk, &field)).await?;
            let sequences = offsets.into_iter().map(|offset| chunk * CHUNK + offset);
            sequences.filter(|sequence| *sequence <= mark).for_each(|sequence| meet(term, sequence));
        }
    }
    Ok(())
}

fn met_in_run(run: &RunId, bytes: &[u8], meet: &mut impl FnMut(Term, u64)) -> Result<(), StorageFailure> {
    let entries = runs::entries(run, bytes).ok_or_else(|| {
        StorageFailure::Corrupt(format!(
            "the run of the index from {} to {} cannot be read",
            run.base, run.through
        ))
    })?;
    for (term, place) in entries {
        if let Place::Event(sequence) = place {
            meet(term, sequence);
        }
    }
    Ok(())
}

/// Returns the names of a chunk's lists.
pub(crate) async fn directory(store: &Partition, chunk: u64) -> Result<Vec<String>, StorageFailure> {
    let mut command = cmd("HKEYS");
    command.arg(store.keys().directory(chunk));
    FromRedisValue::from_redis_value(store.link().read(&command).await?)
        .map_err(|_| unexpected_reply("the directory of a chunk"))
}
