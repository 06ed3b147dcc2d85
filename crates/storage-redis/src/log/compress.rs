//! Reads entries with compressed events, and trains the dictionary of the compression.

use std::sync::Arc;

use domain::{Event, StorageFailure, event::head};
use redis::{Arg, Cmd, FromRedisValue, Pipeline, Value, cmd};

use crate::{
    client::{failure::unexpected_reply, reply::text, tap},
    engine::partition::Partition,
    log::{
        compression::{Dictionary, packed, unpack},
        samples::{Sample, scrubbed},
        walk::LogWalk,
    },
};

/// The number of events on which a dictionary is trained.
const SAMPLES: usize = 1_000;
/// The largest size of a dictionary, in bytes.
const DICTIONARY_BYTES: usize = 64 * 1024;
/// The bytes of a head with its checksum and the lower half of its seconds.
const HEAD_OF_ONE: std::ops::Range<usize> = 1..9;

/// Returns an event as a sample. The sample has an owner only if the ordering key of the event is an entity.
fn sample(event: &Event) -> Sample {
    let key = event.ordering_key();
    let is_entity = event.entities().any(|(kind, id)| kind == key.kind && id == key.id);
    Sample { owner: is_entity.then(|| key.to_string()), json: event.json().to_owned() }
}

/// Returns the head of a sample in the form in which it is packed behind the JSON. Random bytes replace the parts that
/// are unique to one event: the checksum and the time. Empty if the JSON has escapes, since such a head may contain
/// text of users.
fn head_behind(event: &Event) -> Vec<u8> {
    let mut head = head::encode(event);
    let Some(own) = head.get_mut(HEAD_OF_ONE).filter(|_| !event.json().contains('\\')) else {
        return Vec::new();
    };
    own.iter_mut().for_each(|byte| *byte = fastrand::u8(..));
    let length = (head.len() as u16).to_be_bytes();
    head.extend(length);
    head
}

/// Applies a function to every event text, in answers that hold entries of the log.
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

/// Returns whether the answer of a command has only entries.
fn is_range(command: &Cmd) -> bool {
    let name = command.args_iter().next();
    name.is_some_and(|name| matches!(name, Arg::Simple(b"XRANGE" | b"XREVRANGE")))
}

impl Partition {
    /// Sends commands with entries of the log in their answers, and unpacks the event texts. Other commands may be
    /// among them. A text that cannot be unpacked stays packed, so its reader reports it as damaged.
    pub(crate) async fn read_entries(&self, commands: &Pipeline) -> Result<Vec<Value>, StorageFailure> {
        let mut answers = self.link().read_pages(commands).await?;
        for (answer, command) in answers.iter_mut().zip(commands.cmd_iter()) {
            // Packed events are unpacked below. Entries without packed events are parsed from the raw bytes later.
            if let Some(bytes) =
                tap::bytes_of(answer).filter(|_| self.compression().is_on() || !is_range(command))
            {
                *answer = redis::parse_redis_value(bytes).map_err(|_| unexpected_reply("the log"))?;
            }
        }
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

    /// Loads the dictionaries of the namespace. Returns whether there are any.
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

    /// Ensures that a dictionary exists, once the log has enough events to train it. After a failure a later append
    /// tries again.
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
        let (mut events, mut walk) = (Vec::with_capacity(SAMPLES), LogWalk::new(self, state.head).await?);
        while events.len() < SAMPLES
            && let Some(found) = walk.next(self).await?
        {
            events.extend(found.into_iter().filter_map(|entry| entry.event.ok()));
        }
        events.truncate(SAMPLES);
        let trained = tokio::task::spawn_blocking(move || {
            let mut samples = scrubbed(&events.iter().map(sample).collect::<Vec<_>>());
            for (sample, event) in samples.iter_mut().zip(&events) {
                sample.extend(head_behind(event));
            }
            zstd::dict::from_samples(&samples, DICTIONARY_BYTES)
        });
        let trained = trained.await.map_err(|error| StorageFailure::Other(error.to_string()))?;
        let dictionary = trained.map_err(|error| StorageFailure::Other(error.to_string()))?;
        // If another client was first, its dictionary is used.
        let keys = [self.keys().meta(), self.dictionaries()];
        self.link().call("make", &keys, &[b"1", dictionary.as_slice()]).await?;
        self.read_dictionaries().await.map(|_| ())
    }
}
