//! Where deliveries can go besides functions of one's own, and how events are written one a line.
//!
//! | where | for groups | for replays |
//! |---|---|---|
//! | lines of JSON: stdout, a file, a pipe | [`LinesHandler`] | [`NdjsonTarget`] |
//! | a command: an event a line in, an answer a line out; or a process for each event | [`ExecHandler`] | [`ExecTarget`] |
//! | an HTTP endpoint | [`HttpHandler`] | [`HttpTarget`] |
//!
//! [`json_line`] is the one writer of event lines: replays, exports and lists all print through it, so that what one of
//! them wrote any of them, or an import, can read.

mod batch;
mod excerpt;
mod exec;
mod failure;
mod http;
pub mod json_line;
mod lines;
mod ndjson;
mod pause;

pub use exec::{ExecCommand, ExecError, ExecHandler, ExecNotices, ExecTarget};
pub use http::{Endpoint, EndpointError, HttpHandler, HttpTarget};
pub use json_line::{
    push_safe_json, write_delivered, write_delivery, write_event, write_replayed, write_stored,
};
pub use lines::{LinesHandler, OutputEnd};
pub use ndjson::NdjsonTarget;
