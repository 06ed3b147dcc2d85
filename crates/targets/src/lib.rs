//! Targets of deliveries besides functions of the program, and the writer of events as lines.
//!
//! | target | for groups | for replays |
//! |---|---|---|
//! | lines of JSON: stdout, a file, a pipe | [`LinesHandler`] | [`NdjsonTarget`] |
//! | a command: one event a line in, one answer a line out; or one process for each event | [`ExecHandler`] | [`ExecTarget`] |
//! | an HTTP endpoint | [`HttpHandler`] | [`HttpTarget`] |
//!
//! A target that implements [`AnsweringTarget`] also returns its answers, so that two targets can be compared.
//! [`ExecFilter`] runs a command that folds all events into one result.
//!
//! [`json_line`] is the only writer of event lines. Replays, exports and lists all use it. So each of them, and an
//! import, can read the output of the others.

mod answer;
mod batch;
mod excerpt;
mod exec;
mod failure;
mod http;
pub mod json_line;
mod lines;
mod ndjson;
mod pause;

pub use answer::{AnswerStatus, AnsweringTarget, NoAnswer, TargetAnswer};
pub use exec::{ExecCommand, ExecError, ExecFailure, ExecFilter, ExecHandler, ExecNotices, ExecTarget};
pub use http::{Endpoint, EndpointError, HttpHandler, HttpTarget};
pub use json_line::{
    push_safe_json, write_delivered, write_delivery, write_event, write_replayed, write_stored,
};
pub use lines::{LinesHandler, OutputEnd};
pub use ndjson::NdjsonTarget;
