//! Writes events as lines of text that are safe on a terminal and have the same meaning.
//!
//! # Constraints
//! A published event may contain raw line breaks between its tokens, which would split a line. Its strings may contain
//! characters that control a terminal. Both are rewritten without a change of the JSON value: a line break between
//! tokens becomes a space, a dangerous character becomes its `\uXXXX` escape. All other bytes are copied as published.
//!
//! # Design
//! In valid JSON, line breaks occur only between tokens. Characters that are not ASCII, and DEL, occur only in strings.
//! So one scan over the bytes suffices, without a parser. Text that needs no change is found block by block and copied.

use std::io::Write as _;

use domain::{
    Event, StoredEvent,
    delivery::{Delivery, DeliveryOrigin},
    ports::ReplayDelivery,
};
use jiff::Timestamp;

/// The number of bytes in one step of the scan.
const BLOCK: usize = 64;

/// Appends an event as one line, without the line feed.
pub fn write_event(event: &Event, out: &mut Vec<u8>) {
    push_safe_json(event.json(), out);
}

/// Appends a stored event as one line, without the line feed:
/// `{"event":{…},"position":"0:17","storedAt":"…","replayCount":0}`.
pub fn write_stored(stored: &StoredEvent, out: &mut Vec<u8>) {
    push_stored_members(stored, out);
    out.push(b'}');
}

/// Appends a replayed event as one line, without the line feed: a stored event with a `replay` object added.
///
/// The `replayCount` of the stored event is the count before this replay. The count in the `replay` object includes it.
pub fn write_replayed(delivery: &ReplayDelivery, out: &mut Vec<u8>) {
    push_stored_members(&delivery.stored, out);
    push_replay(
        &delivery.stored,
        &delivery.replay_id,
        delivery.replay_timestamp,
        delivery.replay_count(),
        out,
    );
    out.push(b'}');
}

/// Appends a delivery to a group as one line, without the line feed: a stored event. If the delivery comes from a
/// replay, a `replay` object is added.
pub fn write_delivered(delivery: &Delivery, out: &mut Vec<u8>) {
    push_delivered_members(delivery, out);
    out.push(b'}');
}

/// Appends a delivery to a group as one line, without the line feed, as [`write_delivered`] does. Adds the identity of
/// the delivery: `"delivery":{"group":"…","attempt":1}`. Attempts count from 1. For a redriven dead letter, the object
/// also contains its id as `deadLetter`.
pub fn write_delivery(delivery: &Delivery, out: &mut Vec<u8>) {
    push_delivered_members(delivery, out);
    out.extend_from_slice(br#","delivery":{"group":""#);
    push_string_content(&delivery.group, out);
    out.extend_from_slice(br#"","attempt":"#);
    push_number(delivery.attempt.into(), out);
    if let DeliveryOrigin::Redrive { dead_letter } = &delivery.origin {
        out.extend_from_slice(br#","deadLetter":""#);
        push_string_content(dead_letter, out);
        out.push(b'"');
    }
    out.extend_from_slice(b"}}");
}

fn push_delivered_members(delivery: &Delivery, out: &mut Vec<u8>) {
    push_stored_members(&delivery.stored, out);
    if let Some(replay) = delivery.replay() {
        push_replay(&delivery.stored, &replay.replay_id, replay.replay_timestamp, replay.replay_count, out);
    }
}

fn push_replay(stored: &StoredEvent, replay_id: &str, at: Timestamp, count: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","replay":{"isReplay":true,"replayId":""#);
    push_string_content(replay_id, out);
    out.extend_from_slice(br#"","originalTimestamp":""#);
    push_timestamp(stored.event.timestamp(), out);
    out.extend_from_slice(br#"","replayTimestamp":""#);
    push_timestamp(at, out);
    out.extend_from_slice(br#"","replayCount":"#);
    push_number(count.into(), out);
    out.push(b'}');
}

fn push_stored_members(stored: &StoredEvent, out: &mut Vec<u8>) {
    out.reserve(stored.event.size_bytes() + 128);
    out.extend_from_slice(br#"{"event":"#);
    write_event(&stored.event, out);
    out.extend_from_slice(br#","position":""#);
    push_number(stored.position.partition.into(), out);
    out.push(b':');
    push_number(stored.position.sequence, out);
    out.extend_from_slice(br#"","storedAt":""#);
    push_timestamp(stored.stored_at, out);
    out.extend_from_slice(br#"","replayCount":"#);
    push_number(stored.replay_count.into(), out);
}

/// Appends valid JSON text as one line that is safe on a terminal. The line parses to the same value.
///
/// Carriage returns and line feeds between tokens become spaces. DEL, the C1 controls, the line and paragraph
/// separators and the bidirectional controls inside strings become `\uXXXX`.
///
/// ```
/// let mut line = Vec::new();
/// event_replay_targets::push_safe_json("{\"a\":\n\"x\u{202e}y\"}", &mut line);
/// assert_eq!(line, br#"{"a": "x\u202ey"}"#);
/// ```
pub fn push_safe_json(json: &str, out: &mut Vec<u8>) {
    let mut rest = json;
    out.reserve(rest.len());
    loop {
        let clean = clean_prefix(rest.as_bytes());
        // The prefix ends before an ASCII character or before the first byte of another character, so it ends at a
        // boundary.
        let (plain, suspicious) = rest.split_at_checked(clean).unwrap_or((rest, ""));
        out.extend_from_slice(plain.as_bytes());
        let mut characters = suspicious.chars();
        let Some(character) = characters.next() else { return };
        push_character(character, out);
        rest = characters.as_str();
    }
}

fn push_character(character: char, out: &mut Vec<u8>) {
    match character {
        '\r' | '\n' => out.push(b' '),
        _ if is_dangerous(character) => push_escape(character, out),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// Returns the number of first bytes that need no change for certain.
fn clean_prefix(bytes: &[u8]) -> usize {
    // Each block is checked as a whole, without a branch for each byte. This compiles to vector instructions.
    let mut blocks = bytes.chunks_exact(BLOCK);
    let mut clean = 0;
    for block in &mut blocks {
        if block.iter().fold(0, |found, byte| found | u8::from(is_suspicious(*byte))) != 0 {
            break;
        }
        clean += BLOCK;
    }
    let rest = bytes.get(clean..).unwrap_or_default();
    clean + rest.iter().position(|byte| is_suspicious(*byte)).unwrap_or(rest.len())
}

/// Returns whether a byte is or starts a character that must be checked. The first bytes of most scripts pass.
fn is_suspicious(byte: u8) -> bool {
    // U+0080–U+009F start with C2, U+061C starts with D8, and the other dangerous characters start with E2.
    (byte == b'\r') | (byte == b'\n') | (byte == 0x7f) | (byte == 0xc2) | (byte == 0xd8) | (byte == 0xe2)
}

/// Returns whether a terminal or a line reader may interpret a character instead of showing it.
fn is_dangerous(character: char) -> bool {
    matches!(character,
        '\u{7f}'..='\u{9f}'
        | '\u{61c}'
        | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}')
}

/// Appends a character as an escape. Every dangerous character is in the Basic Multilingual Plane, so one escape is
/// enough.
fn push_escape(character: char, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let code = u32::from(character);
    out.extend_from_slice(b"\\u");
    for shift in [12, 8, 4, 0] {
        out.push(HEX[(code >> shift & 0xf) as usize]);
    }
}

/// Appends text as the content of a JSON string.
fn push_string_content(text: &str, out: &mut Vec<u8>) {
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend_from_slice(&[b'\\', character as u8]),
            '\0'..='\u{1f}' => push_escape(character, out),
            _ => push_character(character, out),
        }
    }
}

fn push_timestamp(timestamp: Timestamp, out: &mut Vec<u8>) {
    // A write to memory cannot fail.
    let _ = write!(out, "{timestamp}");
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
