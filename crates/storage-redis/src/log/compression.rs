//! Compressed events: an option of a namespace, fixed when the namespace is made.
//!
//! A packed event is a byte 0, the number of its dictionary and a frame of zstd. No JSON begins with a byte 0. The
//! number has two bytes, big endian, and is 0 without a dictionary. The frame holds the JSON, the head, and the length
//! of the head (two bytes, big endian). The field `head` is then empty.
//!
//! An event that would not become shorter is stored unpacked, so packed and unpacked events can be neighbours. A
//! packed text may also lack its head. The hash `zdict` holds the dictionaries by number. The first dictionary is
//! trained on the first events of the log, once there are enough. It holds no values that are personal
//! ([`crate::log::samples`]).

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{Event, event::head};
use zstd::{
    bulk::{Compressor, Decompressor},
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::{CParameter, get_frame_content_size},
};

/// The first byte of a packed text.
const MARK: u8 = 0;
/// The number of bytes before the frame.
const BEFORE: usize = 3;
/// The zstd level for packing.
const LEVEL: i32 = 3;
/// The number of appended events after which a handle without a dictionary looks for one.
const LOOK_EVERY: u64 = 100;
/// The largest length of an event, in bytes. A frame that states a larger one is damaged.
const LONGEST: u64 = 64 * 1024 * 1024;

/// A dictionary, prepared for use.
pub(crate) struct Dictionary {
    pub(crate) number: u16,
    packs: EncoderDictionary<'static>,
    unpacks: DecoderDictionary<'static>,
}

/// The compression of a namespace, as one handle knows it.
pub(crate) struct Compression {
    on: bool,
    known: Mutex<HashMap<u16, Arc<Dictionary>>>,
    /// The number of events that were packed without a dictionary since this handle last looked for one.
    without: AtomicU64,
}

impl Compression {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, known: Mutex::default(), without: AtomicU64::new(LOOK_EVERY) }
    }

    /// Returns whether events are packed at all.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Records appended events. Returns whether it is time to look for a dictionary.
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

    /// Returns the events in the form in which the log stores them, in order.
    pub(crate) fn pack<'e>(&self, events: &[&'e Event]) -> Vec<Fields<'e>> {
        if !self.on {
            return events.iter().map(|event| Fields::of(event)).collect();
        }
        let dictionary = self.newest();
        let number = dictionary.as_ref().map_or(0, |dictionary| dictionary.number);
        let mut compressor = match &dictionary {
            Some(dictionary) => Compressor::with_prepared_dictionary(&dictionary.packs),
            None => Compressor::new(LEVEL),
        };
        if let Ok(compressor) = &mut compressor {
            // The number of the dictionary is before the frame, so the frame omits it. If the parameters cannot be
            // set, frames are a little longer.
            let _ = compressor.set_parameter(CParameter::DictIdFlag(false));
            let _ = compressor.set_parameter(CParameter::ContentSizeFlag(true));
        }
        let pack = |event: &&'e Event| {
            let plain = Fields::of(event);
            let (Ok(compressor), Ok(length)) = (&mut compressor, u16::try_from(plain.head.len())) else {
                return plain;
            };
            let all = [event.json().as_bytes(), &plain.head, &length.to_be_bytes()].concat();
            match compressor.compress(&all) {
                Ok(frame) if frame.len() + BEFORE < event.json().len() => {
                    let [high, low] = number.to_be_bytes();
                    let event = Cow::Owned([&[MARK, high, low][..], &frame].concat());
                    Fields { event, head: Vec::new() }
                }
                _ => plain,
            }
        };
        events.iter().map(pack).collect()
    }
}

/// The fields of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fields<'e> {
    pub(crate) event: Cow<'e, [u8]>,
    pub(crate) head: Vec<u8>,
}

impl<'e> Fields<'e> {
    /// Returns the fields of an event that is not packed.
    fn of(event: &'e Event) -> Self {
        Self { event: Cow::Borrowed(event.json().as_bytes()), head: head::encode(event) }
    }
}

/// Removes the head from the end of unpacked bytes and leaves the JSON. None if the bytes are still packed or have no
/// head.
pub(crate) fn take_head(unpacked: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (rest, length) = unpacked.split_last_chunk::<2>().filter(|(rest, _)| rest.first() != Some(&MARK))?;
    let (json, head) = (rest.len().checked_sub(usize::from(u16::from_be_bytes(*length)))?, rest.len());
    let taken = rest.get(json..head)?.to_vec();
    unpacked.truncate(json);
    Some(taken)
}

/// Returns the dictionary number and the frame of a packed text. None if the text is not packed.
pub(crate) fn packed(bytes: &[u8]) -> Option<(u16, &[u8])> {
    match bytes {
        [MARK, high, low, frame @ ..] => Some((u16::from_be_bytes([*high, *low]), frame)),
        _ => None,
    }
}

/// Returns the content of a frame. None if the frame is damaged or was packed with another dictionary.
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

    use domain::{Document, Limits};

    use super::*;

    fn event(n: usize) -> Event {
        let json = format!(
            r#"{{"id":"e{n}","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},"rest":"{}"}}"#,
            "as it goes ".repeat(n)
        );
        Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
    }

    #[test]
    fn an_event_comes_back_as_it_was_packed() {
        let events: Vec<Event> = (0..200).map(event).collect();
        let texts: Vec<&str> = events.iter().map(Event::json).collect();
        let dictionary = zstd::dict::from_samples(&texts, 4_096).unwrap();
        let with = Compression::new(true);
        with.learn(7, &dictionary);
        for compression in [Compression::new(false), Compression::new(true), with] {
            let mut shorter = 0;
            for (event, fields) in events.iter().zip(compression.pack(&events.iter().collect::<Vec<_>>())) {
                let Some((number, frame)) = packed(&fields.event) else {
                    assert_eq!(fields, Fields::of(event));
                    continue;
                };
                shorter += 1;
                assert!(fields.event.len() < event.json().len());
                assert!(fields.head.is_empty());
                let mut unpacked = unpack(frame, compression.find(number).as_deref()).unwrap();
                assert_eq!(take_head(&mut unpacked), Some(head::encode(event)));
                assert_eq!(unpacked, event.json().as_bytes());
            }
            assert_eq!(shorter > 100, compression.on);
        }
    }

    #[test]
    fn no_head_is_taken_off_what_has_none() {
        for odd in [&b""[..], b"a", &[0, 0, 1, 0, 0], b"{}\0\x03", b"{}\xff\xff"] {
            let mut bytes = odd.to_vec();
            assert_eq!((take_head(&mut bytes), bytes.as_slice()), (None, odd));
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
