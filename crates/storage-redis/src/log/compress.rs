//! Reading entries whose events are compressed, and training the dictionary that they are compressed with.

use std::sync::Arc;

use domain::{Event, StorageFailure};
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    client::{failure::unexpected_reply, reply::text},
    engine::partition::Partition,
    log::{
        compression::{Dictionary, packed, unpack},
        samples::{Sample, scrubbed},
        walk::LogWalk,
    },
};

/// Events that a dictionary is trained on.
const SAMPLES: usize = 1_000;
/// Most bytes of a dictionary.
const DICTIONARY_BYTES: usize = 64 * 1024;

/// An event to learn from. Only an entity says whom it is about.
fn sample(event: &Event) -> Sample {
    let key = event.ordering_key();
    let is_entity = event.entities().any(|(kind, id)| kind == key.kind && id == key.id);
    Sample { owner: is_entity.then(|| key.to_string()), json: event.json().to_owned() }
}

/// Does something with every text of an event in answers that hold entries of the log.
fn each_text(value: &mut Value, act: &mut impl FnMut(&mut Vec<u8>)) {
    let Value::Array(parts) = value else { return };
    let mut is_event = false;
    for part in parts {
        // A text follows its name.
        let names_event = !is_event && text(part) == Some("event");
        match part {
            Value::BulkString(bytes) if is_event => act(bytes),
            part => each_text(part, act),
        }
        is_event = names_event;
    }
}

impl Partition {
    /// Sends commands that are answered with entries of the log, perhaps among others; the texts of the events unpacked.
    /// One that cannot be is left as it is: its reader finds it damaged.
    pub(crate) async fn read_entries(&self, commands: &Pipeline) -> Result<Vec<Value>, StorageFailure> {
        let mut answers = self.link().read_all(commands).await?;
        if !self.compression().is_on() {
            return Ok(answers);
        }
        let mut unknown = false;
        for answer in &mut answers {
            each_text(answer, &mut |bytes| {
                let number = packed(bytes).map_or(0, |(number, _)| number);
                unknown |= number > 0 && self.compression().find(number).is_none();
            });
        }
        if unknown {
            self.read_dictionaries().await?;
        }
        let mut dictionary: Option<Arc<Dictionary>> = None;
        for answer in &mut answers {
            each_text(answer, &mut |bytes| {
                let Some((number, frame)) = packed(bytes) else { return };
                if dictionary.as_ref().map_or(0, |known| known.number) != number {
                    dictionary = self.compression().find(number);
                }
                let right = dictionary.as_deref().filter(|known| known.number == number);
                if (number == 0 || right.is_some())
                    && let Some(text) = unpack(frame, right)
                {
                    *bytes = text;
                }
            });
        }
        Ok(answers)
    }

    /// Learns the dictionaries that there are; whether there are any.
    async fn read_dictionaries(&self) -> Result<bool, StorageFailure> {
        let mut command = cmd("HGETALL");
        command.arg(self.dictionaries());
        let found: Vec<(u16, Vec<u8>)> = FromRedisValue::from_redis_value(self.link().read(&command).await?)
            .map_err(|_| unexpected_reply("the dictionaries of compression"))?;
        for (number, bytes) in &found {
            if self.compression().find(*number).is_none() {
                self.compression().learn(*number, bytes);
            }
        }
        Ok(!found.is_empty())
    }

    fn dictionaries(&self) -> String {
        self.keys().named("zdict")
    }

    /// Sees to it that there is a dictionary, once there are events to train it on. What fails here is done by a later
    /// append.
    pub(crate) async fn train(&self, appended: u64) {
        if !self.compression().looks_after(appended) {
            return;
        }
        if let Err(failure) = self.look_or_train().await {
            tracing::warn!(%failure, "no dictionary for compression could be made; a later append tries again");
        }
    }

    async fn look_or_train(&self) -> Result<(), StorageFailure> {
        if self.read_dictionaries().await? {
            return Ok(());
        }
        let state = self.state().await?;
        if state.events < SAMPLES as u64 {
            return Ok(());
        }
        let (mut samples, mut walk) = (Vec::with_capacity(SAMPLES), LogWalk::new(self, state.head).await?);
        while samples.len() < SAMPLES
            && let Some(found) = walk.next(self).await?
        {
            samples
                .extend(found.into_iter().filter_map(|entry| entry.event.ok()).map(|event| sample(&event)));
        }
        samples.truncate(SAMPLES);
        let trained = tokio::task::spawn_blocking(move || {
            zstd::dict::from_samples(&scrubbed(&samples), DICTIONARY_BYTES)
        });
        let trained = trained.await.map_err(|error| StorageFailure::Other(error.to_string()))?;
        let dictionary = trained.map_err(|error| StorageFailure::Other(error.to_string()))?;
        // Where another was quicker, that one's is used.
        let keys = [self.keys().meta(), self.dictionaries()];
        self.link().call("make", &keys, &[b"1", dictionary.as_slice()]).await?;
        self.read_dictionaries().await.map(|_| ())
    }
}
