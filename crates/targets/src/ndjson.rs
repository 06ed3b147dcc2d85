//! Writes replays as lines of JSON to stdout, a file or a pipe.

use std::io::ErrorKind;

use async_trait::async_trait;
use domain::ports::{DeliveryOutcome, ReplayDelivery, ReplayTarget, TargetError};
use tokio::io::{AsyncWrite, AsyncWriteExt, Stdout};

use crate::json_line::write_replayed;

/// The number of bytes that are collected before a write.
const CHUNK_BYTES: usize = 256 * 1024;

/// Writes each delivery as one line: the stored event with a `replay` object added. A delivery is handled after its
/// line was written and flushed.
///
/// A closed reader results in [`TargetError::Closed`]. Any other failure is final. A part of a batch may be written,
/// and a second write would repeat lines.
#[derive(Debug)]
pub struct NdjsonTarget<W> {
    writer: W,
    buffer: Vec<u8>,
}

impl NdjsonTarget<Stdout> {
    /// Returns a target that writes to this process's standard output.
    pub fn stdout() -> Self {
        Self::new(tokio::io::stdout())
    }
}

impl<W: AsyncWrite + Unpin + Send> NdjsonTarget<W> {
    /// Returns a target that writes to `writer`.
    pub fn new(writer: W) -> Self {
        Self { writer, buffer: Vec::new() }
    }

    /// Returns the writer. All handled deliveries have been flushed to it.
    pub fn into_inner(self) -> W {
        self.writer
    }

    async fn write_lines(&mut self, batch: &[ReplayDelivery]) -> std::io::Result<()> {
        self.buffer.clear();
        for delivery in batch {
            write_replayed(delivery, &mut self.buffer);
            self.buffer.push(b'\n');
            if self.buffer.len() >= CHUNK_BYTES {
                self.writer.write_all(&self.buffer).await?;
                self.buffer.clear();
            }
        }
        self.writer.write_all(&self.buffer).await?;
        self.writer.flush().await
    }
}

#[async_trait]
impl<W: AsyncWrite + Unpin + Send> ReplayTarget for NdjsonTarget<W> {
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError> {
        match self.write_lines(batch).await {
            Ok(()) => Ok(vec![DeliveryOutcome::Handled; batch.len()]),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(TargetError::Closed),
            Err(error) => Err(TargetError::Failed(format!("writing the replayed events: {error}"))),
        }
    }
}
