//! Finds JSON documents in a stream of bytes. A document ends with the line on which its last bracket closes.

/// Collects documents from pieces of text.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pending: Vec<u8>,
    /// Bytes of `pending` that were scanned.
    seen: usize,
    depth: usize,
    in_string: bool,
    is_escaped: bool,
}

impl Documents {
    /// Adds bytes, and returns the documents that the bytes complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.pending.extend_from_slice(bytes);
        let (mut complete, mut begin) = (Vec::new(), 0);
        while let Some(byte) = self.pending.get(self.seen) {
            self.seen += 1;
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.in_string => self.is_escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                b'\n' if self.depth == 0 => {
                    let document = self.pending.get(begin..self.seen).unwrap_or_default().trim_ascii();
                    if !document.is_empty() {
                        complete.push(document.to_vec());
                    }
                    begin = self.seen;
                }
                _ => {}
            }
        }
        self.pending.drain(..begin);
        self.seen -= begin;
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_in_pieces_of_any_size() {
        let text = "{\"a\":[\n1,\n\"x\\\"}\\\\\"]}\n\n[2]\n\"half";
        for size in [1, 2, 3, 100] {
            let mut documents = Documents::default();
            let found: Vec<Vec<u8>> =
                text.as_bytes().chunks(size).flat_map(|piece| documents.push(piece)).collect();
            let found: Vec<_> = found.iter().map(|document| std::str::from_utf8(document).unwrap()).collect();
            assert_eq!(found, ["{\"a\":[\n1,\n\"x\\\"}\\\\\"]}", "[2]"], "{size}");
        }
    }
}
