//! Reading entries whose events are compressed, and training the dictionary that they are compressed with.

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

/// Events that a dictionary is trained on.
const SAMPLES: usize = 1_000;
/// Most bytes of a dictionary.
const DICTIONARY_BYTES: usize = 64 * 1024;
/// Where a head has its checksum and the lower half of its seconds.
const HEAD_OF_ONE: std::ops::Range<usize> = 1..9;

/// An event to learn from. Only an entity says whom it is about.
fn sample(event: &Event) -> Sample {
    let key = event.ordering_key();
    let is_entity = event.entities().any(|(kind, id)| kind == key.kind && id == key.id);
    Sample { owner: is_entity.then(|| key.to_string()), json: event.json().to_owned() }
}

/// The head of a sample as it is packed behind the text. What is one event's alone is replaced by chance: the checksum, and when it
/// happened. A head that may have texts of its own, which JSON spells with escapes, is left out.
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

/// Whether a command is answered with entries alone.
fn is_range(command: &Cmd) -> bool {
    let name = command.args_iter().next();
    name.is_some_and(|name| matches!(name, Arg::Simple(b"XRANGE" | b"XREVRANGE")))
}

impl Partition {
    /// Sends commands that are answered with entries of the log, perhaps among others; the texts of the events unpacked.
    /// One that cannot be is left as it is: its reader finds it damaged.
    pub(crate) async fn read_entries(&self, commands: &Pipeline) -> Result<Vec<Value>, StorageFailure> {
        let mut answers = self.link().read_pages(commands).await?;
        for (answer, command) in answers.iter_mut().zip(commands.cmd_iter()) {
            // What is packed is unpacked below; entries that are not are read from the bytes.
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
        // Where another was quicker, that one's is used.
        let keys = [self.keys().meta(), self.dictionaries()];
        self.link().call("make", &keys, &[b"1", dictionary.as_slice()]).await?;
        self.read_dictionaries().await.map(|_| ())
    }
}
