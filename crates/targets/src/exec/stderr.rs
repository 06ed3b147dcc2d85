//! Copies the output of a process besides its answers to this process's stderr. Keeps its last part for messages.

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

/// The number of last bytes that are kept.
const KEPT_BYTES: usize = 1000;
/// The number of bytes in one read.
const CHUNK_BYTES: usize = 8 * 1024;
/// The time to read the rest after the process ended. Only a process that left the group can still hold the pipe then.
const DRAIN: Duration = Duration::from_secs(1);

/// The last part of a process's output. A drop ends the copying.
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

    /// Returns the last part of the output on one line, or `None` if there is no output. Call it after the process
    /// ended.
    pub(super) async fn text(mut self) -> Option<String> {
        for reader in &mut self.readers {
            // Output after the timeout is lost.
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
        // If this process's stderr is closed, the last part is still kept.
        let _ = stderr.write_all(&chunk).await;
        let _ = stderr.flush().await;
        chunk.clear();
    }
}
