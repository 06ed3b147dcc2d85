//! Forwards the bytes of one connection.

use std::{io, sync::atomic::Ordering};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::{Direction, Mode, Shared, State};

/// Forwards bytes in both directions until both ends have closed, or until one end fails.
pub(super) async fn carry_both_ways(client: TcpStream, server: TcpStream, shared: &Shared) {
    // Requests and responses are small, so they are sent without delay.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = Pipe::new(Direction::ToServer, from_client, to_server, shared);
    let answers = Pipe::new(Direction::ToClient, from_server, to_client, shared);
    // An error ends the connection, and both sides close.
    let _ = tokio::try_join!(requests.carry(), answers.carry());
}

/// One direction of a connection.
struct Pipe<'a> {
    direction: Direction,
    from: OwnedReadHalf,
    to: OwnedWriteHalf,
    shared: &'a Shared,
    state: watch::Receiver<State>,
}

impl<'a> Pipe<'a> {
    fn new(direction: Direction, from: OwnedReadHalf, to: OwnedWriteHalf, shared: &'a Shared) -> Self {
        Self { direction, from, to, shared, state: shared.state.subscribe() }
    }

    async fn carry(mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = self.from.read(&mut buffer).await;
            // While the connection is half-open, nothing is forwarded: no bytes, no end, and no failure.
            let mode = self.mode().await;
            let read = read?;
            if read == 0 {
                return self.to.shutdown().await;
            }
            self.hand_over(mode, buffer.get(..read).unwrap_or_default()).await?;
        }
    }

    async fn hand_over(&mut self, mode: Mode, bytes: &[u8]) -> io::Result<()> {
        match mode {
            Mode::SwallowAnswers if self.direction == Direction::ToClient => {
                self.shared.swallowed.fetch_add(bytes.len() as u64, Ordering::SeqCst);
                Ok(())
            }
            Mode::CutAfter(direction) if self.direction == direction => self.pass_within_budget(bytes).await,
            _ => self.pass(bytes).await,
        }
    }

    async fn pass(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes).await?;
        self.shared.counter(self.direction).fetch_add(bytes.len() as u64, Ordering::SeqCst);
        Ok(())
    }

    async fn pass_within_budget(&mut self, bytes: &[u8]) -> io::Result<()> {
        let taken = self.shared.take(bytes.len() as u64);
        let taken = usize::try_from(taken).unwrap_or(usize::MAX).min(bytes.len());
        let (within, beyond) = bytes.split_at(taken);
        self.pass(within).await?;
        if !beyond.is_empty() {
            self.shared.cut_and_pass();
            // The cut ends this connection from outside. No more bytes pass until then.
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    /// Returns the current treatment of bytes. Waits while the connection is half-open.
    async fn mode(&mut self) -> Mode {
        let state = self.state.wait_for(|state| state.mode != Mode::HalfOpen).await;
        // The sender lives as long as the connection.
        state.map_or(Mode::HalfOpen, |state| state.mode)
    }
}
