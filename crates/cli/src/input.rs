//! Event files. Detects compression from the first bytes, and splits lines on a separate thread.

use std::{
    cell::RefCell,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    ops::Range,
    path::{Path, PathBuf},
    thread,
};

use bus::{BlockingLineReader, Line};
use tokio::sync::mpsc;

use crate::{commands::signals::Interrupts, errors::CliError, output::escape};

const GZIP: &[u8] = &[0x1f, 0x8b];
const SQLITE: &[u8] = b"SQLite format 3\0";
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Chunks that may wait in the channel.
const CHUNKS_AHEAD: usize = 4;

/// The origin of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// Standard input.
    Stdin,
    /// A file.
    File(PathBuf),
}

impl Input {
    /// Returns the inputs that a command line names. An empty list means stdin.
    pub(crate) fn of(files: &[PathBuf]) -> Vec<Self> {
        match files {
            [] => vec![Self::Stdin],
            files => files.iter().map(|file| Self::one(file)).collect(),
        }
    }

    /// Returns the input for one path. The path `-` means stdin.
    pub(crate) fn one(file: &Path) -> Self {
        if file == Path::new("-") { Self::Stdin } else { Self::File(file.to_owned()) }
    }

    /// Fails early if the file does not exist or is a folder.
    pub(crate) fn check(&self) -> Result<(), CliError> {
        match self {
            Self::File(path) if !path.exists() => {
                Err(CliError::failed(format!("{self}: there is no such file; nothing was changed")))
            }
            Self::File(path) if path.is_dir() => {
                Err(CliError::failed(format!("{self}: this is a folder; name a file in it")))
            }
            _ => Ok(()),
        }
    }

    /// Opens the input. Decompresses gzip and zstd, which it detects from the first bytes.
    pub(crate) fn open(&self) -> io::Result<Box<dyn BufRead + Send>> {
        let mut reader: Box<dyn Read + Send> = match self {
            Self::Stdin => Box::new(io::stdin()),
            Self::File(path) => Box::new(File::open(path)?),
        };
        let mut head = Vec::with_capacity(ZSTD.len());
        reader.by_ref().take(ZSTD.len() as u64).read_to_end(&mut head)?;
        let packing = (head.starts_with(GZIP), head.starts_with(ZSTD));
        let whole = BufReader::with_capacity(128 * 1024, io::Cursor::new(head).chain(reader));
        Ok(match packing {
            (true, _) => unpacked("gzip", flate2::bufread::MultiGzDecoder::new(whole)),
            (_, true) => unpacked("zstd", zstd::stream::read::Decoder::with_buffer(whole)?),
            _ => Box::new(whole),
        })
    }

    /// Reads the whole input as text, for a file that is one document. Fails if the input has more than `most` bytes.
    pub(crate) fn text(&self, most: u64) -> Result<String, CliError> {
        let mut bytes = Vec::new();
        self.check()?;
        let read = self.open().and_then(|reader| reader.take(most + 1).read_to_end(&mut bytes));
        read.map_err(|error| CliError::failed(format!("{self}: the file cannot be read: {error}")))?;
        if bytes.len() as u64 > most {
            return Err(CliError::failed(format!("{self}: the file has more than {most} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| CliError::failed(format!("{self}: the file is not UTF-8 text")))
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdin => f.write_str("stdin"),
            Self::File(path) => f.write_str(&escape::line(&path.display().to_string())),
        }
    }
}

/// A decompressing reader. Its errors name the compression format, because the errors of the decoder do not.
struct Unpacked<R> {
    packing: &'static str,
    reader: R,
}

impl<R: Read> Read for Unpacked<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.reader.read(into).map_err(|error| {
            let said = format!("its {} data are damaged or cut short ({error})", self.packing);
            io::Error::new(error.kind(), said)
        })
    }
}

fn unpacked<R: Read + Send + 'static>(packing: &'static str, reader: R) -> Box<dyn BufRead + Send> {
    Box::new(BufReader::with_capacity(128 * 1024, Unpacked { packing, reader }))
}

/// Lines of one input, without blank lines.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    /// The index of the input, counted from 0.
    pub(crate) input: usize,
    bytes: Vec<u8>,
    lines: Vec<(u64, Content)>,
}

#[derive(Debug)]
enum Content {
    Within(Range<usize>),
    TooLong(u64),
}

impl Chunk {
    /// The lines of the chunk.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        self.lines.iter().map(|(line, content)| match content {
            Content::Within(range) => {
                Line::Text { line: *line, bytes: self.bytes.get(range.clone()).unwrap_or_default() }
            }
            Content::TooLong(bytes) => Line::TooLong { line: *line, bytes: *bytes },
        })
    }

    fn push(&mut self, line: Line<'_>) {
        match line {
            Line::Text { line, bytes } => {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(bytes);
                self.lines.push((line, Content::Within(start..self.bytes.len())));
            }
            Line::TooLong { line, bytes } => self.lines.push((line, Content::TooLong(bytes))),
        }
    }
}

/// Reads inputs one after the other on a separate thread, at most [`CHUNKS_AHEAD`] chunks ahead. The stream ends after
/// an error.
///
/// A line is sent as soon as the input has no more data ready, so the lines of a slow pipe arrive without delay. An
/// interruption by the user ends the stream with an error, so that the command can report its work. A second
/// interruption ends the program. `advice` is added to an error, and describes the state of the lines before it.
pub(crate) fn chunks(
    inputs: Vec<Input>,
    line_limit: usize,
    advice: &'static str,
) -> mpsc::Receiver<Result<Chunk, CliError>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_AHEAD);
    tokio::spawn(end_when_interrupted(sender.downgrade(), advice));
    thread::spawn(move || {
        for (number, input) in inputs.iter().enumerate() {
            if let Err(error) = read(number, input, line_limit, advice, &sender) {
                // If the receiver is closed, it needs no error either.
                let _ = sender.blocking_send(Err(error));
                return;
            }
            if sender.is_closed() {
                return;
            }
        }
    });
    receiver
}

async fn end_when_interrupted(chunks: mpsc::WeakSender<Result<Chunk, CliError>>, advice: &'static str) {
    let Ok(mut interrupts) = Interrupts::listen() else { return };
    interrupts.next().await;
    if let Some(chunks) = chunks.upgrade() {
        let _ = chunks.send(Err(CliError::failed("interrupted".to_owned()).hint(advice))).await;
    }
    interrupts.next().await;
    std::process::exit(INTERRUPTED);
}

/// The exit code after two interruptions, as shells define it.
const INTERRUPTED: i32 = 130;
/// The advice for commands that store events.
pub(crate) const STAYS_STORED: &str =
    "events that were stored before stay stored; run the same input again, no event is stored twice";
/// The advice for commands that only check events.
pub(crate) const NOTHING_STORED: &str = "this command stores nothing; correct the input and run it again";

fn read(
    number: usize,
    input: &Input,
    line_limit: usize,
    advice: &'static str,
    sender: &mpsc::Sender<Result<Chunk, CliError>>,
) -> Result<(), CliError> {
    let broken = |line: u64, error: &io::Error| {
        let place = if line == 0 { String::new() } else { format!(" after line {line}") };
        CliError::failed(format!("{input}: the input cannot be read{place}: {error}")).hint(advice)
    };
    let reader = input.open().map_err(|error| broken(0, &error))?;
    let chunk = Chunk { input: number, ..Chunk::default() };
    let gathered = RefCell::new(Gathered { chunk, opening: Opening::default(), sender: sender.clone() });
    let mut lines = BlockingLineReader::new(Flushing { reader, left: 0, gathered: &gathered }, line_limit);
    let mut last = 0;
    while let Some(line) = lines.next_line().map_err(|error| broken(last, &error))? {
        let mut gathered = gathered.borrow_mut();
        last = match line {
            // Blank lines are counted and not kept. Otherwise an unlimited number of them would wait for the line that
            // decides the form of the file.
            Line::Text { line, bytes } if bytes.trim_ascii().is_empty() => {
                last = line;
                continue;
            }
            Line::Text { line, bytes } => {
                gathered.opening.look(bytes, input)?;
                line
            }
            Line::TooLong { line, .. } => line,
        };
        gathered.chunk.push(line);
    }
    gathered.borrow_mut().opening = Opening::Decided;
    gathered.borrow_mut().flush();
    Ok(())
}

/// Lines that are not sent yet.
struct Gathered {
    chunk: Chunk,
    opening: Opening,
    sender: mpsc::Sender<Result<Chunk, CliError>>,
}

impl Gathered {
    /// Sends the gathered lines. The first lines are held until the form of the file is known. A file of another form
    /// is thus refused before any of its lines are stored.
    fn flush(&mut self) {
        if self.chunk.lines.is_empty() || !matches!(self.opening, Opening::Decided) {
            return;
        }
        let next = Chunk { input: self.chunk.input, ..Chunk::default() };
        let full = std::mem::replace(&mut self.chunk, next);
        // If the receiver is closed, the loop over the inputs ends.
        let _ = self.sender.blocking_send(Ok(full));
    }
}

/// A reader that sends the gathered lines before it waits for more input.
struct Flushing<'a, R> {
    reader: R,
    left: usize,
    gathered: &'a RefCell<Gathered>,
}

impl<R: BufRead> Read for Flushing<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut from = self.fill_buf()?;
        let count = from.read(into)?;
        self.consume(count);
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Flushing<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            let mut gathered = self.gathered.borrow_mut();
            gathered.flush();
            if gathered.sender.is_closed() {
                return Ok(&[]);
            }
        }
        let buffer = self.reader.fill_buf()?;
        self.left = buffer.len();
        Ok(buffer)
    }

    fn consume(&mut self, amount: usize) {
        self.left = self.left.saturating_sub(amount);
        self.reader.consume(amount);
    }
}

/// Detects JSON over several lines from the first lines of a file. Without the detection, every line would be an error.
#[derive(Debug, Default)]
enum Opening {
    #[default]
    Nothing,
    Bracket(u8),
    Decided,
}

impl Opening {
    fn look(&mut self, bytes: &[u8], input: &Input) -> Result<(), CliError> {
        let text = bytes.trim_ascii();
        *self = match (&self, text) {
            (Self::Nothing, text) if text.starts_with(SQLITE) => return Err(a_database(input)),
            (Self::Nothing, [b'[', .., b',']) => return Err(not_a_line(input, "jq -c '.[]'")),
            (Self::Nothing, b"{" | b"[") => Self::Bracket(text.first().copied().unwrap_or_default()),
            (Self::Bracket(b'{'), [b'"', ..]) => return Err(not_a_line(input, "jq -c .")),
            (Self::Bracket(b'['), [b'{', ..]) => return Err(not_a_line(input, "jq -c '.[]'")),
            _ => Self::Decided,
        };
        Ok(())
    }
}

fn a_database(input: &Input) -> CliError {
    CliError::failed(format!(
        "{input}: this is a database, as stores and backups are, and no file of events; nothing of it was stored"
    ))
    .hint(
        "`event-replay restore FILE --store sqlite:NEW.db` brings a backup back; \
         `event-replay export --store sqlite:FILE` reads its events",
    )
}

fn not_a_line(input: &Input, jq: &str) -> CliError {
    CliError::failed(format!(
        "{input}: this is JSON over several lines; events are read one a line, and nothing of this input was stored"
    ))
    .hint(format!("`{jq}` puts each event on a line of its own"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use std::io::Write;

    use super::*;

    /// Returns all lines of a file's chunks.
    async fn lines(bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut chunks = chunks(vec![Input::one(file.path())], 1024, STAYS_STORED);
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend(chunk.unwrap().lines().map(|line| match line {
                Line::Text { line, bytes } => (line, bytes.to_vec()),
                Line::TooLong { line, .. } => (line, Vec::new()),
            }));
        }
        all
    }

    #[tokio::test]
    async fn blank_lines_are_counted_and_not_gathered() {
        let blank = b"\n \t\r\n".repeat(100_000);
        let all = lines(&[&blank[..], b"{}\n", &blank, b"{\n", &blank, b"x"].concat()).await;
        let expected = [(200_001, &b"{}"[..]), (400_002, b"{"), (600_003, b"x")];
        assert_eq!(all, expected.map(|(line, bytes)| (line, bytes.to_vec())));
        assert_eq!(lines(&blank).await, []);
    }
}
