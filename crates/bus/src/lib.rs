//! The bus: publish events, and hand them to the handlers of consumer groups.
//!
//! Publish means validate, then append; the log *is* the bus, so what is appended is published. One event goes through
//! [`Bus::publish`], a file or a pipe of them through [`Intake`]. Groups read the log: [`Bus::subscribe`] starts a
//! [`Consumer`] in this process, which shares the group's work with those of other processes. This crate depends on ports
//! alone.

mod append;
mod batcher;
pub mod builder;
pub mod bus;
mod clock;
pub mod consumer;
mod doubt;
pub mod error_scope;
pub mod intake;
pub mod lines;
pub mod publish_error;
pub mod published;
mod publisher;
pub mod report;
pub mod schedule;
pub mod settings;
mod shared;
pub mod start;
pub mod subscription;
pub mod trace;

pub use builder::{BusBuilder, BusError, BusSettings};
pub use bus::Bus;
pub use clock::RuntimeClock;
pub use consumer::{
    BreakerSettings, Consumer, ConsumerError, ConsumerSettings, ConsumerState, MAX_CONCURRENCY, Outage,
};
pub use intake::{Intake, IntakeError, IntakeOptions};
pub use lines::{BlockingLineReader, Line, LineReader, line_limit};
pub use publish_error::{PublishError, Rejection};
pub use published::Published;
pub use publisher::Publisher;
pub use report::{IntakeProgress, IntakeReport, LineError};
pub use schedule::SchedulePump;
pub use settings::{PublishOptions, PublishSettings, SameEvent, UnknownTypes};
pub use start::{NoValidator, StartAt};
pub use subscription::{Subscription, handler};
