//! Samples for a dictionary of compression, without what they say of people.

use std::collections::HashMap;

/// Members of the event itself whose values programs choose, not people.
const KEPT: [&str; 3] = ["type", "source", "version"];
/// A member that fewer than one of so many samples has may be named after something of people's.
const RARE: usize = 50;

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

/// The samples with every letter of their values turned into `x` and every digit into `0`, but for what programs choose.
/// Their form stays: names, lengths, punctuation.
pub(crate) fn scrubbed(samples: &[String]) -> Vec<Vec<u8>> {
    let mut names: HashMap<&str, usize> = HashMap::new();
    for sample in samples {
        let mut own: Vec<&str> = pieces(sample)
            .into_iter()
            .filter_map(|piece| match piece {
                Piece::Name(name, _) => Some(name),
                _ => None,
            })
            .collect();
        own.sort_unstable();
        own.dedup();
        for name in own {
            *names.entry(name).or_default() += 1;
        }
    }
    let is_common = |name: &str| names.get(name).is_some_and(|count| count * RARE >= samples.len());
    samples.iter().map(|sample| scrub(sample, is_common)).collect()
}

fn scrub(sample: &str, is_common: impl Fn(&str) -> bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(sample.len());
    let mut kept = false;
    for piece in pieces(sample) {
        match piece {
            Piece::Name(name, depth) => {
                kept = depth == 1 && KEPT.contains(&name.trim_matches('"'));
                if is_common(name) { out.extend_from_slice(name.as_bytes()) } else { hide(name, &mut out) }
            }
            Piece::Text(text) if kept => out.extend_from_slice(text.as_bytes()),
            Piece::Text(text) => hide(text, &mut out),
            // `true`, `false` and `null` say little; digits may say who.
            Piece::Other(text) => out.extend(text.bytes().map(|b| if b.is_ascii_digit() { b'0' } else { b })),
        }
        // What is kept is a text that follows its name, not one deeper.
        kept &= !matches!(piece, Piece::Other(text) if text.contains(['{', '[', ',']));
    }
    out
}

/// Letters become `x`, digits `0`, and what is beyond ASCII `x` too.
fn hide(text: &str, out: &mut Vec<u8>) {
    out.extend(text.chars().map(|c| match c {
        c if c.is_ascii_digit() => b'0',
        c if c.is_ascii_punctuation() || c == ' ' => c as u8,
        _ => b'x',
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
    use super::*;

    #[test]
    fn values_are_hidden_and_form_is_kept() {
        let sample = r#"{ "type": "user.registered", "id":"e-17","data":{"type":"Ann","n":[12.5,true],"ä\"":"\u00e4\\"}}"#;
        let samples = vec![sample.to_owned(); 3];
        let scrubbed = scrubbed(&samples).remove(0);
        assert_eq!(
            String::from_utf8_lossy(&scrubbed),
            r#"{ "type": "user.registered", "id":"x-00","data":{"type":"xxx","n":[00.0,true],"ä\"":"\x00x0\\"}}"#
        );
    }

    #[test]
    fn a_name_that_few_samples_have_is_hidden_too() {
        let mut samples = vec![r#"{"a":1}"#.to_owned(); 200];
        samples.push(r#"{"a":{"ann@example.com":1}}"#.to_owned());
        let scrubbed = scrubbed(&samples);
        assert_eq!(scrubbed[0], br#"{"a":0}"#);
        assert_eq!(scrubbed[200], br#"{"a":{"xxx@xxxxxxx.xxx":0}}"#);
    }
}
