//! The JSON documents for programs. Every front end uses the same documents: the command line prints them with
//! `--output json`, and the HTTP API returns them.
//!
//! A published member keeps its name and its meaning. Report types of other modules are also documents. This module
//! does not repeat them.

mod dead_letters;
mod erasure;
mod events;
mod groups;
mod replays;
mod scheduled;
mod schemas;

use serde::Serialize;

pub use self::{
    dead_letters::{
        BulkEditDocument, DeadLetterDocument, DeadLetterList, DeadLetterPage, DiscardDocument,
        EditedDocument, RedrivePreview, state_name,
    },
    erasure::ErasureDocument,
    events::{event_list, event_page_end, event_page_separator, event_with_facts},
    groups::{
        BlockedKeyDocument, GroupCreatedDocument, GroupDocument, GroupMovedDocument, GroupPausedDocument,
        GroupResumedDocument, GroupRow, group_rows,
    },
    replays::{ReplayRequestedDocument, ReplayStartedDocument},
    scheduled::{CancelledDocument, ScheduledDocument, ScheduledList},
    schemas::{SchemaAdded, SchemaDocument, SchemaRemoved},
};

/// A deleted thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Deleted<'a> {
    /// Its name or id.
    pub deleted: &'a str,
}
