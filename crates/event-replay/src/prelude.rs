//! What nearly every service names: `use event_replay::prelude::*;`.

pub use crate::{
    Bus, BusSettings, Clock, Consumer, Delivery, EventHandler, HandlerError, OpenOptions, PublishOptions,
    StartAt, Stores, async_trait, handler, open, open_with, replay_manager, settings_from_env, until_idle,
};
#[cfg(feature = "validation")]
pub use crate::{built_in_schemas, schemas_of};
