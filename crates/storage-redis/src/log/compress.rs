//! Compressed events: an option of a namespace, frozen when it is made.
//!
//! A packed text is a byte 0, with which no JSON begins, the number of its dictionary (two bytes, big endian; 0 for none)
//! and a frame of zstd. What would not become shorter is kept as it is, and so may stand beside what is packed. The hash
//! `zdict` has the dictionaries by number. The first is trained on the first events of the log once there are enough; of
//! their values, which are people's, it holds nothing ([`crate::log::samples`]).

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{Event, StorageFailure};
use redis::{FromRedisValue, Pipeline, Value, cmd};
use zstd::{
    bulk::{Compressor, Decompressor},
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::{CParameter, get_frame_content_size},
};

use crate::{
    client::{failure::unexpected_reply, reply::text},
    engine::partition::Partition,
    log::{
        samples::{Sample, scrubbed},
        walk::LogWalk,
    },
};

/// What a packed text begins with.
const MARK: u8 = 0;
/// Bytes before the frame.
const BEFORE: usize = 3;
/// The level of zstd at which events are packed.
const LEVEL: i32 = 3;
/// Events that a dictionary is trained on.
const SAMPLES: usize = 1_000;
/// Most bytes of a dictionary.
const DICTIONARY_BYTES: usize = 64 * 1024;
/// After so many events of its own a handle without a dictionary looks whether there is one.
const LOOK_EVERY: u64 = 100;
/// No event is longer than this; what claims to be is damaged.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A dictionary, ready for use.
struct Dictionary {
    number: u16,
    packs: EncoderDictionary<'static>,
    unpacks: DecoderDictionary<'static>,
}

/// What a handle knows of the compression of its namespace.
pub(crate) struct Compression {
    on: bool,
    known: Mutex<HashMap<u16, Arc<Dictionary>>>,
    /// Events that were packed without a dictionary since this handle last looked for one.
    without: AtomicU64,
}

impl Compression {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, known: Mutex::default(), without: AtomicU64::new(LOOK_EVERY) }
    }

    fn find(&self, number: u16) -> Option<Arc<Dictionary>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    fn newest(&self) -> Option<Arc<Dictionary>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().max_by_key(|dictionary| dictionary.number).cloned()
    }

    fn learn(&self, number: u16, bytes: &[u8]) {
        let packs = EncoderDictionary::try_copy(bytes, LEVEL);
        let (Ok(packs), Ok(unpacks)) = (packs, DecoderDictionary::try_copy(bytes)) else { return };
        let dictionary = Arc::new(Dictionary { number, packs, unpacks });
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(number, dictionary);
    }

    /// The texts of events as the log is to keep them, in order.
    pub(crate) fn pack<'e>(&self, texts: impl Iterator<Item = &'e str>) -> Vec<Cow<'e, [u8]>> {
        if !self.on {
            return texts.map(|text| Cow::Borrowed(text.as_bytes())).collect();
        }
        let dictionary = self.newest();
        let number = dictionary.as_ref().map_or(0, |dictionary| dictionary.number);
        let mut compressor = match &dictionary {
            Some(dictionary) => Compressor::with_prepared_dictionary(&dictionary.packs),
            None => Compressor::new(LEVEL),
        };
        if let Ok(compressor) = &mut compressor {
            // Which dictionary it is stands before the frame. Where these cannot be set, frames are a little longer.
            let _ = compressor.set_parameter(CParameter::DictIdFlag(false));
            let _ = compressor.set_parameter(CParameter::ContentSizeFlag(true));
        }
        let pack = |text: &'e str| {
            let plain = Cow::Borrowed(text.as_bytes());
            let Ok(compressor) = &mut compressor else { return plain };
            match compressor.compress(text.as_bytes()) {
                Ok(frame) if frame.len() + BEFORE < text.len() => {
                    let [high, low] = number.to_be_bytes();
                    Cow::Owned([&[MARK, high, low][..], &frame].concat())
                }
                _ => plain,
            }
        };
        texts.map(pack).collect()
    }
}

/// The dictionary that a text was packed with, and the frame; none where it was not packed.
fn packed(bytes: &[u8]) -> Option<(u16, &[u8])> {
    match bytes {
        [MARK, high, low, frame @ ..] => Some((u16::from_be_bytes([*high, *low]), frame)),
        _ => None,
    }
}

/// An event to learn from. Only an entity says whom it is about.
fn sample(event: &Event) -> Sample {
    let key = event.ordering_key();
    let is_entity = event.entities().any(|(kind, id)| kind == key.kind && id == key.id);
    Sample { owner: is_entity.then(|| key.to_string()), json: event.json().to_owned() }
}

fn unpack(frame: &[u8], dictionary: Option<&Dictionary>) -> Option<Vec<u8>> {
    let length = get_frame_content_size(frame).ok()??;
    let length = usize::try_from(length).ok().filter(|_| length <= LONGEST)?;
    let decompressor = match dictionary {
        Some(dictionary) => Decompressor::with_prepared_dictionary(&dictionary.unpacks),
        None => Decompressor::new(),
    };
    decompressor.ok()?.decompress(frame, length).ok()
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
        if !self.compression().on {
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
        let compression = self.compression();
        if !compression.on || compression.newest().is_some() {
            return;
        }
        if compression.without.fetch_add(appended, Ordering::Relaxed) + appended < LOOK_EVERY {
            return;
        }
        compression.without.store(0, Ordering::Relaxed);
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    #[test]
    fn a_text_comes_back_as_it_was_packed() {
        let texts: Vec<String> = (0..200)
            .map(|n| format!("{{\"id\":\"{n}\",\"rest\":\"{}\"}}", "as it goes ".repeat(n)))
            .collect();
        let dictionary = zstd::dict::from_samples(&texts, 4_096).unwrap();
        let with = Compression::new(true);
        with.learn(7, &dictionary);
        for compression in [Compression::new(false), Compression::new(true), with] {
            let mut shorter = 0;
            for (text, bytes) in texts.iter().zip(compression.pack(texts.iter().map(String::as_str))) {
                let Some((number, frame)) = packed(&bytes) else {
                    assert_eq!(&*bytes, text.as_bytes());
                    continue;
                };
                shorter += 1;
                assert!(bytes.len() < text.len());
                assert_eq!(unpack(frame, compression.find(number).as_deref()).unwrap(), text.as_bytes());
            }
            assert_eq!(shorter > 100, compression.on);
        }
    }

    #[test]
    fn what_is_no_frame_is_not_unpacked() {
        let whole = zstd::bulk::compress(&[b'a'; 1_000], LEVEL).unwrap();
        for frame in [
            &b""[..],
            b"junk",
            &whole[..whole.len() / 2],
            &[0x28, 0xb5, 0x2f, 0xfd, 0xe0, 255, 255, 255, 255, 255, 255, 255, 255],
        ] {
            assert_eq!(unpack(frame, None), None, "{frame:?}");
        }
    }
}
