//! Slots of a cluster: the slot of a key, and the slot that a command names.

use redis::{Arg, Cmd, Pipeline};

/// The number of slots of a cluster.
const SLOTS: u16 = 16_384;

/// Commands that name no key.
const KEYLESS: [&[u8]; 8] =
    [b"CONFIG", b"FUNCTION", b"INFO", b"PING", b"PUBLISH", b"SCAN", b"SUBSCRIBE", b"TIME"];

/// Returns the slot of a key: a hash of the text in its first braces, or of the whole key if that text is empty or
/// missing.
pub(crate) fn of_key(key: &[u8]) -> u16 {
    crc16(tag(key)) % SLOTS
}

fn tag(key: &[u8]) -> &[u8] {
    let tag = || {
        let (_, behind) = split_at_byte(key, b'{')?;
        let (tag, _) = split_at_byte(behind, b'}')?;
        (!tag.is_empty()).then_some(tag)
    };
    tag().unwrap_or(key)
}

fn split_at_byte(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|found| *found == byte)?;
    Some((bytes.get(..at)?, bytes.get(at + 1..)?))
}

/// The CRC-16 remainder of every byte, with the polynomial 0x1021, as in XMODEM.
const REMAINDERS: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut remainder, mut bit) = ((byte as u16) << 8, 0);
        while bit < 8 {
            remainder = if remainder & 0x8000 == 0 { remainder << 1 } else { (remainder << 1) ^ 0x1021 };
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| (crc << 8) ^ REMAINDERS[usize::from((crc >> 8) as u8 ^ byte)])
}

/// Returns whether a command is a function that only reads. Such a function needs the whole slot on one node, and its
/// caller has another way to the result.
pub(crate) fn is_look_up(command: &Cmd) -> bool {
    command.args_iter().next().is_some_and(|name| bytes(&name) == b"FCALL_RO")
}

/// Returns the slot of the first key of a command. None if the command names no key.
pub(crate) fn of_command(command: &Cmd) -> Option<u16> {
    keys(command).next().map(of_key)
}

/// Returns the slot of the first key in a pipeline.
pub(crate) fn of_pipeline(pipeline: &Pipeline) -> Option<u16> {
    pipeline.cmd_iter().find_map(of_command)
}

/// Returns whether all keys of a call are in one slot. This is a rule of this adapter, since a cluster refuses other
/// calls.
pub(crate) fn is_one<'a>(commands: impl IntoIterator<Item = &'a Cmd>) -> bool {
    let mut slots = commands.into_iter().flat_map(keys).map(of_key);
    let first = slots.next();
    slots.all(|slot| Some(slot) == first)
}

/// Returns the keys that a command certainly names: all keys of a function, and the first key of any other command.
fn keys(command: &Cmd) -> impl Iterator<Item = &[u8]> {
    let args = || command.args_iter().map(|arg| bytes(&arg));
    let name = args().next().unwrap_or_default();
    let (skipped, count) = match name {
        b"FCALL" | b"FCALL_RO" => (3, args().nth(2).map_or(0, number)),
        b"MEMORY" | b"OBJECT" => (2, 1),
        name if KEYLESS.contains(&name) => (0, 0),
        _ => (1, 1),
    };
    args().skip(skipped).take(count)
}

fn bytes<'a>(arg: &Arg<&'a [u8]>) -> &'a [u8] {
    match *arg {
        Arg::Simple(bytes) => bytes,
        _ => b"0",
    }
}

fn number(bytes: &[u8]) -> usize {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_slots_that_a_cluster_gives_them() {
        // As `CLUSTER KEYSLOT` answers.
        for (key, slot) in [
            ("", 0),
            ("foo", 12_182),
            ("{foo}1", 12_182),
            ("a{foo}{bar}", 12_182),
            ("{}foo", 9500),
            ("foo{}{bar}", 8363),
            ("foo{{bar}}zap", 4015),
            ("foo{", 7673),
            ("123456789", 12_739),
            ("{default:0}:meta", 6591),
        ] {
            assert_eq!(of_key(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn a_command_names_the_slot_of_its_first_key() {
        let slot = |words: &[&str]| {
            let mut command = Cmd::new();
            command.arg(words);
            of_command(&command)
        };
        assert_eq!(slot(&["HGETALL", "{foo}meta"]), Some(12_182));
        assert_eq!(slot(&["OBJECT", "ENCODING", "foo"]), Some(12_182));
        assert_eq!(slot(&["MEMORY", "USAGE", "foo", "SAMPLES", "5"]), Some(12_182));
        assert_eq!(slot(&["FCALL", "er_write", "2", "{foo}1", "{foo}2", "bar"]), Some(12_182));
        assert_eq!(slot(&["FCALL", "er_write", "0", "foo"]), None);
        for keyless in [&["INFO"][..], &["CONFIG", "GET", "save"], &["TIME"], &["SCAN", "0", "MATCH", "*"]] {
            assert_eq!(slot(keyless), None, "{keyless:?}");
        }
        assert_eq!(slot(&[]), None);
        let mut pipeline = Pipeline::new();
        pipeline.cmd("TIME").cmd("GET").arg("foo");
        assert_eq!(of_pipeline(&pipeline), Some(12_182));
    }

    #[test]
    fn a_call_that_names_two_slots_is_noticed() {
        let command = |words: &[&str]| {
            let mut command = Cmd::new();
            command.arg(words);
            command
        };
        let (foo, bar, time) = (command(&["GET", "{foo}1"]), command(&["GET", "bar"]), command(&["TIME"]));
        assert!(is_one([&foo, &time, &foo]) && is_one([&time]) && is_one([]));
        assert!(!is_one([&foo, &bar]));
        assert!(is_one([&command(&["FCALL", "f", "2", "{foo}1", "foo", "bar"])]));
        assert!(!is_one([&command(&["FCALL", "f", "3", "{foo}1", "foo", "bar"])]));
    }
}
