//! Entries of the log in the raw bytes of a reply. A reply is `*N`, and for each entry `*2`, the id, and `*4` with the
//! names and values of its fields.

use domain::StorageFailure;

use crate::client::{failure::unexpected_reply, tap::number};

/// An entry.
pub(crate) struct RawEntry<'r> {
    pub(crate) id: &'r [u8],
    pub(crate) event: &'r [u8],
    pub(crate) head: Option<&'r [u8]>,
}

/// The unread rest of a reply.
struct Rest<'r>(&'r [u8]);

impl<'r> Rest<'r> {
    /// Reads the number in the first line of a value of this kind.
    fn number(&mut self, kind: u8) -> Option<usize> {
        let (first, rest) = self.0.split_first()?;
        let (line, rest) = rest.split_at_checked(rest.iter().position(|byte| *byte == b'\n')?)?;
        self.0 = rest.get(1..)?;
        (*first == kind).then(|| number(line).ok().flatten()).flatten()?.try_into().ok()
    }

    fn text(&mut self) -> Option<&'r [u8]> {
        let length = self.number(b'$')?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest.get(2..)?;
        Some(text)
    }

    fn entry(&mut self) -> Option<RawEntry<'r>> {
        if self.number(b'*')? != 2 {
            return None;
        }
        let mut entry = RawEntry { id: self.text()?, event: b"", head: None };
        for _ in 0..self.number(b'*')? / 2 {
            match (self.text()?, self.text()?) {
                (b"event", event) => entry.event = event,
                (b"head", head) => entry.head = Some(head),
                _ => {}
            }
        }
        Some(entry)
    }
}

/// Parses the entries of a reply.
pub(crate) fn entries(reply: &[u8]) -> Result<Vec<RawEntry<'_>>, StorageFailure> {
    let mut rest = Rest(reply);
    let found = rest.number(b'*').and_then(|count| {
        // A wrong count allocates no more than the reply has bytes.
        let mut found = Vec::with_capacity(count.min(reply.len() / 16));
        for _ in 0..count {
            found.push(rest.entry()?);
        }
        Some(found)
    });
    found.ok_or_else(|| unexpected_reply("entries of the log"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    #[test]
    fn entries_are_read_from_the_bytes_of_a_reply() {
        let reply = b"*2\r\n*2\r\n$3\r\n1-2\r\n*4\r\n$5\r\nevent\r\n$2\r\n{}\r\n$4\r\nhead\r\n$1\r\n\n\r\n\
            *2\r\n$3\r\n3-4\r\n*4\r\n$1\r\nx\r\n$1\r\ny\r\n$5\r\nevent\r\n$0\r\n\r\n";
        let found = entries(reply).unwrap();
        assert_eq!((found[0].id, found[0].event, found[0].head), (&b"1-2"[..], &b"{}"[..], Some(&b"\n"[..])));
        assert_eq!((found[1].id, found[1].event, found[1].head), (&b"3-4"[..], &b""[..], None));
        assert!(entries(b"*0\r\n").unwrap().is_empty());
        for end in 0..reply.len() {
            assert!(entries(&reply[..end]).is_err(), "{end}");
        }
        for odd in [&b"*1\r\n*3\r\n$3\r\n1-2\r\n"[..], b"*9999999999\r\n", b":1\r\n", b"*1\r\n:1\r\n"] {
            assert!(entries(odd).is_err());
        }
    }
}
