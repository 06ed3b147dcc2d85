//! The items that most services need: `use event_replay::prelude::*;`.

pub use crate::{
    Bus, BusSettings, Clock, Consumer, Context, Delivery, EventHandler, Expectation, HandlerError,
    OpenOptions, PublishOptions, Result, ResultExt, RunningService, Service, StartAt, Stores, TypedEvent,
    async_trait, handler, open, open_with, permanent, replay_manager, retry_after, settings_from_env,
    shutdown_signal, until_idle,
};
// `Event` is the event type. With the feature `derive`, `Event` is also the derive macro.
pub use crate::Event;
#[cfg(feature = "derive")]
pub use crate::Events;
#[cfg(feature = "validation")]
pub use crate::{built_in_schemas, schemas_of};
