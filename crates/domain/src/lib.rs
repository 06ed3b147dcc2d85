//! The domain of Event Replay: events, positions, filters, and the ports that adapters implement. This crate does no
//! I/O, uses no async runtime, and names no backend.
//!
//! Read the modules in this order: [`event`] (the stored data), [`position`] (places in the log), [`filter`]
//! (selections of events), [`ports`] (the ports and their laws).

pub mod audit;
pub mod backoff;
pub mod batch;
pub mod checkpoint;
pub mod condition;
pub mod dead_letter;
pub mod delivery;
pub mod entity;
pub mod error;
pub mod event;
pub mod expectation;
pub mod filter;
pub mod group;
mod hex;
pub mod holds;
pub mod ordering;
pub mod plan;
pub mod ports;
pub mod position;
pub mod replay;
pub mod request;
pub mod retention;
pub mod schedule;
pub mod stats;
pub mod stored;
pub mod tally;
pub mod time;
pub mod token;
pub mod upcast;
pub mod violation;

pub use backoff::{Backoff, Jitter, RETRY_WITHIN, RetryPolicy};
pub use checkpoint::Checkpoint;
pub use condition::Condition;
pub use dead_letter::{DeadLetter, DeadLetterState};
pub use delivery::{Delivery, DeliveryOrigin, HandlerError};
pub use entity::Entity;
pub use error::{Retry, StorageFailure};
pub use event::{DeliveryOptions, Priority};
pub use event::{Document, Event, Limits, NewEvent};
pub use expectation::{Expectation, ExpectationScope, UnexpectedEvent};
pub use filter::{Filter, TypePattern};
pub use hex::hex;
pub use ordering::{OrderingKey, OrderingRule};
pub use position::{Cursor, Position, StoreId};
pub use retention::{Hold, RetentionRule};
pub use stored::{CorruptEvent, StoredEvent};
pub use tally::{Figure, Tally};
pub use upcast::{UpcastError, Upcasters, UpcastersBuilder, UpcastersError};
pub use violation::Violation;
