//! Checkpoints: creation, comparison, and the check whether a recovery from a checkpoint is still possible.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{
    Checkpoint, Cursor, Filter, Hold,
    ports::{CheckpointStore, Clock, EventStore, EventStoreError, Order, ReadRequest},
};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    backoff::repeated,
    error::{GapCause, ReplayError},
    pages::Pages,
};

/// The longest name of a checkpoint, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// The most names that an error suggests.
const MAX_KNOWN: usize = 10;
/// The most events of one read in the search for the newest readable event.
const TAIL_PAGE: usize = 10;

/// The request for a checkpoint.
#[derive(Debug, Clone, Default)]
pub struct NewCheckpoint {
    /// The name, 1 to 128 bytes.
    pub name: String,
    /// The last event that was processed. None means the newest event of the store.
    pub last_processed_event_id: Option<String>,
    /// Notes of the operator.
    pub metadata: Map<String, Value>,
    /// Whether to replace an existing checkpoint of this name.
    pub replace: bool,
    /// Whether retention must keep the events after the mark.
    pub hold: bool,
}

/// The events between two checkpoints, counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointDiff {
    /// The name of the earlier checkpoint.
    pub from: String,
    /// The name of the later checkpoint.
    pub to: String,
    /// Events after the earlier mark (exclusive), up to the later mark (inclusive).
    pub total_events: u64,
    /// The same events by type.
    pub by_type: BTreeMap<String, u64>,
    /// Whether retention removed events after the earlier mark, so that the counts may be too small.
    pub incomplete: bool,
}

/// Makes and compares checkpoints.
#[derive(Clone)]
pub struct Checkpoints {
    events: Arc<dyn EventStore>,
    store: Arc<dyn CheckpointStore>,
    clock: Arc<dyn Clock>,
}

impl Checkpoints {
    /// Creates an interface to checkpoints of `events`, which `store` holds.
    pub fn new(events: Arc<dyn EventStore>, store: Arc<dyn CheckpointStore>, clock: Arc<dyn Clock>) -> Self {
        Self { events, store, clock }
    }

    /// Makes a checkpoint. Its event count is the number of stored events at or before the mark.
    ///
    /// With several partitions, an event marks a position only in its own partition. The positions in the other
    /// partitions are unknown. Recovery begins at the start of those partitions, so that it skips no event.
    ///
    /// # Errors
    /// Returns an error when the name is empty, too long or taken, when the event is unknown, or when the store fails.
    pub async fn create(&self, new: NewCheckpoint) -> Result<Checkpoint, ReplayError> {
        let NewCheckpoint { name, last_processed_event_id, metadata, replace, hold } = new;
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            let message = format!("a checkpoint's name has 1 to {MAX_NAME_BYTES} bytes");
            return Err(ReplayError::InvalidOption(message));
        }
        let head = repeated(|| self.events.head()).await?;
        let (mark, last_processed_event_id) = match last_processed_event_id {
            Some(id) => (self.mark_of(&id, &head).await?, id),
            None => (head.clone(), self.newest_id(&head).await?),
        };
        let everything = Arc::new(Filter::default());
        let event_count = repeated(|| self.events.count(&everything, Some(&mark))).await?;
        let checkpoint = Checkpoint {
            id: Uuid::now_v7().to_string(),
            name,
            mark,
            last_processed_event_id,
            event_count,
            metadata,
            created_at: self.clock.now(),
            hold,
        };
        self.store.save_checkpoint(checkpoint.clone(), replace).await?;
        Ok(checkpoint)
    }

    async fn mark_of(&self, id: &str, head: &Cursor) -> Result<Cursor, ReplayError> {
        let ids = [id.to_owned()];
        let found = repeated(|| self.events.get(&ids)).await?;
        let stored = found.first().ok_or_else(|| ReplayError::UnknownEvent(id.to_owned()))?;
        let mut sequences = vec![0; head.sequences.len()];
        if let Some(sequence) = sequences.get_mut(usize::from(stored.position.partition)) {
            *sequence = stored.position.sequence;
        }
        Ok(Cursor::new(head.store, head.epoch, sequences))
    }

    /// Returns the id of the newest readable event. Returns an empty text if there is none.
    async fn newest_id(&self, head: &Cursor) -> Result<String, ReplayError> {
        let mut request = ReadRequest::new(Filter::default(), TAIL_PAGE);
        request.order = Order::NewestFirst;
        request.until = Some(head.clone());
        loop {
            let page = repeated(|| self.events.read(&request)).await?;
            match (page.events.first(), page.next) {
                (Some(newest), _) => return Ok(newest.event.id().to_owned()),
                (None, None) => return Ok(String::new()),
                (None, next) => request.after = next,
            }
        }
    }

    /// Finds a checkpoint by name or id.
    ///
    /// # Errors
    /// Returns [`ReplayError::UnknownCheckpoint`], with names of existing checkpoints, when there is none. Returns an
    /// error when the store fails.
    pub async fn find(&self, name_or_id: &str) -> Result<Checkpoint, ReplayError> {
        if let Some(checkpoint) = self.store.find_checkpoint(name_or_id).await? {
            return Ok(checkpoint);
        }
        let mut known: Vec<String> = self.list().await?.into_iter().map(|known| known.name).collect();
        // The newest checkpoints are the most probable suggestions.
        known.reverse();
        known.truncate(MAX_KNOWN);
        Err(ReplayError::UnknownCheckpoint { name: name_or_id.to_owned(), known })
    }

    /// Returns all checkpoints, oldest first.
    ///
    /// # Errors
    /// Returns an error when the store fails.
    pub async fn list(&self) -> Result<Vec<Checkpoint>, ReplayError> {
        Ok(self.store.list_checkpoints().await?)
    }

    /// Deletes a checkpoint by name or id. Returns whether there was one.
    ///
    /// # Errors
    /// Returns an error when the store fails.
    pub async fn delete(&self, name_or_id: &str) -> Result<bool, ReplayError> {
        Ok(self.store.delete_checkpoint(name_or_id).await?)
    }

    /// Returns the holds of checkpoints: retention must keep the events after them. A checkpoint of another store holds
    /// nothing here.
    ///
    /// # Errors
    /// Returns an error when the store fails.
    pub async fn holds(&self) -> Result<Vec<Hold>, ReplayError> {
        let holding = self.list().await?.into_iter().filter(|checkpoint| checkpoint.hold);
        let head = repeated(|| self.events.head()).await?;
        Ok(holding
            .filter(|checkpoint| checkpoint.mark.store == head.store)
            .map(|checkpoint| Hold {
                holder: format!("checkpoint {}", checkpoint.name),
                mark: checkpoint.mark,
            })
            .collect())
    }

    /// Counts the events between two checkpoints, in either order.
    ///
    /// # Errors
    /// Returns an error when a checkpoint is unknown, belongs to another store, or marks a lost part of the log.
    /// Returns an error when the store fails.
    pub async fn diff(&self, one: &str, other: &str) -> Result<CheckpointDiff, ReplayError> {
        let (one, other) = (self.find(one).await?, self.find(other).await?);
        let (from, to) = if place(&one) <= place(&other) { (one, other) } else { (other, one) };
        let gap = self.gap(&from).await?;
        if let Some(cause @ (GapCause::Foreign { .. } | GapCause::Lost(_))) = gap {
            return Err(gap_error(&from, cause));
        }
        if let Some(cause @ (GapCause::Foreign { .. } | GapCause::Lost(_))) = self.gap(&to).await? {
            return Err(gap_error(&to, cause));
        }
        let mut diff = CheckpointDiff {
            from: from.name,
            to: to.name,
            total_events: 0,
            by_type: BTreeMap::new(),
            incomplete: gap.is_some(),
        };
        let everything = Arc::new(Filter::default());
        let mut pages = Pages::new(Arc::clone(&self.events), everything, Some(from.mark), to.mark);
        while let Some(page) = pages.next(None).await? {
            for stored in page.events {
                diff.total_events += 1;
                *diff.by_type.entry(stored.event.event_type().to_owned()).or_default() += 1;
            }
            tokio::task::yield_now().await;
        }
        Ok(diff)
    }

    /// Checks that the log has every event after a checkpoint's mark.
    ///
    /// # Errors
    /// Returns [`ReplayError::CheckpointGap`] when retention removed an event after the mark, unless `allow_gap`
    /// permits that. Also returns it when the mark belongs to another store or to a lost part of the log. `allow_gap`
    /// does not permit these cases.
    pub async fn check(&self, checkpoint: &Checkpoint, allow_gap: bool) -> Result<(), ReplayError> {
        match self.gap(checkpoint).await? {
            None => Ok(()),
            Some(GapCause::Trimmed { .. }) if allow_gap => Ok(()),
            Some(cause) => Err(gap_error(checkpoint, cause)),
        }
    }

    async fn gap(&self, checkpoint: &Checkpoint) -> Result<Option<GapCause>, ReplayError> {
        let mark = &checkpoint.mark;
        let info = repeated(|| self.events.info()).await?;
        if mark.store != info.id {
            let (mark, store) = (mark.store.to_string(), info.id.to_string());
            return Ok(Some(GapCause::Foreign { mark, store }));
        }
        if let Some(cause) = self.lost(mark).await? {
            return Ok(Some(cause));
        }
        let trimmed = (0u16..).zip(&info.trimmed_through).find_map(|(partition, last)| {
            let reached = mark.sequence(partition);
            (*last > reached).then_some(GapCause::Trimmed { partition, first: reached + 1, last: *last })
        });
        Ok(trimmed)
    }

    /// Asks the store whether it still has the mark, because only the store knows its log epochs.
    async fn lost(&self, mark: &Cursor) -> Result<Option<GapCause>, ReplayError> {
        match repeated(|| self.events.changed(mark, Duration::ZERO)).await {
            Ok(_) => Ok(None),
            Err(EventStoreError::LostCursor(detail)) => Ok(Some(GapCause::Lost(detail))),
            Err(error) => Err(error.into()),
        }
    }
}

fn gap_error(checkpoint: &Checkpoint, cause: GapCause) -> ReplayError {
    ReplayError::CheckpointGap { name: checkpoint.name.clone(), created_at: checkpoint.created_at, cause }
}

/// Returns the order of a checkpoint among the checkpoints of its store.
fn place(checkpoint: &Checkpoint) -> u64 {
    checkpoint.mark.sequences.iter().fold(0, |sum, sequence| sum.saturating_add(*sequence))
}
