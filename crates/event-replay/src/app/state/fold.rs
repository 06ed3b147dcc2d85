//! The ways to fold events into a state: merges of their data, or a command.

use domain::{StoredEvent, UpcastError};
use serde::Deserialize;
use serde_json::value::RawValue;
use targets::{ExecCommand, ExecError, ExecFailure, ExecFilter, write_event};
use thiserror::Error;

use crate::app::json_tree::JsonTree;

/// The way to fold events into a state.
#[derive(Debug, Clone)]
pub enum FoldMethod {
    /// The `data` of each event is a JSON Merge Patch (RFC 7396) of the state. The state begins as an empty object.
    Merge,
    /// The command gets the events on its stdin, one a line, and writes the state to its stdout as JSON.
    Command(ExecCommand),
}

/// The reason for which a command did not fold a state.
#[derive(Debug, Error)]
pub enum FoldError {
    /// The command cannot be started.
    #[error("the fold cannot be started")]
    Start(#[source] ExecError),
    /// The command failed.
    #[error(transparent)]
    Failed(ExecFailure),
    /// An event cannot be upcast.
    #[error(transparent)]
    Upcast(UpcastError),
    /// The output of the command is not JSON.
    #[error("the command wrote no JSON document to its stdout: {0}")]
    NotJson(String),
}

/// A fold at work.
pub(super) enum Fold {
    Merge(JsonTree),
    Command(Box<ExecFilter>),
}

impl Fold {
    pub(super) fn start(method: &FoldMethod) -> Result<Self, FoldError> {
        Ok(match method {
            FoldMethod::Merge => Self::Merge(JsonTree::empty()),
            FoldMethod::Command(command) => {
                Self::Command(Box::new(ExecFilter::start(command).map_err(FoldError::Start)?))
            }
        })
    }

    /// Adds an event. A command that fails reports it at the end.
    pub(super) async fn add(&mut self, stored: &StoredEvent) {
        match self {
            Self::Merge(state) => {
                if let Some(data) = data(stored) {
                    state.merge(&data);
                }
            }
            Self::Command(filter) => {
                let mut line = Vec::new();
                write_event(&stored.event, &mut line);
                line.push(b'\n');
                filter.write(&line).await;
            }
        }
    }

    /// Returns the state.
    pub(super) async fn finish(self) -> Result<JsonTree, FoldError> {
        let output = match self {
            Self::Merge(state) => return Ok(state),
            Self::Command(filter) => filter.finish().await.map_err(FoldError::Failed)?,
        };
        let text = String::from_utf8(output).map_err(|error| FoldError::NotJson(error.to_string()))?;
        JsonTree::parse(&text).map_err(|error| FoldError::NotJson(error.to_string()))
    }
}

/// Returns the `data` of an event, if it has any. Null is no data.
pub(super) fn data(stored: &StoredEvent) -> Option<JsonTree> {
    #[derive(Deserialize)]
    struct Content<'a> {
        #[serde(borrow)]
        data: Option<&'a RawValue>,
    }
    // An admitted event is JSON, and its depth is bounded.
    let content: Content<'_> = serde_json::from_str(stored.event.json()).ok()?;
    JsonTree::parse(content.data?.get()).ok()
}
