//! Reads lines of bounded length from a pipe.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest accepted line, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;
/// The number of bytes in one read.
const CHUNK_BYTES: usize = 16 * 1024;

/// A line, without its line feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Text(Vec<u8>),
    /// The line is longer than [`MAX_LINE_BYTES`]. Its text is dropped.
    TooLong,
}

/// Reads lines. Cancel-safe: a cancelled wait for the next line loses no bytes.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    buffer: Vec<u8>,
    /// The part of the buffer that was returned.
    start: usize,
    /// The position in the buffer up to which no further line feed can be found.
    searched: usize,
    /// Whether the current line is too long, so that its rest is dropped.
    skipping: bool,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R) -> Self {
        Self { reader, buffer: Vec::new(), start: 0, searched: 0, skipping: false }
    }

    /// Returns the next line, or `None` at the end. The last line needs no line feed.
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
