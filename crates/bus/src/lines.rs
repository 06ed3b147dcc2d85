//! Reads lines from a stream within a memory limit. Even 512 MiB without a line break take no more memory.

use std::io;

use domain::Limits;
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// One line of a stream. Line numbers start at 1 and include blank lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line within the limit, without its line feed.
    Text {
        /// The line number.
        line: u64,
        /// The bytes of the line.
        bytes: &'a [u8],
    },
    /// A line over the limit. The reader skipped it and did not keep its bytes.
    TooLong {
        /// The line number.
        line: u64,
        /// The length in bytes.
        bytes: u64,
    },
}

/// Returns the length in bytes of the longest line that can hold an event within the limits. A stored event has some
/// members around the event.
pub fn line_limit(limits: &Limits) -> usize {
    const AROUND: usize = 4 * 1024;
    limits.max_event_bytes.saturating_add(AROUND)
}

/// The factor over the limit at which the reader treats a line as endless.
const ENDLESS: u64 = 1024;

/// Splits chunks into lines. It keeps at most the limit and one byte of each line.
#[derive(Debug)]
struct Splitter {
    kept: Vec<u8>,
    limit: usize,
    /// Bytes of the current line so far.
    length: u64,
    /// The number of the current line.
    line: u64,
    /// Whether the line in `kept` was returned and must be cleared.
    given: bool,
}

impl Splitter {
    fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit, length: 0, line: 1, given: false }
    }

    /// Takes bytes up to the next line feed, and the line feed. Returns the number of bytes taken and whether a line is
    /// complete.
    fn take(&mut self, chunk: &[u8]) -> (usize, bool) {
        self.forget_given();
        let end = find_line_feed(chunk);
        let text = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
        let room = (self.limit + 1).saturating_sub(self.kept.len()).min(text.len());
        self.kept.extend_from_slice(text.get(..room).unwrap_or_default());
        self.length += text.len() as u64;
        (text.len() + usize::from(end.is_some()), end.is_some())
    }

    /// Returns an error for a line that may have no end. Otherwise the reader would read such a stream forever.
    fn check_end(&self) -> io::Result<()> {
        let longest = (self.limit as u64).saturating_mul(ENDLESS);
        if self.length <= longest {
            return Ok(());
        }
        let said = format!("line {} has more than {longest} bytes and no end", self.line);
        Err(io::Error::new(io::ErrorKind::InvalidData, said))
    }

    /// Returns whether bytes of an unfinished line remain. The last line of a stream need not end with a line feed.
    fn has_rest(&mut self) -> bool {
        self.forget_given();
        self.length > 0
    }

    fn forget_given(&mut self) {
        if std::mem::take(&mut self.given) {
            self.kept.clear();
            self.length = 0;
            self.line += 1;
        }
    }

    fn give(&mut self) -> Line<'_> {
        self.given = true;
        let line = self.line;
        if self.length > self.limit as u64 {
            Line::TooLong { line, bytes: self.length }
        } else {
            Line::Text { line, bytes: &self.kept }
        }
    }
}

fn find_line_feed(chunk: &[u8]) -> Option<usize> {
    // The loop skips blocks without a line feed and has no branch for each byte. It compiles to vector instructions.
    const BLOCK: usize = 64;
    let mut start = 0;
    for block in chunk.chunks_exact(BLOCK) {
        if block.iter().fold(0, |found, byte| found | u8::from(*byte == b'\n')) != 0 {
            break;
        }
        start += BLOCK;
    }
    let at = chunk.get(start..)?.iter().position(|byte| *byte == b'\n')?;
    Some(start + at)
}

/// Reads lines of an asynchronous stream.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use event_replay_bus::{Line, LineReader};
/// let mut lines = LineReader::new(&b"{}\ntoo long\n"[..], 4);
/// assert_eq!(lines.next().await.unwrap(), Some(Line::Text { line: 1, bytes: b"{}" }));
/// assert_eq!(lines.next().await.unwrap(), Some(Line::TooLong { line: 2, bytes: 8 }));
/// assert_eq!(lines.next().await.unwrap(), None);
/// # });
/// ```
#[derive(Debug)]
pub struct LineReader<R> {
    reader: R,
    splitter: Splitter,
}

impl<R: AsyncBufRead + Unpin> LineReader<R> {
    /// Returns a reader of lines of at most `limit` bytes, without the line feed.
    pub fn new(reader: R, limit: usize) -> Self {
        Self { reader, splitter: Splitter::new(limit) }
    }

    /// Returns the next line, or `None` at the end of the stream. Not cancel-safe.
    ///
    /// # Errors
    /// Returns an error when the stream cannot be read, or when a line is longer than 1024 times the limit.
    pub async fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let chunk = self.reader.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(self.splitter.has_rest().then(|| self.splitter.give()));
            }
            let (taken, complete) = self.splitter.take(chunk);
            self.reader.consume(taken);
            if complete {
                return Ok(Some(self.splitter.give()));
            }
            self.splitter.check_end()?;
        }
    }
}

/// Reads lines of a blocking stream. Use it in threads that may block, never in asynchronous code.
#[derive(Debug)]
pub struct BlockingLineReader<R> {
    reader: R,
    splitter: Splitter,
}

impl<R: io::BufRead> BlockingLineReader<R> {
    /// Returns a reader of lines of at most `limit` bytes, without the line feed.
    pub fn new(reader: R, limit: usize) -> Self {
        Self { reader, splitter: Splitter::new(limit) }
    }

    /// Returns the next line, or `None` at the end of the stream.
    ///
    /// # Errors
    /// Returns an error when the stream cannot be read, or when a line is longer than 1024 times the limit.
    pub fn next_line(&mut self) -> io::Result<Option<Line<'_>>> {
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() {
                return Ok(self.splitter.has_rest().then(|| self.splitter.give()));
            }
            let (taken, complete) = self.splitter.take(chunk);
            self.reader.consume(taken);
            if complete {
                return Ok(Some(self.splitter.give()));
            }
            self.splitter.check_end()?;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    #[test]
    fn a_long_line_takes_no_more_memory_than_the_limit() {
        let (limit, chunk) = (64 * 1024, vec![b'['; 1024 * 1024]);
        let mut splitter = Splitter::new(limit);
        for _ in 0..64 {
            assert_eq!(splitter.take(&chunk), (chunk.len(), false));
            assert!(splitter.kept.capacity() <= 2 * (limit + 1), "{}", splitter.kept.capacity());
        }
        assert_eq!(splitter.take(b"\n"), (1, true));
        assert_eq!(splitter.give(), Line::TooLong { line: 1, bytes: 64 * 1024 * 1024 });
    }

    #[test]
    fn a_line_without_an_end_is_an_error() {
        let endless = io::BufReader::new(io::repeat(b'0'));
        let text = io::Read::chain(&b"{}\n"[..], endless);
        let mut lines = BlockingLineReader::new(text, 1024);
        assert!(matches!(lines.next_line(), Ok(Some(Line::Text { line: 1, .. }))));
        let error = lines.next_line().map(drop).unwrap_err();
        assert_eq!(error.to_string(), "line 2 has more than 1048576 bytes and no end");
        let long = [vec![b'0'; 1048576], b"\n{}".to_vec()].concat();
        let mut lines = BlockingLineReader::new(&long[..], 1024);
        assert!(matches!(lines.next_line(), Ok(Some(Line::TooLong { line: 1, bytes: 1048576 }))));
        assert!(matches!(lines.next_line(), Ok(Some(Line::Text { line: 2, .. }))));
    }
}
