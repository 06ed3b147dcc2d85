//! A group's deliveries as lines of JSON: stdout, a file, a pipe.

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

/// How many deliveries wait for the writer before handlers wait to join them.
const QUEUE: usize = 256;
/// How much is written and flushed at once, in bytes.
const CHUNK_BYTES: usize = 256 * 1024;

/// Why an output takes no more lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutputEnd {
    /// The reader is gone and wants no more, as when a pipe is closed.
    Closed,
    /// Writing failed. A line may be torn, so nothing more is written behind it.
    Failed(String),
}

/// Writes each delivery as one line, as [`write_delivered`] has it: a stored event, with a `replay` object added where a
/// replay delivers it. A delivery is handled once its line is written and flushed.
///
/// Writing is a thread's work, so that a reader that dawdles holds up deliveries and nothing else. Once the output fails,
/// every delivery fails, and [`LinesHandler::ended`] says why: then the consumer should be stopped. Clones share the output.
/// When all are dropped, the thread ends; should its reader never read on, it waits until the process ends.
#[derive(Debug, Clone)]
pub struct LinesHandler {
    queue: mpsc::Sender<Waiting>,
    end: watch::Receiver<Option<OutputEnd>>,
}

/// A line that waits to be written.
struct Waiting {
    line: Vec<u8>,
    written: oneshot::Sender<()>,
}

impl LinesHandler {
    /// A handler that writes to `output`.
    ///
    /// # Errors
    /// The system gives no thread.
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

    /// A handler that writes to this process's standard output.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn stdout() -> io::Result<Self> {
        Self::new(io::stdout())
    }

    /// Waits until the output takes no more lines, and says why. Waits forever while it does.
    pub async fn ended(&self) -> OutputEnd {
        let mut end = self.end.clone();
        match end.wait_for(Option::is_some).await.map(|end| end.clone()) {
            Ok(Some(end)) => end,
            // The thread ends in order only when every handler is gone, so it panicked: the output did.
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

/// Writes lines until every handler is gone. What waits together is written and flushed together.
fn write_all(mut output: impl Write, mut queue: mpsc::Receiver<Waiting>) -> io::Result<()> {
    let mut chunk = Vec::new();
    let mut written = Vec::new();
    while let Some(first) = queue.blocking_recv() {
        let mut next = Some(first);
        while let Some(waiting) = next {
            // Whose time is up does not wait any more, and gets its line when it is redelivered.
            if !waiting.written.is_closed() {
                chunk.extend_from_slice(&waiting.line);
                written.push(waiting.written);
            }
            next = if chunk.len() < CHUNK_BYTES { queue.try_recv().ok() } else { None };
        }
        output.write_all(&chunk)?;
        output.flush()?;
        for written in written.drain(..) {
            // A handler that was dropped meanwhile is handed its event again.
            let _ = written.send(());
        }
        chunk.clear();
    }
    Ok(())
}
