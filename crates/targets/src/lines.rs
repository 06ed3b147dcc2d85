//! Writes the deliveries of a group as lines of JSON to stdout, a file or a pipe.

use std::{
    io::{self, ErrorKind, Write},
    thread,
};

use async_trait::async_trait;
use domain::{
    delivery::{Delivery, HandlerError},
    ports::EventHandler,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::json_line::write_delivered;

/// The number of deliveries in the writer's queue at which handlers wait.
const QUEUE: usize = 256;
/// The number of bytes after which a chunk is written and flushed.
const CHUNK_BYTES: usize = 256 * 1024;

/// The reason why an output accepts no more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputEnd {
    /// The reader has closed the output, for example a pipe.
    Closed,
    /// A write failed. The last line may be incomplete, so no further line is written after it.
    Failed(String),
}

/// Writes each delivery as one line, in the format of [`write_delivered`]: a stored event, with a `replay` object added
/// if the delivery comes from a replay. A delivery is handled after its line was written and flushed.
///
/// A separate thread writes, so that a slow reader delays only deliveries. After a failure of the output, every
/// delivery fails, and [`LinesHandler::ended`] returns the reason. The consumer should then be stopped. Clones share
/// the output. The thread ends when all clones are dropped. If its reader never reads, the thread waits until the
/// process ends.
#[derive(Debug, Clone)]
pub struct LinesHandler {
    queue: mpsc::Sender<Waiting>,
    end: watch::Receiver<Option<OutputEnd>>,
}

/// A line that waits for its write.
struct Waiting {
    line: Vec<u8>,
    written: oneshot::Sender<()>,
}

impl LinesHandler {
    /// Returns a handler that writes to `output`.
    ///
    /// # Errors
    /// Returns an error when the operating system cannot start a thread.
    pub fn new(output: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let (ended, end) = watch::channel(None);
        thread::Builder::new().name("lines".to_owned()).spawn(move || {
            if let Err(error) = write_all(output, waiting) {
                ended.send_replace(Some(match error.kind() {
                    ErrorKind::BrokenPipe => OutputEnd::Closed,
                    _ => OutputEnd::Failed(error.to_string()),
                }));
            }
        })?;
        Ok(Self { queue, end })
    }

    /// Returns a handler that writes to this process's standard output.
    ///
    /// # Errors
    /// Returns an error when the operating system cannot start a thread.
    pub fn stdout() -> io::Result<Self> {
        Self::new(io::stdout())
    }

    /// Waits until the output accepts no more lines, and returns the reason. Waits forever while the output works.
    pub async fn ended(&self) -> OutputEnd {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => end,
            // The thread ends normally only after all handlers are dropped. So here the thread panicked in the output.
            Ok(None) | Err(_) => OutputEnd::Failed("the output panicked".to_owned()),
        }
    }

    async fn error(&self) -> HandlerError {
        match self.ended().await {
            OutputEnd::Closed => HandlerError::retry("the reader closed the output"),
            OutputEnd::Failed(why) => HandlerError::retry(format!("writing the event: {why}")),
        }
    }
}

#[async_trait]
impl EventHandler for LinesHandler {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let mut line = Vec::new();
        write_delivered(delivery, &mut line);
        line.push(b'\n');
        let (written, done) = oneshot::channel();
        if self.queue.send(Waiting { line, written }).await.is_ok() && done.await.is_ok() {
            return Ok(());
        }
        Err(self.error().await)
    }
}

/// Writes lines until all handlers are dropped. Lines that wait together are written and flushed together.
fn write_all(mut output: impl Write, mut queue: mpsc::Receiver<Waiting>) -> io::Result<()> {
    let mut chunk = Vec::new();
    let mut written = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        while let Some(waiting) = next {
            // A delivery past its time limit no longer waits. Its redelivery writes the line.
            if !waiting.written.is_closed() {
                chunk.extend_from_slice(&waiting.line);
                written.push(waiting.written);
            }
            next = if chunk.len() < CHUNK_BYTES { queue.try_recv().ok() } else { None };
        }
        output.write_all(&chunk)?;
        output.flush()?;
        for written in written.drain(..) {
            // The event of a handler that was dropped meanwhile is redelivered.
            let _ = written.send(());
        }
        chunk.clear();
    }
    Ok(())
}
