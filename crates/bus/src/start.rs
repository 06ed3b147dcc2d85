//! Where a new group begins.

use domain::{
    Cursor,
    ports::{EventValidator, SchemaSummary, Stores, Verdict},
};
use serde_json::Value;

use crate::builder::BusError;

/// Where a new group begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With what is published from now on.
    #[default]
    Head,
    /// With the oldest event that is kept.
    Earliest,
    /// Behind a mark.
    Mark(Cursor),
    /// Behind an operator's checkpoint, by name or id.
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

/// A validator for where there is no validation: every event is as good as its envelope.
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
