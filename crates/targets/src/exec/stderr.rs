//! What a process writes beside its answers: passed on to this process's stderr, its end kept for messages.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
};

use crate::excerpt::excerpt;

/// How much of the end is kept, in bytes.
const KEPT_BYTES: usize = 1000;
/// How much is read at once, in bytes.
const CHUNK_BYTES: usize = 8 * 1024;
/// How long the rest is waited for once the process is gone. Only a process that left its group still holds the pipe then.
const DRAIN: Duration = Duration::from_secs(1);

/// The end of what a process wrote. Dropping it ends the passing on.
#[derive(Debug, Default)]
pub(super) struct Tail {
    kept: Arc<Mutex<Kept>>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: VecDeque<u8>,
    is_cut: bool,
}

impl Tail {
    /// Reads a pipe of the process to its end.
    pub(super) fn follow(&mut self, pipe: impl AsyncRead + Send + Unpin + 'static) {
        self.readers.push(tokio::spawn(pass_on(pipe, Arc::clone(&self.kept))));
    }

    /// The end of what it wrote, on one line; none where it wrote nothing. To be asked once the process is gone.
    pub(super) async fn text(mut self) -> Option<String> {
        for reader in &mut self.readers {
            // What comes later is not waited for.
            let _ = tokio::time::timeout(DRAIN, reader).await;
        }
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_cut = kept.is_cut;
        let text = excerpt(kept.bytes.make_contiguous().trim_ascii(), KEPT_BYTES);
        let dots = if is_cut { "…" } else { "" };
        (!text.is_empty()).then(|| format!("{dots}{text}"))
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

impl Kept {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(KEPT_BYTES);
        self.is_cut |= over > 0;
        self.bytes.drain(..over);
    }
}

async fn pass_on(mut pipe: impl AsyncRead + Unpin, kept: Arc<Mutex<Kept>>) {
    let mut stderr = tokio::io::stderr();
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    while let Ok(1..) = pipe.read_buf(&mut chunk).await {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(&chunk);
        // If this stderr is closed, the end is kept all the same.
        let _ = stderr.write_all(&chunk).await;
        let _ = stderr.flush().await;
        chunk.clear();
    }
}
