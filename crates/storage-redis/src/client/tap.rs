//! A stream that keeps long replies as raw bytes. The client library would parse each part of such a reply into a
//! separate value. That takes longer than the server takes to send the reply. Readers of log entries parse the bytes
//! themselves.
//!
//! The library gets a short reply with a number in place of the long one. So it can still match replies to calls.

use std::{
    collections::VecDeque,
    io,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use redis::{PushKind, RedisResult, Value};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The length in bytes from which arrays are kept. Keeping one costs less than parsing the parts of an entry.
const KEPT_FROM: usize = 2 * 1024;
/// The least number of bytes for which each read has room.
const READ: usize = 64 * 1024;
/// How long a kept reply waits for its call. The call may have ended before the reply came.
const KEPT_FOR: Duration = Duration::from_secs(60);
/// The text before the number of a kept reply. No command that is sent over such a stream answers with this text.
const NUMBER: &str = "er-kept:";

/// Kept replies, by number.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    replies: Mutex<VecDeque<(u64, Instant, Vec<u8>)>>,
}

impl Kept {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(u64, Instant, Vec<u8>)>> {
        self.replies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, number: u64, reply: Vec<u8>) {
        let (mut replies, now) = (self.lock(), Instant::now());
        while replies.front().is_some_and(|(_, kept, _)| *kept + KEPT_FOR < now) {
            replies.pop_front();
        }
        replies.push_back((number, now, reply));
    }

    fn take(&self, number: u64) -> Option<Vec<u8>> {
        let mut replies = self.lock();
        let at = replies.iter().position(|(own, ..)| *own == number)?;
        replies.remove(at).map(|(_, _, reply)| reply)
    }

    /// Replaces the numbers by the kept replies.
    pub(crate) fn resolve(&self, values: &mut [Value]) -> RedisResult<()> {
        for value in values {
            let Value::SimpleString(text) = &value else { continue };
            let Some(number) = text.strip_prefix(NUMBER) else { continue };
            let lost = || io::Error::other("a reply was fetched too late");
            *value = wrapped(number.parse().ok().and_then(|number| self.take(number)).ok_or_else(lost)?);
        }
        Ok(())
    }
}

/// Wraps the bytes of a reply in a kind of value that no RESP2 server sends.
fn wrapped(reply: Vec<u8>) -> Value {
    Value::Push { kind: PushKind::Other(String::new()), data: vec![Value::BulkString(reply)] }
}

/// Returns the bytes of a kept reply.
pub(crate) fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::Push { data, .. } => match data.as_slice() {
            [Value::BulkString(bytes)] => Some(bytes),
            _ => None,
        },
        _ => None,
    }
}

/// Finds the ends of replies.
#[derive(Debug)]
struct Scanner {
    /// The offset of the next value.
    at: usize,
    /// The number of values of the reply that are still missing.
    open: u64,
}

impl Scanner {
    /// Returns the offset behind the next reply, if the whole reply is there.
    fn end(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        while self.open > 0 {
            let Some((kind, rest)) = bytes.get(self.at..).and_then(<[u8]>::split_first) else {
                return Ok(None);
            };
            let Some(length) = rest.iter().position(|byte| *byte == b'\n') else { return Ok(None) };
            let (line, after) = (rest.get(..length).unwrap_or_default(), self.at + 1 + length + 1);
            let end = match kind {
                // A text has a line end behind it. A missing text has the length -1 and nothing behind it.
                b'$' => number(line)?.map_or(after, |length| after + length as usize + 2),
                _ => after,
            };
            if end > bytes.len() {
                return Ok(None);
            }
            if *kind == b'*' {
                self.open += number(line)?.unwrap_or(0);
            }
            self.at = end;
            self.open -= 1;
        }
        self.open = 1;
        Ok(Some(self.at))
    }
}

/// Parses the number in the first line of a value. None if it is negative.
pub(crate) fn number(line: &[u8]) -> io::Result<Option<u64>> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.first() == Some(&b'-') {
        return Ok(None);
    }
    let digit = |number: Option<u64>, byte: &u8| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        number?.checked_mul(10)?.checked_add(u64::from(digit))
    };
    let parsed = line.iter().fold(Some(0), digit).filter(|number| !line.is_empty() && *number < 1 << 40);
    parsed.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a reply has no such length"))
}

/// A stream to a server that speaks RESP2.
pub(crate) struct Tap<S> {
    stream: S,
    kept: Arc<Kept>,
    last: u64,
    /// Received bytes that are not yet a whole reply.
    came: Vec<u8>,
    scanner: Scanner,
    /// Bytes for the client library to read.
    passed: Vec<u8>,
    /// How many of these bytes the library has read.
    read: usize,
}

impl<S> Tap<S> {
    pub(crate) fn new(stream: S, kept: Arc<Kept>) -> Self {
        let scanner = Scanner { at: 0, open: 1 };
        Self { stream, kept, last: 0, came: Vec::new(), scanner, passed: Vec::new(), read: 0 }
    }

    /// Passes on or keeps every reply that is there whole.
    fn sort(&mut self) -> io::Result<()> {
        let mut begin = 0;
        while let Some(end) = self.scanner.end(&self.came)? {
            let reply = self.came.get(begin..end).unwrap_or_default();
            if reply.len() >= KEPT_FROM && reply.first() == Some(&b'*') {
                self.last += 1;
                self.kept.keep(self.last, reply.to_vec());
                self.passed.extend_from_slice(format!("+{NUMBER}{}\r\n", self.last).as_bytes());
            } else {
                self.passed.extend_from_slice(reply);
            }
            begin = end;
        }
        self.came.drain(..begin);
        self.scanner.at -= begin;
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            let waiting = this.passed.get(this.read..).unwrap_or_default();
            if let Some(some) = waiting.get(..waiting.len().min(out.remaining())).filter(|s| !s.is_empty()) {
                out.put_slice(some);
                this.read += some.len();
                return Poll::Ready(Ok(()));
            }
            this.passed.clear();
            this.read = 0;
            this.came.reserve(READ);
            if ready!(pin!(this.stream.read_buf(&mut this.came)).poll(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
            this.sort()?;
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    /// Returns the bytes that the library reads when replies come in pieces, and the kept replies.
    async fn through(replies: &[u8], piece: usize) -> (Vec<u8>, Arc<Kept>) {
        let kept = Arc::new(Kept::default());
        let mut stream = Pieces(replies, piece);
        let mut tap = Tap::new(&mut stream, Arc::clone(&kept));
        let mut read = Vec::new();
        tap.read_to_end(&mut read).await.unwrap();
        (read, kept)
    }

    /// A stream that gives at most this number of bytes at once.
    struct Pieces<'b>(&'b [u8], usize);

    impl AsyncRead for &mut Pieces<'_> {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let pieces = &mut **self.get_mut();
            let (some, rest) = pieces.0.split_at(pieces.1.min(pieces.0.len()).min(out.remaining()));
            out.put_slice(some);
            pieces.0 = rest;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn long_arrays_are_kept_and_all_else_is_passed_on() {
        let text = |length: usize| format!("${length}\r\n{}\r\n", "\n".repeat(length));
        let long = format!("*2\r\n*2\r\n{}$-1\r\n*3\r\n:5\r\n*-1\r\n{}", text(3), text(KEPT_FROM));
        let short = ["+OK\r\n", ":12\r\n", "-ERR no\r\n", "*0\r\n", "$-1\r\n", "*2\r\n:1\r\n$1\r\na\r\n"];
        let text = text(2 * KEPT_FROM);
        let all = [short.concat(), long.clone(), text.clone(), long.clone(), short.concat()].concat();
        for piece in [1, 7, 1000, usize::MAX] {
            let (read, kept) = through(all.as_bytes(), piece).await;
            let passed = format!("+{NUMBER}1\r\n{text}+{NUMBER}2\r\n");
            assert_eq!(read, [short.concat(), passed, short.concat()].concat().as_bytes());
            let mut values =
                [Value::Int(1), Value::SimpleString(format!("{NUMBER}2")), Value::SimpleString("a".into())];
            kept.resolve(&mut values).unwrap();
            assert_eq!(bytes_of(&values[1]), Some(long.as_bytes()));
            assert_eq!((bytes_of(&values[0]), bytes_of(&values[2])), (None, None));
            assert_eq!(kept.lock().len(), 1);
            kept.resolve(&mut [Value::SimpleString(format!("{NUMBER}2"))]).unwrap_err();
        }
    }

    #[tokio::test]
    async fn what_is_no_reply_is_an_error() {
        for odd in ["$x\r\n", "*\r\n", "$99999999999999999999\r\n", "*12a\r\n"] {
            let mut bytes = Pieces(odd.as_bytes(), 3);
            let mut tap = Tap::new(&mut bytes, Arc::default());
            assert!(tap.read_to_end(&mut Vec::new()).await.is_err(), "{odd:?}");
        }
    }
}
