//! The bus publishes events and delivers events to the handlers of consumer groups.
//!
//! To publish means to validate an event and to append it to the log. The log *is* the bus, so each appended event is
//! published. [`Bus::publish`] publishes one event. [`Intake`] publishes the events of a file or a pipe. Consumer
//! groups read the log. [`Bus::subscribe`] starts a [`Consumer`] in this process. It shares the work of its group with
//! the consumers of other processes. This crate depends only on ports.

mod append;
mod batcher;
pub mod batches;
pub mod builder;
pub mod bus;
mod clock;
pub mod consumer;
pub mod deliveries;
mod doubt;
pub mod error_scope;
#[cfg(test)]
mod fixtures;
pub mod intake;
pub mod lines;
pub mod pool;
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

pub use batches::{BatchHandler, BatchLimits, DeliveryBatch, batched};
pub use builder::{BusBuilder, BusError, BusSettings};
pub use bus::Bus;
pub use clock::RuntimeClock;
pub use consumer::{
    BreakerSettings, Consumer, ConsumerError, ConsumerSettings, ConsumerState, MAX_CONCURRENCY, Outage,
};
pub use deliveries::{Deliveries, DeliveryExpired, InFlightDelivery};
pub use intake::{Intake, IntakeError, IntakeOptions};
pub use lines::{BlockingLineReader, Line, LineReader, line_limit};
pub use pool::{DeliveryPool, Handout, ReceiverAnswer, SettleEffect};
pub use publish_error::{PublishError, Rejection};
pub use published::Published;
pub use publisher::Publisher;
pub use report::{IntakeProgress, IntakeReport, LineError, RefusedLine};
pub use schedule::SchedulePump;
pub use settings::{PublishOptions, PublishSettings, SameEvent, UnknownTypes};
pub use start::{NoValidator, StartAt};
pub use subscription::{Subscription, handler};
