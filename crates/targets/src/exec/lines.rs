//! Lines out of a pipe, each of bounded length.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is taken, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;
/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// A line, without its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(Vec<u8>),
    /// It was longer than [`MAX_LINE_BYTES`] and is left out.
    TooLong,
}

/// Reads lines. Waiting for the next one may be given up at any time without losing any of it.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// What of the buffer was given out.
    start: usize,
    /// Up to where the buffer holds no line end that is still to be found.
    searched: usize,
    /// Whether the line that is being read is too long, and its rest is thrown away.
    skipping: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, searched: 0, skipping: false }
    }

    /// The next line; none at the end. A last line needs no line end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            if self.buffer.len() > MAX_LINE_BYTES {
                self.buffer.clear();
                self.searched = 0;
                self.skipping = true;
            }
            self.buffer.reserve(CHUNK_BYTES);
            if self.reader.read_buf(&mut self.buffer).await? == 0 {
                return Ok(self.rest());
            }
        }
    }

    fn take(&mut self) -> Option<Line> {
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(end) = unsearched.iter().position(|byte| *byte == b'\n') else {
            self.buffer.drain(..self.start);
            self.start = 0;
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + end;
        let line = self.buffer.get(self.start..end).unwrap_or_default();
        let line = if self.skipping || line.len() > MAX_LINE_BYTES {
            Line::TooLong
        } else {
            Line::Text(line.to_vec())
        };
        self.start = end + 1;
        self.searched = self.start;
        self.skipping = false;
        Some(line)
    }

    fn rest(&mut self) -> Option<Line> {
        let line = std::mem::take(&mut self.buffer);
        self.searched = 0;
        if std::mem::take(&mut self.skipping) {
            return Some(Line::TooLong);
        }
        (!line.is_empty()).then_some(Line::Text(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(bytes: &[u8]) -> Vec<Line> {
        let mut lines = Lines::new(bytes);
        let mut found = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            found.push(line);
        }
        found
    }

    fn text(text: &str) -> Line {
        Line::Text(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn lines_are_split_and_the_last_needs_no_end() {
        assert_eq!(lines(b"a\n\nbc\nd").await, [text("a"), text(""), text("bc"), text("d")]);
        assert_eq!(lines(b"").await, []);
        let many: String = (0..50_000).map(|n| format!("{n}\n")).collect();
        assert_eq!(
            lines(many.as_bytes()).await,
            (0..50_000).map(|n| text(&n.to_string())).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_left_out_and_the_next_is_whole() {
        let long = "x".repeat(MAX_LINE_BYTES + 1);
        let longer = "y".repeat(3 * MAX_LINE_BYTES);
        let longest = "z".repeat(MAX_LINE_BYTES);
        let all = format!("a\n{long}\nb\n{longer}\n{longest}\nc\n{longer}");
        let found = lines(all.as_bytes()).await;
        let expected =
            [text("a"), Line::TooLong, text("b"), Line::TooLong, text(&longest), text("c"), Line::TooLong];
        assert!(found == expected, "{}", found.len());
    }
}
