//! The dictionary of a partition: finds ids in it, and grows it.

use std::time::Duration;

use domain::{StorageFailure, ports::engine::IdState};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    client::{failure::unexpected_reply, reply::text},
    engine::{keys::Digest, partition::Partition},
    index::dictionary::{Posted, Scan},
};

/// The average number of fields of a bucket at which one is split. The compact encoding of a bucket ends at 128.
const FILL: u64 = 48;
/// The number of buckets that are split in one step.
const SPLIT_AT_ONCE: u32 = 16;
/// The number of ids that one round trip looks up.
const IDS_AT_ONCE: usize = 1_000;

/// Returns the state of an id from its value in the dictionary. None if there is no value.
pub(crate) fn id_state(value: &Value) -> Result<Option<IdState>, StorageFailure> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(bytes) => match Posted::read(bytes) {
            Posted::Id(sequence) => Ok(Some(IdState::Stored(sequence))),
            Posted::Erased => Ok(Some(IdState::Erased)),
            _ => Err(unexpected_reply("the place of an id")),
        },
        _ => Err(unexpected_reply("the place of an id")),
    }
}

/// The dictionary of a partition.
pub(crate) struct Dictionary<'p> {
    partition: &'p Partition,
}

impl<'p> Dictionary<'p> {
    pub(crate) fn of(partition: &'p Partition) -> Self {
        Self { partition }
    }

    /// Starts a walk over the whole dictionary.
    pub(crate) async fn walk(&self) -> Result<Scan, StorageFailure> {
        Ok(Scan::of(&self.partition.state().await?))
    }

    /// Returns the values of digests in the dictionary: none, a sequence, or the mark of an erased id.
    pub(crate) async fn values_of(&self, digests: &[Digest]) -> Result<Vec<Value>, StorageFailure> {
        for _ in 0..100 {
            let known = self.partition.known();
            let mut pipeline = Pipeline::with_capacity(digests.len() + 1);
            for digest in digests {
                let bucket = self.partition.keys().bucket(digest.bucket(known.level, known.split));
                pipeline.cmd("HGET").arg(bucket).arg(&digest.0[..]);
            }
            // Read last, so that a split that moved a value meanwhile is noticed.
            pipeline.cmd("HMGET").arg(self.partition.keys().meta()).arg(&["level", "split"][..]);
            let mut answers = self.partition.link().read_all(&pipeline).await?;
            let now = answers.pop().ok_or_else(|| unexpected_reply("the dictionary"))?;
            let (level, split): (u32, u32) =
                FromRedisValue::from_redis_value(now).map_err(|_| unexpected_reply("the dictionary"))?;
            if (level, split) == (known.level, known.split) {
                return Ok(answers);
            }
            self.partition.last().set_buckets(level, split);
        }
        Err(StorageFailure::Busy { waited: Duration::ZERO })
    }

    /// Returns the states of ids. None for an id that is not in the dictionary.
    pub(crate) async fn locate(&self, ids: &[&str]) -> Result<Vec<Option<IdState>>, StorageFailure> {
        let mut found = Vec::with_capacity(ids.len());
        for ids in ids.chunks(IDS_AT_ONCE) {
            let digests: Vec<Digest> = ids.iter().map(|id| Digest::of_id(id)).collect();
            for value in self.values_of(&digests).await? {
                found.push(id_state(&value)?);
            }
        }
        Ok(found)
    }

    /// Splits buckets of the dictionary if it has grown. After a failure the next append tries again.
    pub(crate) async fn grow(&self, fields: u64) {
        let mut known = self.partition.known();
        while fields > FILL * ((1 << known.level) + u64::from(known.split)) {
            let keys = self.partition.keys();
            let mut names = vec![keys.meta()];
            let last = (1u32 << known.level).min(known.split + SPLIT_AT_ONCE);
            for bucket in known.split..last {
                names.push(keys.bucket(bucket));
                names.push(keys.bucket(bucket + (1 << known.level)));
            }
            let args = [known.level.to_string(), known.split.to_string()];
            let answer = self.partition.link().call("split", &names, &args).await;
            let learned = match &answer {
                Ok(Value::Array(parts)) => match parts.as_slice() {
                    [what, Value::Int(level), Value::Int(split)] if text(what) == Some("ok") => {
                        self.partition.last().set_buckets(*level as u32, *split as u32);
                        Ok(())
                    }
                    [what, rest @ ..] if text(what) == Some("moved") => self.partition.learn_moved(rest),
                    _ => Err(unexpected_reply("a split")),
                },
                Ok(_) => Err(unexpected_reply("a split")),
                Err(failure) => Err(failure.clone()),
            };
            if let Err(failure) = learned {
                tracing::warn!(%failure, "the dictionary could not be grown; the next append tries again");
                return;
            }
            known = self.partition.known();
        }
    }
}

/// Returns those sequences that are in a list. `spelled` gives the form of a sequence in the list.
pub(crate) async fn in_list(
    partition: &Partition,
    list: &str,
    sequences: &[u64],
    spelled: impl Fn(u64) -> u64,
) -> Result<Vec<u64>, StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(sequences.len());
    for sequence in sequences {
        pipeline.cmd("LPOS").arg(list).arg(spelled(*sequence));
    }
    let answers = partition.link().read_all(&pipeline).await?;
    let found = sequences.iter().zip(answers).filter(|(_, answer)| *answer != Value::Nil);
    Ok(found.map(|(sequence, _)| *sequence).collect())
}
