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

use zstd::{
    bulk::{Compressor, Decompressor},
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::{CParameter, get_frame_content_size},
};

/// What a packed text begins with.
const MARK: u8 = 0;
/// Bytes before the frame.
const BEFORE: usize = 3;
/// The level of zstd at which events are packed.
const LEVEL: i32 = 3;
/// After so many events of its own a handle without a dictionary looks whether there is one.
const LOOK_EVERY: u64 = 100;
/// No event is longer than this; what claims to be is damaged.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A dictionary, ready for use.
pub(crate) struct Dictionary {
    pub(crate) number: u16,
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

    /// Whether events are packed at all.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Notes events that were appended; whether it is time to look for a dictionary.
    pub(crate) fn looks_after(&self, appended: u64) -> bool {
        if !self.on || self.newest().is_some() {
            return false;
        }
        if self.without.fetch_add(appended, Ordering::Relaxed) + appended < LOOK_EVERY {
            return false;
        }
        self.without.store(0, Ordering::Relaxed);
        true
    }

    pub(crate) fn find(&self, number: u16) -> Option<Arc<Dictionary>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    pub(crate) fn newest(&self) -> Option<Arc<Dictionary>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.values().max_by_key(|dictionary| dictionary.number).cloned()
    }

    pub(crate) fn learn(&self, number: u16, bytes: &[u8]) {
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
pub(crate) fn packed(bytes: &[u8]) -> Option<(u16, &[u8])> {
    match bytes {
        [MARK, high, low, frame @ ..] => Some((u16::from_be_bytes([*high, *low]), frame)),
        _ => None,
    }
}

/// The text in a frame; none where the frame is damaged or of another dictionary.
pub(crate) fn unpack(frame: &[u8], dictionary: Option<&Dictionary>) -> Option<Vec<u8>> {
    let length = get_frame_content_size(frame).ok()??;
    let length = usize::try_from(length).ok().filter(|_| length <= LONGEST)?;
    let decompressor = match dictionary {
        Some(dictionary) => Decompressor::with_prepared_dictionary(&dictionary.unpacks),
        None => Decompressor::new(),
    };
    decompressor.ok()?.decompress(frame, length).ok()
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
