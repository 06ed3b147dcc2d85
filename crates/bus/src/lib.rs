//! Publishing: what is admitted, how it reaches the log, and the intake of long streams of events.
//!
//! Publish means validate, then append; the log *is* the bus, so what is appended is published. One event goes through
//! [`Publisher::publish`], a file or a pipe of them through [`Intake`].

mod append;
pub mod intake;
pub mod lines;
pub mod publisher;
pub mod report;
pub mod settings;

pub use intake::{Intake, IntakeError, IntakeOptions};
pub use lines::{BlockingLineReader, Line, LineReader, line_limit};
pub use publisher::{PublishError, Published, Publisher, Rejection};
pub use report::{IntakeProgress, IntakeReport, LineError};
pub use settings::{PublishSettings, RetryRule, UnknownTypes};
