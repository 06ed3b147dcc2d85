//! Reads the whole stdout of a process, up to a number of bytes.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt},
    task::JoinHandle,
    time::timeout,
};

/// The number of bytes in one read.
const CHUNK_BYTES: usize = 16 * 1024;
/// The time to read the rest after the process ended. Only a process that left the group can still hold the pipe then.
const DRAIN: Duration = Duration::from_secs(1);

/// The stdout of a process. A drop ends the reading.
#[derive(Debug)]
pub(super) struct Captured {
    reader: JoinHandle<Option<Vec<u8>>>,
    most: usize,
}

impl Captured {
    /// Reads a pipe to its end. Keeps at most `most` bytes.
    pub(super) fn of(pipe: impl AsyncRead + Send + Unpin + 'static, most: usize) -> Self {
        Self { reader: tokio::spawn(read(pipe, most)), most }
    }

    /// Returns the whole output. Call it after the process ended.
    ///
    /// # Errors
    /// Returns the reason when the output is too long or does not end.
    pub(super) async fn bytes(mut self) -> Result<Vec<u8>, String> {
        match timeout(DRAIN, &mut self.reader).await {
            Ok(Ok(Some(bytes))) => Ok(bytes),
            Ok(Ok(None)) => Err(format!("the command wrote more than {} bytes to its stdout", self.most)),
            Ok(Err(error)) => Err(format!("the stdout of the command cannot be read: {error}")),
            Err(_) => Err("the command ended, and another process keeps its stdout open".to_owned()),
        }
    }
}

impl Drop for Captured {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

/// Reads to the end, so that the process never waits for a reader. Returns `None` if the output is too long.
async fn read(mut pipe: impl AsyncRead + Unpin, most: usize) -> Option<Vec<u8>> {
    let mut kept = Some(Vec::new());
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    while let Ok(1..) = pipe.read_buf(&mut chunk).await {
        kept = kept.filter(|kept| kept.len() + chunk.len() <= most);
        if let Some(kept) = &mut kept {
            kept.extend_from_slice(&chunk);
        }
        chunk.clear();
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_output_is_kept_whole_or_not_at_all() {
        assert_eq!(Captured::of(&b"abc"[..], 3).bytes().await, Ok(b"abc".to_vec()));
        assert_eq!(Captured::of(&b""[..], 3).bytes().await, Ok(Vec::new()));
        let said = Captured::of(&b"abcd"[..], 3).bytes().await.unwrap_err();
        assert_eq!(said, "the command wrote more than 3 bytes to its stdout");
    }
}
