//! Operators' checkpoints: a hash from their names to their records.

use async_trait::async_trait;
use domain::{
    Checkpoint, Cursor, StorageFailure,
    ports::{CheckpointStore, CheckpointStoreError},
};
use jiff::Timestamp;
use redis::{FromRedisValue, Value, cmd};
use serde::Deserialize;
use serde_json::Map;

use crate::{
    failure::shape,
    partition::Partition,
    tries::Tries,
    write::{Write, Written, text},
};

/// A checkpoint as its field holds it: the domain's own JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    id: String,
    name: String,
    mark: Cursor,
    last_processed_event_id: String,
    event_count: u64,
    metadata: Map<String, serde_json::Value>,
    created_at: Timestamp,
    hold: bool,
}

impl From<Record> for Checkpoint {
    fn from(record: Record) -> Self {
        let Record { id, name, mark, last_processed_event_id, event_count, metadata, created_at, hold } =
            record;
        Self { id, name, mark, last_processed_event_id, event_count, metadata, created_at, hold }
    }
}

fn decode(json: &str) -> Result<Checkpoint, StorageFailure> {
    let record: Record = serde_json::from_str(json).map_err(|error| {
        StorageFailure::Corrupt(format!("the record of a checkpoint is damaged: {error}"))
    })?;
    Ok(record.into())
}

/// The marks of the checkpoints that hold, each with what it is called.
pub(crate) async fn holding(store: &Partition) -> Result<Vec<(Cursor, String)>, StorageFailure> {
    let all = store.checkpoint_records().await?.into_iter().map(|(_, checkpoint)| checkpoint);
    let holding = all.filter(|checkpoint| checkpoint.hold);
    Ok(holding.map(|checkpoint| (checkpoint.mark, format!("checkpoint {}", checkpoint.name))).collect())
}

impl Partition {
    fn checkpoints_key(&self) -> String {
        self.keys().named("checkpoints")
    }

    /// Every record, as its text and as what it says, the oldest first.
    async fn checkpoint_records(&self) -> Result<Vec<(String, Checkpoint)>, StorageFailure> {
        let answer = self.link().read(cmd("HVALS").arg(self.checkpoints_key())).await?;
        let texts: Vec<String> =
            FromRedisValue::from_redis_value(answer).map_err(|_| shape("checkpoints"))?;
        let records = texts.into_iter().map(|json| decode(&json).map(|checkpoint| (json, checkpoint)));
        let mut records: Vec<_> = records.collect::<Result<_, _>>()?;
        records.sort_by(|(_, one), (_, other)| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        Ok(records)
    }

    /// The record of a name, else of an id.
    async fn checkpoint_record(
        &self,
        name_or_id: &str,
    ) -> Result<Option<(String, Checkpoint)>, StorageFailure> {
        let answer = self.link().read(cmd("HGET").arg(self.checkpoints_key()).arg(name_or_id)).await?;
        match &answer {
            // Ids are asked for seldom, and checkpoints are as many as operators make.
            Value::Nil => {
                let all = self.checkpoint_records().await?;
                Ok(all.into_iter().find(|(_, checkpoint)| checkpoint.id == name_or_id))
            }
            value => {
                let json = text(value).ok_or_else(|| shape("a checkpoint"))?;
                Ok(Some((json.to_owned(), decode(json)?)))
            }
        }
    }

    /// Whether it was done; false where one of the name is there and is not to be replaced.
    async fn save_mark(&self, checkpoint: &Checkpoint, replace: bool) -> Result<bool, StorageFailure> {
        let json =
            serde_json::to_string(checkpoint).map_err(|error| StorageFailure::Other(error.to_string()))?;
        let (key, meta) = (self.checkpoints_key(), self.keys().meta());
        let mut write = Write::new();
        write.fenced();
        if !replace {
            write.if_absent(&key, &checkpoint.name);
        }
        write.hset(&key, &checkpoint.name, json);
        if checkpoint.hold {
            // A trim that is under way has to look at what holds again.
            write.command("HINCRBY", &meta, ("holds", 1));
        }
        let mut tries = Tries::new();
        loop {
            match write.run(self.link(), &meta).await? {
                Written::Done(_) => return Ok(true),
                Written::Refused(_) => return Ok(false),
                Written::Moved => tries.again().await?,
            }
        }
    }

    async fn delete_mark(&self, name_or_id: &str) -> Result<bool, StorageFailure> {
        let (key, meta) = (self.checkpoints_key(), self.keys().meta());
        let mut tries = Tries::new();
        while let Some((json, checkpoint)) = self.checkpoint_record(name_or_id).await? {
            let mut write = Write::new();
            write.fenced().if_is(&key, &checkpoint.name, json);
            if checkpoint.name != name_or_id {
                write.if_absent(&key, name_or_id);
            }
            write.hdel(&key, &checkpoint.name);
            if let Written::Done(_) = write.run(self.link(), &meta).await? {
                return Ok(true);
            }
            tries.again().await?;
        }
        Ok(false)
    }
}

#[async_trait]
impl CheckpointStore for Partition {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        match self.save_mark(&checkpoint, replace).await? {
            true => Ok(()),
            false => Err(CheckpointStoreError::NameTaken(checkpoint.name)),
        }
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        Ok(self.checkpoint_record(name_or_id).await?.map(|(_, checkpoint)| checkpoint))
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        Ok(self.checkpoint_records().await?.into_iter().map(|(_, checkpoint)| checkpoint).collect())
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        Ok(self.delete_mark(name_or_id).await?)
    }
}
