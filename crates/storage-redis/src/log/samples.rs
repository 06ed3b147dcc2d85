//! Samples for a compression dictionary, without personal data.
//!
//! A dictionary outlives the events on which it was trained, including events that are erased later. So the dictionary
//! must hold no data of a single person. Text that programs write recurs with people who are unrelated to each other:
//! names of members, states, names of browsers. Such text is kept. Random characters of the same kind replace all
//! other text, so the dictionary still learns the form of ids, numbers and times.

use std::collections::{HashMap, HashSet};

use fastrand::Rng;

/// Members of the event itself with values that programs choose, not people.
const KEPT: [&str; 3] = ["type", "source", "version"];
/// A member name is kept if at least one of this many samples has it. A rarer name may be personal data.
const RARE: usize = 50;
/// A value is kept if this many unrelated owners have it.
const OWNERS: usize = 20;
/// A value with more consecutive digits than this counts as a personal number.
const DIGITS: usize = 8;

/// An event for the training.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The entity that the event is about. None: the event names no entity, and none of its values counts as shared.
    pub(crate) owner: Option<String>,
    /// Its JSON.
    pub(crate) json: String,
}

/// A piece of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'t> {
    /// The name of a member with its depth. The event's own members have depth 1.
    Name(&'t str, usize),
    /// A text value.
    Text(&'t str),
    /// Anything else: numbers, punctuation, spaces.
    Other(&'t str),
}

/// The parts that samples share.
#[derive(Default)]
struct Common<'t> {
    /// How many samples have a member with this name.
    names: HashMap<&'t str, usize>,
    /// The owners that have this value in a member with this name.
    values: HashMap<(&'t str, &'t str), HashSet<&'t str>>,
    samples: usize,
}

impl<'t> Common<'t> {
    fn of(samples: &'t [Sample]) -> Self {
        let mut common = Self { samples: samples.len(), ..Self::default() };
        for sample in samples {
            let mut own = HashSet::new();
            let mut name = "";
            for piece in pieces(&sample.json) {
                match piece {
                    Piece::Name(next, _) => {
                        name = next;
                        own.insert(name);
                    }
                    Piece::Text(text) => {
                        if let Some(owner) = &sample.owner {
                            common.values.entry((name, text)).or_default().insert(owner);
                        }
                    }
                    Piece::Other(_) => {}
                }
            }
            for name in own {
                *common.names.entry(name).or_default() += 1;
            }
        }
        common
    }

    fn has_name(&self, name: &str) -> bool {
        self.names.get(name).is_some_and(|count| count * RARE >= self.samples)
    }

    /// Returns whether a value has enough owners to identify none of them. Name and value include their quotes.
    fn has_value(&self, name: &str, value: &str) -> bool {
        let is_id = name.ends_with("Id\"") || name == "\"id\"";
        let digits = value.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
        !is_id
            && digits <= DIGITS
            && !value.contains('@')
            && self.values.get(&(name, value)).is_some_and(|owners| owners.len() >= OWNERS)
    }
}

/// Returns the samples with replacements for everything that few of them share. The form stays: common names, lengths
/// in characters, punctuation.
pub(crate) fn scrubbed(samples: &[Sample]) -> Vec<Vec<u8>> {
    let (common, mut random) = (Common::of(samples), Rng::with_seed(samples.len() as u64));
    samples.iter().map(|sample| scrub(&sample.json, &common, &mut random)).collect()
}

fn scrub(sample: &str, common: &Common<'_>, random: &mut Rng) -> Vec<u8> {
    let mut out = Vec::with_capacity(sample.len());
    let (mut name, mut kept) = ("", false);
    for piece in pieces(sample) {
        match piece {
            Piece::Name(next, depth) => {
                name = next;
                kept = depth == 1 && KEPT.contains(&name.trim_matches('"'));
                match common.has_name(name) {
                    true => out.extend_from_slice(name.as_bytes()),
                    false => hide(name, random, &mut out),
                }
            }
            Piece::Text(text) if kept || common.has_value(name, text) => {
                out.extend_from_slice(text.as_bytes());
            }
            Piece::Text(text) => hide(text, random, &mut out),
            // `true`, `false` and `null` identify no person and stay. Digits may identify a person.
            Piece::Other(text) => out.extend(text.bytes().map(|b| match b {
                b'0'..=b'9' => random.u8(b'0'..=b'9'),
                other => other,
            })),
        }
        // Only a text that directly follows its name is kept, not a nested one.
        kept &= !matches!(piece, Piece::Other(text) if text.contains(['{', '[', ',']));
    }
    out
}

/// Replaces letters and digits by random ones of the same kind. A character outside ASCII becomes a letter.
fn hide(text: &str, random: &mut Rng, out: &mut Vec<u8>) {
    let is_hexadecimal = text.bytes().all(|b| !b.is_ascii_alphabetic() || matches!(b, b'a'..=b'f'));
    out.extend(text.chars().map(|c| match c {
        '0'..='9' | 'a'..='f' if is_hexadecimal && text.contains(char::is_alphabetic) => {
            random.choice(b"0123456789abcdef").copied().unwrap_or(b'0')
        }
        c if c.is_ascii_digit() => random.u8(b'0'..=b'9'),
        c if c.is_ascii_uppercase() => random.u8(b'A'..=b'Z'),
        c if c.is_ascii_punctuation() || c == ' ' => c as u8,
        _ => random.u8(b'a'..=b'z'),
    }));
}

/// Splits a text that is valid JSON into pieces.
fn pieces(json: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest, mut depth) = (Vec::new(), json, 0usize);
    while !rest.is_empty() {
        let quote = rest.find('"').unwrap_or(rest.len());
        let (other, from) = rest.split_at(quote);
        for byte in other.bytes() {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if !other.is_empty() {
            pieces.push(Piece::Other(other));
        }
        let (quoted, after) = from.split_at(end_of_text(from));
        if !quoted.is_empty() {
            let is_name = after.trim_start().starts_with(':');
            pieces.push(if is_name { Piece::Name(quoted, depth) } else { Piece::Text(quoted) });
        }
        rest = after;
    }
    pieces
}

/// Returns the end of the text that begins here with a quote.
fn end_of_text(from: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in from.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    from.len()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    fn sample(owner: usize, json: &str) -> Sample {
        Sample { owner: Some(format!("user={owner}")), json: json.to_owned() }
    }

    /// Returns the text with every letter as `x` or `X` and every digit as `0`, except in these words.
    fn form(scrubbed: &[u8], words: &[&str]) -> String {
        let text = std::str::from_utf8(scrubbed).unwrap();
        let plain = |c: char| match c {
            '0'..='9' => '0',
            'a'..='z' => 'x',
            'A'..='Z' => 'X',
            other => other,
        };
        let (mut out, mut at) = (String::new(), 0);
        while at < text.len() {
            let word = words.iter().find(|word| text[at..].starts_with(**word));
            let len = word.map_or(1, |word| word.len());
            out.extend(text[at..at + len].chars().map(|c| if word.is_some() { c } else { plain(c) }));
            at += len;
        }
        out
    }

    #[test]
    fn values_are_hidden_and_form_is_kept() {
        let json = r#"{ "type": "user.registered", "id":"e-17","data":{"type":"Ann","n":[12.5,true],"ä\"":"\u00e4\\"}}"#;
        let samples = vec![sample(1, json); 30];
        let names = ["\"type\"", "user.registered", "\"id\"", "\"data\"", "\"n\"", "true"];
        for scrubbed in scrubbed(&samples) {
            let text = String::from_utf8(scrubbed).unwrap();
            assert!(!text.contains("Ann") && !text.contains("12.5"), "{text}");
            let text = text.replace("\"ä\\\"\"", "\"?\"");
            assert!(text.starts_with(r#"{ "type": "user.registered", "id":"#), "{text}");
            let form = form(text.as_bytes(), &names);
            assert!(form.contains(r#""data":{"type":"Xxx","n":["#) && form.contains(",true],"), "{form}");
        }
    }

    #[test]
    fn what_many_have_is_kept_and_what_one_has_often_is_not() {
        let json = |owner: usize| {
            format!(
                r#"{{"userId":"user-{owner}","adminId":"admin-1","status":"active","mail":"me@example.com","phone":"+49170123456789","city":"{}"}}"#,
                if owner < OWNERS { "Berlin" } else { "Bern" }
            )
        };
        // One of the owners has very many events.
        let owners = (0..OWNERS + 5).chain(std::iter::repeat_n(OWNERS + 1, 300));
        let samples: Vec<Sample> = owners.map(|owner| sample(owner, &json(owner))).collect();
        let all: Vec<u8> = scrubbed(&samples).concat();
        let text = String::from_utf8(all).unwrap();
        for kept in ["\"status\":\"active\"", "\"city\":\"Berlin\""] {
            assert!(text.contains(kept), "{kept}");
        }
        for hidden in ["Bern\"", "me@example.com", "+49170123456789", "admin-1\""] {
            assert!(!text.contains(hidden), "{hidden}");
        }
    }

    #[test]
    fn of_events_without_entities_no_value_counts_as_shared() {
        let samples = vec![Sample { owner: None, json: r#"{"status":"active"}"#.to_owned() }; 300];
        assert!(scrubbed(&samples).iter().all(|one| !one.ends_with(b"\"active\"}")));
    }

    #[test]
    fn a_name_that_few_samples_have_is_hidden_too() {
        let mut samples = vec![sample(1, r#"{"a":1}"#); 200];
        samples.push(sample(1, r#"{"a":{"ann@example.com":1}}"#));
        let scrubbed = scrubbed(&samples);
        assert_eq!(form(&scrubbed[0], &["a"]), r#"{"a":0}"#);
        assert_eq!(form(&scrubbed[200], &["\"a\""]), r#"{"a":{"xxx@xxxxxxx.xxx":0}}"#);
    }
}
