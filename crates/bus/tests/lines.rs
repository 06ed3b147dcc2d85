//! Reads lines from streams with any chunk size and any line length.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{self, BufRead, BufReader, Read};

use domain::Limits;
use event_replay_bus::{BlockingLineReader, Line, LineReader, line_limit};

/// A stream of one repeated byte, produced on demand.
struct Endless {
    left: u64,
    byte: u8,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.left.min(buffer.len() as u64) as usize;
        buffer[..count].fill(self.byte);
        self.left -= count as u64;
        Ok(count)
    }
}

fn all(reader: impl BufRead, limit: usize) -> Vec<(u64, Result<Vec<u8>, u64>)> {
    let mut lines = BlockingLineReader::new(reader, limit);
    let mut all = Vec::new();
    while let Some(line) = lines.next_line().unwrap() {
        all.push(match line {
            Line::Text { line, bytes } => (line, Ok(bytes.to_vec())),
            Line::TooLong { line, bytes } => (line, Err(bytes)),
        });
    }
    all
}

#[test]
fn lines_do_not_depend_on_the_chunks_they_come_in() {
    let long = "x".repeat(200);
    let text = format!("a\n\nlonger than ten\n{long}\n0123456789\r\n0123456789\nlast");
    let expected = vec![
        (1, Ok(b"a".to_vec())),
        (2, Ok(vec![])),
        (3, Err(15)),
        (4, Err(200)),
        (5, Err(11)),
        (6, Ok(b"0123456789".to_vec())),
        (7, Ok(b"last".to_vec())),
    ];
    for capacity in [1, 2, 3, 7, 64, 65, 4096] {
        let reader = BufReader::with_capacity(capacity, text.as_bytes());
        assert_eq!(all(reader, 10), expected, "chunks of {capacity}");
    }
    assert_eq!(all(&b""[..], 10), []);
    assert_eq!(all(&b"\n"[..], 10), [(1, Ok(vec![]))]);
}

#[test]
fn half_a_gibibyte_without_a_line_break_is_passed_over_and_the_next_line_read() {
    let bytes = 512 * 1024 * 1024;
    let stream = Endless { left: bytes, byte: b'[' }.chain(&b"\nnext\n"[..]);
    let lines = all(BufReader::with_capacity(1 << 20, stream), 1 << 20);
    assert_eq!(lines, [(1, Err(bytes)), (2, Ok(b"next".to_vec()))]);
}

#[tokio::test]
async fn the_asynchronous_reader_gives_the_same_lines() {
    let reader = tokio::io::BufReader::with_capacity(3, &b"one\nfour and more\r\n\nend"[..]);
    let mut lines = LineReader::new(reader, 5);
    assert_eq!(lines.next().await.unwrap(), Some(Line::Text { line: 1, bytes: b"one" }));
    assert_eq!(lines.next().await.unwrap(), Some(Line::TooLong { line: 2, bytes: 14 }));
    assert_eq!(lines.next().await.unwrap(), Some(Line::Text { line: 3, bytes: b"" }));
    assert_eq!(lines.next().await.unwrap(), Some(Line::Text { line: 4, bytes: b"end" }));
    assert_eq!(lines.next().await.unwrap(), None);
    assert_eq!(lines.next().await.unwrap(), None);
}

#[test]
fn the_limit_of_a_line_leaves_room_around_the_largest_event() {
    assert!(line_limit(&Limits::default()) > Limits::default().max_event_bytes);
}
