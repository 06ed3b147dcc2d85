//! Names that are hard to distinguish: separators, patterns, control characters, prefixes of each other, names with
//! equal concatenations, and different notations of one UUID.

use std::collections::BTreeSet;

/// Parts of names. Some of them also occur in the keys of a store on Redis.
const PIECES: &[&str] = &[
    ":",
    "{",
    "}",
    "{x}",
    "*",
    "?",
    "[",
    "]",
    "\\",
    "\r",
    "\n",
    "\r\n",
    "\u{1b}[2J",
    "\u{80}",
    "\u{85}",
    "\u{9b}31m",
    "\u{202e}",
    "\u{2066}",
    "\u{feff}",
    "a",
    "A",
    "ab",
    "bc",
    "c",
    " ",
    "\t",
    "\u{1}",
    "\u{7f}",
    "ä",
    "a\u{308}",
    "0",
    "00",
    "1",
    "-",
    "+",
    "meta",
    "log:0",
    "ix:0:t:YQ",
    "d:7",
    "e:",
    "{default:0}:",
    "\"",
    "'",
    "%00",
    "\\u0000",
    "🎓",
];

/// One UUID in five notations.
const UUIDS: [&str; 5] = [
    "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "6BA7B810-9DAD-11D1-80B4-00C04FD430C8",
    "6ba7b8109dad11d180b400c04fd430c8",
    "{6ba7b810-9dad-11d1-80b4-00c04fd430c8}",
    "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
];

/// Returns `count` different names of 1 to 128 bytes: the notations of the UUID, names with equal concatenations, and
/// random names. Some random names are prefixes or suffixes of others.
pub(crate) fn names(random: &mut fastrand::Rng, count: usize) -> Vec<String> {
    let always = UUIDS.iter().chain(&["a", "bc", "ab", "c", "abc", "a\r", "a\n", "a:"]);
    let mut names: BTreeSet<String> = always.map(|name| (*name).to_owned()).collect();
    assert!(names.len() < count);
    while names.len() < count {
        let piece = |random: &mut fastrand::Rng| (*random.choice(PIECES).unwrap()).to_owned();
        let old = |random: &mut fastrand::Rng| {
            names.iter().nth(random.usize(..names.len())).cloned().unwrap_or_default()
        };
        let new: String = match random.u8(..8) {
            0 => old(random) + &piece(random),
            1 => piece(random) + &old(random),
            2 => old(random) + ":" + &old(random),
            3 => piece(random).repeat(random.usize(1..20)),
            _ => (0..random.usize(1..5)).map(|_| piece(random)).collect(),
        };
        if (1..=128).contains(&new.len()) {
            names.insert(new);
        }
    }
    let mut names: Vec<String> = names.into_iter().collect();
    random.shuffle(&mut names);
    names
}

/// Returns at least `count` different pairs of names. Some pairs have equal concatenations.
pub(crate) fn pairs(random: &mut fastrand::Rng, names: &[String], count: usize) -> Vec<(String, String)> {
    let alike = [("a", "bc"), ("ab", "c"), ("a", "b:c"), ("a:b", "c")];
    let mut pairs = BTreeSet::from(alike.map(|(one, other)| (one.to_owned(), other.to_owned())));
    while pairs.len() < count {
        let (one, other) = (random.choice(names).unwrap(), random.choice(names).unwrap());
        pairs.insert((one.clone(), other.clone()));
        // The same concatenation, split at another place.
        let joined = format!("{one}{other}");
        let cuts: Vec<usize> = joined.char_indices().map(|(at, _)| at).skip(1).collect();
        if let Some(cut) = random.choice(&cuts) {
            let (head, tail) = joined.split_at(*cut);
            if head.len() <= 128 && tail.len() <= 128 {
                pairs.insert((head.to_owned(), tail.to_owned()));
            }
        }
    }
    let mut pairs: Vec<_> = pairs.into_iter().collect();
    random.shuffle(&mut pairs);
    pairs
}
