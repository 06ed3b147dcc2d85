//! Where a replay can go besides consumer groups, and how events are written one a line.
//!
//! [`json_line`] is the one writer of event lines: replays, exports and lists all print through it, so that what one of
//! them wrote any of them, or an import, can read.

pub mod json_line;
mod ndjson;

pub use json_line::{push_safe_json, write_event, write_replayed, write_stored};
pub use ndjson::NdjsonTarget;
