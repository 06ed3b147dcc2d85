//! Stores a batch of events in the target.
//!
//! Each batch first looks up the existing events. So the same steps serve a first run, a continued run, a run after a
//! complete run, and a dry run.

use std::collections::HashMap;

use domain::{
    Document, Event, Position, StoredEvent, Violation,
    event::same_content,
    ports::{AppendOutcome, Atomicity, EventStoreError, Stores},
};
use jiff::Timestamp;

use crate::{
    counts::{self, MOST_REPLAYS, Raise},
    error::MigrateError,
    options::Options,
    report::Report,
    retry::repeated,
};

/// The highest number of violations in the problem of an event.
const MOST_VIOLATIONS: usize = 5;

/// An event of the source.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) id: String,
    pub(crate) content: Content,
    /// The replay count.
    pub(crate) replays: u64,
    pub(crate) last_replay_at: Option<Timestamp>,
}

/// The content of an event.
#[derive(Debug)]
pub(crate) enum Content {
    /// The JSON text, not yet parsed.
    Json(Vec<u8>),
    /// An event of another store of this project, with its envelope and ordering key.
    Event(Event),
}

impl Content {
    /// Returns the JSON text. Returns an empty text if it is not UTF-8, which is invalid in an event.
    fn json(&self) -> &str {
        match self {
            Self::Json(bytes) => std::str::from_utf8(bytes).unwrap_or_default(),
            Self::Event(event) => event.json(),
        }
    }
}

/// An event that the target has, with its replay count in the target.
#[derive(Debug, Clone, Copy)]
struct ExistingEvent {
    position: Position,
    replays: u32,
}

/// The position of an event in a dry run. No real position has the sequence 0.
const WOULD_BE: Position = Position { partition: 0, sequence: 0 };

/// Stores batches in a target, and counts the results in a report.
pub(crate) struct Taking<'t> {
    pub(crate) target: &'t dyn Stores,
    pub(crate) options: &'t Options,
    pub(crate) report: Report,
}

impl<'t> Taking<'t> {
    /// Starts after the calls of an earlier run have ended.
    pub(crate) async fn begin(target: &'t dyn Stores, options: &'t Options) -> Result<Self, MigrateError> {
        if !options.dry_run {
            counts::settle(target).await?;
        }
        let report = Report { dry_run: options.dry_run, ..Report::default() };
        Ok(Self { target, options, report })
    }

    /// Stores a batch in its order. Returns the position of each event, or `None` for an event that is not in the
    /// target.
    pub(crate) async fn take(&mut self, batch: Vec<Incoming>) -> Result<Vec<Option<Position>>, MigrateError> {
        self.report.found += batch.len() as u64;
        let ids: Vec<String> = batch.iter().map(|incoming| incoming.id.clone()).collect();
        let there = self.there(&ids).await?;
        let mut places: Vec<Option<ExistingEvent>> = Vec::with_capacity(batch.len());
        let mut new: Vec<(usize, Event)> = Vec::new();
        for (at, incoming) in batch.iter().enumerate() {
            places.push(match there.get(&incoming.id) {
                Some(stored) => self.settle_known(incoming, stored),
                None => {
                    new.extend(self.admit(incoming).map(|event| (at, event)));
                    None
                }
            });
        }
        self.append(new, &mut places).await?;
        self.raise_counts(&batch, &places).await?;
        let is_there = |place: &ExistingEvent| place.position != WOULD_BE;
        Ok(places.into_iter().map(|place| Some(place.filter(is_there)?.position)).collect())
    }

    async fn there(&self, ids: &[String]) -> Result<HashMap<String, StoredEvent>, MigrateError> {
        let found = repeated(|| self.target.get(ids)).await?;
        Ok(found.into_iter().map(|stored| (stored.event.id().to_owned(), stored)).collect())
    }

    fn settle_known(&mut self, incoming: &Incoming, stored: &StoredEvent) -> Option<ExistingEvent> {
        let json = incoming.content.json();
        if stored.event.json() != json && !same_content(stored.event.json(), json) {
            self.conflict(&incoming.id, Some(stored.position));
            return None;
        }
        self.report.already_stored += 1;
        Some(ExistingEvent { position: stored.position, replays: stored.replay_count })
    }

    fn conflict(&mut self, id: &str, position: Option<Position>) {
        self.report.conflicts += 1;
        let place = position.map_or(String::new(), |position| format!(" at {position}"));
        let detail = format!("the target has other content under this id{place}, and keeps it");
        self.report.problem("event", id.as_bytes(), "conflict", detail);
    }

    /// Reports an invalid event.
    pub(crate) fn reject(&mut self, id: &[u8], detail: impl Into<String>) {
        self.report.rejected += 1;
        self.report.problem("event", id, "rejected", detail);
    }

    /// Returns the event if it is valid.
    fn admit(&mut self, incoming: &Incoming) -> Option<Event> {
        let bytes = match &incoming.content {
            Content::Event(event) => return Some(event.clone()),
            Content::Json(bytes) => bytes,
        };
        let read = Document::parse(bytes, &self.options.limits).map_err(|violation| vec![violation]);
        let event = match read.and_then(Document::into_event) {
            Ok(event) => event,
            Err(violations) => {
                self.reject(incoming.id.as_bytes(), said(&violations));
                return None;
            }
        };
        if event.id() != incoming.id {
            let detail = format!("its key names it so, and it says that its id is {:?}", event.id());
            self.reject(incoming.id.as_bytes(), detail);
            return None;
        }
        let schemas = self.options.schemas.as_deref();
        let member = schemas.and_then(|known| known.ordering_member(event.event_type(), event.version()));
        let key = self.options.ordering.resolve(&event, member);
        Some(event.with_key_source(key))
    }

    async fn append(
        &mut self,
        new: Vec<(usize, Event)>,
        places: &mut [Option<ExistingEvent>],
    ) -> Result<(), MigrateError> {
        if self.options.dry_run {
            self.report.stored += new.len() as u64;
            for (at, _) in new {
                if let Some(slot) = places.get_mut(at) {
                    *slot = Some(ExistingEvent { position: WOULD_BE, replays: 0 });
                }
            }
            return Ok(());
        }
        let (indexes, events): (Vec<usize>, Vec<Event>) = new.into_iter().unzip();
        let (mut rest, mut size) = (events.as_slice(), events.len());
        let mut indexes = indexes.into_iter();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            match repeated(|| self.target.append(piece, Atomicity::Each)).await {
                Ok(outcomes) => {
                    for ((event, outcome), at) in piece.iter().zip(outcomes).zip(indexes.by_ref()) {
                        let place = self.settle(event, outcome);
                        if let Some(slot) = places.get_mut(at) {
                            *slot = place;
                        }
                    }
                    rest = after;
                }
                Err(EventStoreError::BatchTooLarge { .. }) if piece.len() > 1 => {
                    size = piece.len().div_ceil(2);
                }
                Err(error @ EventStoreError::BatchTooLarge { .. }) => {
                    let id = piece.first().map(Event::id).unwrap_or_default();
                    self.reject(id.as_bytes(), error.to_string());
                    indexes.next();
                    rest = after;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn settle(&mut self, event: &Event, outcome: AppendOutcome) -> Option<ExistingEvent> {
        match outcome {
            AppendOutcome::Stored(position) => {
                self.report.stored += 1;
                Some(ExistingEvent { position, replays: 0 })
            }
            // The event was stored after the lookup: by another writer, or by a try with a lost answer. If it was
            // replayed meanwhile, the next run raises its count.
            AppendOutcome::AlreadyStored(position) => {
                self.report.already_stored += 1;
                Some(ExistingEvent { position, replays: 0 })
            }
            AppendOutcome::Conflict(position) => {
                self.conflict(event.id(), Some(position));
                None
            }
            AppendOutcome::Erased => {
                self.report.rejected += 1;
                let detail = "it was erased from the target, and is not stored again";
                self.report.problem("event", event.id().as_bytes(), "erased", detail);
                None
            }
            AppendOutcome::NotStored => {
                self.reject(event.id().as_bytes(), "the target held it back");
                None
            }
        }
    }

    async fn raise_counts(
        &mut self,
        batch: &[Incoming],
        places: &[Option<ExistingEvent>],
    ) -> Result<(), MigrateError> {
        let mut raises = Vec::new();
        for (incoming, place) in batch.iter().zip(places) {
            let Some(place) = place else { continue };
            let Some(wanted) = self.wanted(incoming) else { continue };
            let by = wanted.saturating_sub(place.replays);
            if by > 0 {
                self.report.replay_counts.raised += 1;
                // The old system sets count and time together. Only an edited hash lacks the time.
                let last = incoming.last_replay_at.unwrap_or_else(Timestamp::now);
                raises.push(Raise { position: place.position, by, last });
            }
        }
        match self.options.dry_run {
            true => Ok(()),
            false => counts::raise(self.target, &raises).await,
        }
    }

    /// Returns the replay count that the target should have, or `None` if the event was never replayed.
    fn wanted(&mut self, incoming: &Incoming) -> Option<u32> {
        if incoming.replays == 0 {
            return None;
        }
        self.report.replay_counts.replayed += 1;
        match u32::try_from(incoming.replays) {
            Ok(replays) if replays <= MOST_REPLAYS => Some(replays),
            _ => {
                let detail =
                    format!("it was replayed {} times; {MOST_REPLAYS} are counted", incoming.replays);
                self.report.problem("event", incoming.id.as_bytes(), "replay-count", detail);
                Some(MOST_REPLAYS)
            }
        }
    }
}

fn said(violations: &[Violation]) -> String {
    let first: Vec<String> = violations.iter().take(MOST_VIOLATIONS).map(ToString::to_string).collect();
    let more = violations.len().saturating_sub(MOST_VIOLATIONS);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    first.join("; ") + &more
}
