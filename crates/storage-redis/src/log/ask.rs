//! Requests for entries of one chunk, whole or in concurrent pieces. The first entries of a page are requested by a
//! guess.

use domain::{
    StorageFailure,
    ports::{Order, engine::Scan},
};
use futures_util::future::try_join_all;
use redis::{Pipeline, Value};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        keys::{CHUNK, chunk_of},
        partition::Partition,
    },
    index::postings::Range,
    log::{
        entries::{Entry, entries, range as log_range, range_back},
        scan::{MAX_FETCHED, MAX_PAGE_BYTES},
    },
};

/// The least number of entries that is read in pieces, and the number of concurrent pieces.
const WORTH_CUTTING: usize = 400;
const PIECES: usize = 2;
/// The largest number of events that is requested together with the state, while the average length of events is
/// unknown.
const MAX_GUESSED: usize = 100;

/// A request for entries of a chunk.
pub(crate) struct Ask {
    pub(crate) chunk: u64,
    /// The least and the greatest sequence. None: to the edge of the chunk.
    pub(crate) from: Option<u64>,
    pub(crate) to: Option<u64>,
    pub(crate) count: usize,
}

impl Ask {
    /// Returns the probable first request of a page, for a read together with the state. None if the page needs too
    /// many events.
    pub(crate) fn guess(store: &Partition, scan: &Scan<'_>) -> Option<Self> {
        let head = store.known().head;
        let most = match store.last().average_bytes() {
            0 => MAX_GUESSED,
            average => usize::try_from(MAX_PAGE_BYTES / average).unwrap_or(MAX_FETCHED).min(MAX_FETCHED),
        };
        let (after, until, count) = (scan.after, scan.until, scan.limit.max(1));
        if count > most {
            return None;
        }
        Some(match scan.order {
            Order::OldestFirst => {
                let low = after.unwrap_or(0).saturating_add(1);
                Self { chunk: chunk_of(low), from: Some(low), to: until, count }
            }
            Order::NewestFirst => {
                let high = match (after.map(|after| after.saturating_sub(1)), until) {
                    (Some(after), Some(until)) => Some(after.min(until)),
                    (one, other) => one.or(other),
                };
                let chunk = chunk_of(high.unwrap_or(head));
                Self { chunk, from: None, to: high, count }
            }
        })
    }

    /// Divides the request into pieces that are read concurrently: one piece is unpacked while the next is
    /// transferred. None if this does not pay. The log must have an event at most sequences.
    fn pieces(&self, order: Order) -> Option<Vec<Range>> {
        let low = self.from.filter(|_| order == Order::OldestFirst && self.count >= WORTH_CUTTING)?;
        let end = (self.chunk * CHUNK + CHUNK - 1).min(self.to.unwrap_or(u64::MAX));
        let size = (self.count / PIECES) as u64;
        let range = |piece: u64| Range {
            order,
            low: low.saturating_add(piece * size),
            high: end.min(low.saturating_add((piece + 1) * size - 1)),
        };
        Some((0..PIECES as u64).map(range).filter(|range| range.low <= range.high).collect())
    }

    /// Reads the entries.
    pub(crate) async fn read(&self, store: &Partition, order: Order) -> Result<Ahead, StorageFailure> {
        match self.pieces(order).filter(|_| store.last().is_dense()) {
            Some(pieces) => self.read_pieces(store, &pieces).await,
            None => {
                let mut pipeline = Pipeline::with_capacity(2);
                self.put(store, order, &mut pipeline);
                self.take(store, &mut store.read_entries(&pipeline).await?.into_iter())
            }
        }
    }

    /// Returns whether the request is one piece, so that it can go into one pipeline with other commands.
    pub(crate) fn is_whole(&self, store: &Partition, order: Order) -> bool {
        !store.last().is_dense() || self.pieces(order).is_none()
    }

    /// Adds the request for all entries to a pipeline.
    pub(crate) fn put(&self, store: &Partition, order: Order, pipeline: &mut Pipeline) {
        let id = |sequence: Option<u64>, open: &str| {
            sequence.map_or_else(|| open.to_owned(), |sequence| sequence.to_string())
        };
        let (key, low, high) = (store.keys().log(self.chunk), id(self.from, "-"), id(self.to, "+"));
        let mut command = match order {
            Order::OldestFirst => log_range(&key, &low, &high),
            Order::NewestFirst => range_back(&key, &high, &low),
        };
        command.arg("COUNT").arg(self.count);
        pipeline.add_command(command).cmd("EXISTS").arg(store.keys().replayed(self.chunk));
    }

    /// Reads the answers to [`Ask::put`].
    pub(crate) fn take(
        &self,
        store: &Partition,
        answers: &mut impl Iterator<Item = Value>,
    ) -> Result<Ahead, StorageFailure> {
        let (entries, has_replays) = entries_and_replays(answers)?;
        let ends = entries.len() < self.count;
        let last = entries.last().map(|last| last.sequence);
        if let (Some(low), Some(last)) = (self.from, last) {
            store.last().set_density(entries.len() as u64, last.saturating_sub(low) + 1);
        }
        Ok(Ahead { chunk: self.chunk, entries, has_replays, ends, through: last })
    }

    async fn read_pieces(&self, store: &Partition, pieces: &[Range]) -> Result<Ahead, StorageFailure> {
        let key = store.keys().log(self.chunk);
        let piece = |range: &Range| self.entries_of(store, log_range(&key, range.low, range.high));
        let read = try_join_all(pieces.iter().map(piece)).await?;
        let mut ahead =
            Ahead { chunk: self.chunk, entries: Vec::with_capacity(self.count), ..Ahead::default() };
        for (entries, has_replays) in read {
            ahead.entries.extend(entries);
            ahead.has_replays |= has_replays;
        }
        let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return Ok(ahead) };
        ahead.through = Some(last.high);
        ahead.ends = last.high % CHUNK == CHUNK - 1;
        let newest = ahead.entries.last().map_or(last.high, |entry| entry.sequence);
        store.last().set_density(ahead.entries.len() as u64, newest - first.low + 1);
        Ok(ahead)
    }

    /// Returns the entries of a command's answer, and whether any event of the chunk was ever replayed.
    async fn entries_of(
        &self,
        store: &Partition,
        command: redis::Cmd,
    ) -> Result<(Vec<Entry>, bool), StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(command).cmd("EXISTS").arg(store.keys().replayed(self.chunk));
        entries_and_replays(&mut store.read_entries(&pipeline).await?.into_iter())
    }
}

fn entries_and_replays(
    answers: &mut impl Iterator<Item = Value>,
) -> Result<(Vec<Entry>, bool), StorageFailure> {
    let (Some(found), Some(replayed)) = (answers.next(), answers.next()) else {
        return Err(unexpected_reply("entries of the log"));
    };
    Ok((entries(found)?, replayed == Value::Int(1)))
}

/// Entries of a chunk, in the order of the walk.
#[derive(Default)]
pub(crate) struct Ahead {
    pub(crate) chunk: u64,
    pub(crate) entries: Vec<Entry>,
    /// Whether any event of the chunk was ever replayed.
    pub(crate) has_replays: bool,
    /// Whether the chunk has no further entries.
    pub(crate) ends: bool,
    /// The last sequence that was read, if any.
    pub(crate) through: Option<u64>,
}
