//! The place in the log at which a new consumer group starts.

use domain::{
    Cursor,
    ports::{EventValidator, SchemaSummary, Stores, Verdict},
};
use serde_json::Value;

use crate::builder::BusError;

/// The place in the log at which a new consumer group starts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StartAt {
    /// At the head. The group receives only events that are published from now on.
    #[default]
    Head,
    /// At the oldest event that the log still has.
    Earliest,
    /// Behind a mark.
    Mark(Cursor),
    /// Behind an operator's checkpoint, given by name or id.
    Checkpoint(String),
}

pub(crate) async fn mark_of(store: &dyn Stores, start: &StartAt) -> Result<Cursor, BusError> {
    match start {
        StartAt::Head => Ok(store.head().await?),
        StartAt::Mark(mark) => Ok(mark.clone()),
        StartAt::Earliest => {
            let head = store.head().await?;
            Ok(Cursor { sequences: vec![0; head.sequences.len()], ..head })
        }
        StartAt::Checkpoint(name) => match store.find_checkpoint(name).await? {
            Some(checkpoint) => Ok(checkpoint.mark),
            None => Err(BusError::NoCheckpoint(name.clone())),
        },
    }
}

/// A validator for a bus without validation. It accepts every event whose envelope is valid.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoValidator;

impl EventValidator for NoValidator {
    fn validate(&self, _: &Value) -> Verdict {
        Verdict::Valid
    }

    fn ordering_member(&self, _: &str, _: &str) -> Option<&str> {
        None
    }

    fn schemas(&self) -> Vec<SchemaSummary> {
        Vec::new()
    }
}
