//! The head: an event's envelope as bytes that stores keep beside its JSON, so that a read never parses JSON.
//!
//! # Format (versions 1 and 2; numbers are unsigned LEB128 unless a width is given)
//! ```text
//! u8   version = 1, or 2 where the publisher set delivery options
//! u32  CRC-32 (IEEE) of the JSON and then of all that follows here, little endian
//! i64  timestamp, seconds of the Unix epoch, little endian
//!      nanoseconds of that second
//!      ordering key: 0 the id, 1 the correlation id, 2 + i the entity i
//!      spans of id, type, version, source
//!      span of correlation id + 1, or 0; likewise of causation id
//!      number of entities, then for each the spans of kind and id
//!      version 2: priority (0 to 3) + 4 if an error handler published it; retries + 1, or 0;
//!                 u8 whether it expires, then i64 seconds, little endian, and nanoseconds
//! ...  the tail: the rest, decoded strings that the JSON spells with escapes
//! ```
//! A span is a start and a length in bytes. It points into the JSON followed by the tail. Optional spans write their
//! start plus one. The decoder does not trust a head: it checks every span and the checksum.

use jiff::Timestamp;
use thiserror::Error;

use super::{DeliveryOptions, EntitySpan, Envelope, Event, Span, varint};
use crate::ordering::KeySource;

const VERSION: u8 = 1;
/// Version of a head that holds delivery options.
const WITH_OPTIONS: u8 = 2;
/// Offset of the bytes after the version and the checksum.
const BODY: usize = 5;
/// Fewest bytes of an entity: four numbers of one byte each. With this bound, a damaged count cannot cause a large
/// allocation.
const MIN_ENTITY_BYTES: u64 = 4;

/// Errors of [`decode`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HeadError {
    /// A newer program wrote the head.
    #[error("the event's head is of version {0}; this program reads up to {WITH_OPTIONS}")]
    Version(u8),
    /// The bytes of the head are not a valid head.
    #[error("the event's head is damaged")]
    Damaged,
    /// The checksum does not match.
    #[error("the event's bytes differ from the written bytes (checksum mismatch)")]
    Checksum,
}

/// Returns the head of an event.
pub fn encode(event: &Event) -> Vec<u8> {
    let envelope = event.envelope();
    let tail = event.tail();
    let mut out = Vec::with_capacity(64 + tail.len());
    let version = if envelope.options.is_default() { VERSION } else { WITH_OPTIONS };
    out.extend_from_slice(&[version, 0, 0, 0, 0]);
    put_timestamp(&mut out, envelope.timestamp);
    varint::put(&mut out, key_code(envelope.key));
    for span in [envelope.id, envelope.event_type, envelope.version, envelope.source] {
        put_span(&mut out, span);
    }
    for span in [envelope.correlation_id, envelope.causation_id] {
        match span {
            Some(Span { start, len }) => put_span(&mut out, Span { start: start + 1, len }),
            None => out.push(0),
        }
    }
    varint::put(&mut out, envelope.entities.len() as u64);
    for entity in envelope.entities.iter() {
        put_span(&mut out, entity.kind);
        put_span(&mut out, entity.id);
    }
    if version == WITH_OPTIONS {
        put_options(&mut out, &envelope.options);
    }
    out.extend_from_slice(tail.as_bytes());
    let sum = checksum(event.json(), &out[BODY..]);
    out[BODY - 4..BODY].copy_from_slice(&sum.to_le_bytes());
    out
}

/// Rebuilds an event from its JSON and its head. A `String` is used as it is, without a copy.
///
/// # Errors
/// Returns [`HeadError`] when the version of the head is unknown, the head is damaged, or the checksum does not
/// match.
///
/// ```
/// use event_replay_domain::{Document, Limits, event::head};
/// let json = br#"{"id":"e1","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{}}"#;
/// let event = Document::parse(json, &Limits::default()).unwrap().into_event().unwrap();
/// let again = head::decode(event.json(), &head::encode(&event)).unwrap();
/// assert_eq!((again.id(), again.json()), ("e1", event.json()));
/// ```
pub fn decode(json: impl Into<String>, head: &[u8]) -> Result<Event, HeadError> {
    let mut text: String = json.into();
    let (&version, rest) = head.split_first().ok_or(HeadError::Damaged)?;
    if version != VERSION && version != WITH_OPTIONS {
        return Err(HeadError::Version(version));
    }
    let (written, rest) = rest.split_first_chunk::<4>().ok_or(HeadError::Damaged)?;
    if checksum(&text, rest) != u32::from_le_bytes(*written) {
        return Err(HeadError::Checksum);
    }
    let (envelope, tail) = take_envelope(version, rest).ok_or(HeadError::Damaged)?;
    let json_len = text.len();
    text.push_str(tail);
    if !spans(&envelope).all(|span| text.get(span.range()).is_some()) {
        return Err(HeadError::Damaged);
    }
    Ok(Event::from_parts(text.into_boxed_str(), json_len, envelope))
}

fn take_envelope(version: u8, mut rest: &[u8]) -> Option<(Envelope, &str)> {
    let bytes = &mut rest;
    let timestamp = take_timestamp(bytes)?;
    let key = key_source(varint::take(bytes)?)?;
    let [id, event_type, event_version, source] =
        [take_span(bytes)?, take_span(bytes)?, take_span(bytes)?, take_span(bytes)?];
    let correlation_id = take_optional_span(bytes)?;
    let causation_id = take_optional_span(bytes)?;
    let count = varint::take(bytes).filter(|count| *count <= bytes.len() as u64 / MIN_ENTITY_BYTES)?;
    let entities = (0..count)
        .map(|_| Some(EntitySpan { kind: take_span(bytes)?, id: take_span(bytes)? }))
        .collect::<Option<_>>()?;
    let options = if version == WITH_OPTIONS { take_options(bytes)? } else { DeliveryOptions::default() };
    let tail = std::str::from_utf8(bytes).ok()?;
    let envelope = Envelope {
        timestamp,
        id,
        event_type,
        version: event_version,
        source,
        correlation_id,
        causation_id,
        entities,
        key,
        options,
    };
    Some((envelope, tail))
}

fn spans(envelope: &Envelope) -> impl Iterator<Item = Span> {
    let fixed = [envelope.id, envelope.event_type, envelope.version, envelope.source];
    let optional = [envelope.correlation_id, envelope.causation_id];
    let entities = envelope.entities.iter().flat_map(|entity| [entity.kind, entity.id]);
    fixed.into_iter().chain(optional.into_iter().flatten()).chain(entities)
}

fn checksum(json: &str, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(json.as_bytes());
    hasher.update(body);
    hasher.finalize()
}

fn key_code(key: KeySource) -> u64 {
    match key {
        KeySource::Id => 0,
        KeySource::Correlation => 1,
        KeySource::Entity(at) => 2 + u64::from(at),
    }
}

fn key_source(code: u64) -> Option<KeySource> {
    match code {
        0 => Some(KeySource::Id),
        1 => Some(KeySource::Correlation),
        at => u16::try_from(at - 2).ok().map(KeySource::Entity),
    }
}

fn put_timestamp(out: &mut Vec<u8>, timestamp: Timestamp) {
    let nanos = timestamp.as_nanosecond();
    // A timestamp lies within the years -9999 to 9999, so its seconds fit.
    out.extend_from_slice(&(nanos.div_euclid(1_000_000_000) as i64).to_le_bytes());
    varint::put(out, nanos.rem_euclid(1_000_000_000) as u64);
}

fn take_timestamp(bytes: &mut &[u8]) -> Option<Timestamp> {
    let (seconds, after) = bytes.split_first_chunk::<8>()?;
    *bytes = after;
    let nanos = i32::try_from(varint::take(bytes)?).ok()?;
    Timestamp::new(i64::from_le_bytes(*seconds), nanos).ok()
}

fn put_options(out: &mut Vec<u8>, options: &DeliveryOptions) {
    out.push(options.flags());
    varint::put(out, options.retries.map_or(0, |retries| u64::from(retries) + 1));
    out.push(u8::from(options.expires_at.is_some()));
    if let Some(expiry) = options.expires_at {
        put_timestamp(out, expiry);
    }
}

fn take_options(bytes: &mut &[u8]) -> Option<DeliveryOptions> {
    let mut options = DeliveryOptions::from_flags(varint::take(bytes)?)?;
    options.retries = match varint::take(bytes)?.checked_sub(1) {
        Some(retries) => Some(u16::try_from(retries).ok()?),
        None => None,
    };
    options.expires_at = match varint::take(bytes)? {
        0 => None,
        _ => Some(take_timestamp(bytes)?),
    };
    Some(options)
}

fn put_span(out: &mut Vec<u8>, span: Span) {
    varint::put(out, u64::from(span.start));
    varint::put(out, u64::from(span.len));
}

fn take_span(bytes: &mut &[u8]) -> Option<Span> {
    let start = u32::try_from(varint::take(bytes)?).ok()?;
    let len = u32::try_from(varint::take(bytes)?).ok()?;
    Some(Span { start, len })
}

fn take_optional_span(bytes: &mut &[u8]) -> Option<Option<Span>> {
    let start = u32::try_from(varint::take(bytes)?).ok()?;
    let Some(start) = start.checked_sub(1) else { return Some(None) };
    let len = u32::try_from(varint::take(bytes)?).ok()?;
    Some(Some(Span { start, len }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Document, Limits, Priority};

    fn event() -> Event {
        let json = r#"{"id":"e\u0031","type":"t","version":"1","timestamp":"0001-01-01T00:00:00.000000001Z","source":"s",
            "correlationId":"c","causationId":null,"user\u0049d":"ü\n","labId":"l","metadata":{}}"#;
        let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
        event.with_key_source(KeySource::Entity(1))
    }

    #[test]
    fn a_head_brings_back_the_whole_event() {
        let event = event();
        let again = decode(event.json(), &encode(&event)).unwrap();
        assert_eq!(again.envelope(), event.envelope());
        assert_eq!(again.id(), "e1");
        assert_eq!(again.entities().collect::<Vec<_>>(), [("user", "ü\n"), ("lab", "l")]);
        assert_eq!(again.ordering_key().to_string(), "lab=l");
        assert_eq!(again.timestamp().to_string(), "0001-01-01T00:00:00.000000001Z");
    }

    #[test]
    fn delivery_options_come_back_and_leave_the_content_alone() {
        let expires_at = Some("2024-01-15T10:30:00.25Z".parse().unwrap());
        let options = DeliveryOptions {
            priority: Priority::Critical,
            expires_at,
            retries: Some(0),
            reports_error: true,
        };
        let event = event().with_options(options);
        let again = decode(event.json(), &encode(&event)).unwrap();
        assert_eq!(again.options(), options);
        assert_eq!(again.envelope(), event.envelope());
        assert!(again.same_content(&self::event()));
    }

    #[test]
    fn any_flipped_bit_is_found() {
        let options = DeliveryOptions { retries: Some(7), ..DeliveryOptions::default() };
        for event in [event(), event().with_options(options)] {
            flip_every_bit(&event);
        }
    }

    fn flip_every_bit(event: &Event) {
        let head = encode(event);
        for at in 0..head.len() * 8 {
            let mut damaged = head.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            assert!(decode(event.json(), &damaged).is_err(), "bit {at}");
        }
        let json = event.json().replacen("\"s\"", "\"z\"", 1);
        assert_eq!(decode(json, &head).err(), Some(HeadError::Checksum));
    }
}
