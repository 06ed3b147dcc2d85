//! Samples for a dictionary of compression, without what they say of people.
//!
//! A dictionary outlives the events it was trained on, also those that are erased: so nothing may stand in it that is one
//! person's. What programs write, such as the names of members, states and the names of browsers, recurs with people who
//! have nothing to do with each other, and is kept; everything else is replaced by chance, character by character, so that
//! the dictionary still learns how ids, numbers and times are spelled.

use std::collections::{HashMap, HashSet};

use fastrand::Rng;

/// Members of the event itself whose values programs choose, not people.
const KEPT: [&str; 3] = ["type", "source", "version"];
/// A member that fewer than one of so many samples has may be named after something of people's.
const RARE: usize = 50;
/// A value is kept once so many who have nothing to do with each other have it.
const OWNERS: usize = 20;
/// A value with more digits in a row is taken for a personal number.
const DIGITS: usize = 8;

/// An event that is learned from.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Whom it is about; none where it names no one: then nothing of it counts as shared.
    pub(crate) owner: Option<String>,
    /// Its JSON.
    pub(crate) json: String,
}

/// A piece of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'t> {
    /// The name of a member, with how deep it is, the event's own being 1.
    Name(&'t str, usize),
    /// A text that is a value.
    Text(&'t str),
    /// Anything else: numbers, marks, spaces.
    Other(&'t str),
}

/// What is common to samples.
#[derive(Default)]
struct Common<'t> {
    /// How many samples have a member of this name.
    names: HashMap<&'t str, usize>,
    /// Who has a value in a member of this name.
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

    /// Whether a value, with its quotes as the name has, says nothing of any one of those who have it.
    fn has_value(&self, name: &str, value: &str) -> bool {
        let is_id = name.ends_with("Id\"") || name == "\"id\"";
        let digits = value.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
        !is_id
            && digits <= DIGITS
            && !value.contains('@')
            && self.values.get(&(name, value)).is_some_and(|owners| owners.len() >= OWNERS)
    }
}

/// The samples, with everything replaced that is not common to many of them. Their form stays: names, lengths, punctuation.
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
            // `true`, `false` and `null` say little; digits may say who.
            Piece::Other(text) => out.extend(text.bytes().map(|b| match b {
                b'0'..=b'9' => random.u8(b'0'..=b'9'),
                other => other,
            })),
        }
        // What is kept is a text that follows its name, not one deeper.
        kept &= !matches!(piece, Piece::Other(text) if text.contains(['{', '[', ',']));
    }
    out
}

/// Replaces letters and digits by others of their kind; what is beyond ASCII becomes a letter.
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

/// Takes a text apart that is known to be JSON.
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

/// Where the text ends that begins here with a quote.
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

    /// With every letter as `x` or `X` and every digit as `0`, but for those of the words.
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
        // One of them has very many events.
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
