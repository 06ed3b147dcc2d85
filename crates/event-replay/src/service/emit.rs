//! Emitting: an event with its options, and its way to the log.

use std::{pin::Pin, time::Duration};

use bus::{
    Bus, PublishError, PublishOptions, Published, SameEvent,
    trace::{self, TraceParent},
};
use domain::{Event, Expectation, NewEvent, Priority, Retry, UnexpectedEvent, event::UnwritableData};
use jiff::Timestamp;
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use super::{
    ids::{Cause, Turn, derived},
    typed::EncodeError,
};

/// Why an event was not emitted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The value cannot become an event.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The data cannot be written as JSON.
    #[error(transparent)]
    Data(#[from] UnwritableData),
    /// It has delivery options or an expectation where only the event itself is taken.
    #[error(
        "an event that is published later takes no delivery options and no expectation: leave them out, or emit it now"
    )]
    Options,
    /// It was not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl EmitError {
    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Publish(error) => error.retry(),
            Self::Encode(_) | Self::Data(_) | Self::Options => Retry::Never,
        }
    }

    /// The event because of which an emission was refused that expected none of its kind.
    pub fn unexpected(&self) -> Option<&UnexpectedEvent> {
        match self {
            Self::Publish(error) => error.unexpected(),
            Self::Encode(_) | Self::Data(_) | Self::Options => None,
        }
    }

    /// A short stable name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Encode(error) => error.kind(),
            Self::Data(_) => "unwritable",
            Self::Options => "options-not-kept",
            Self::Publish(error) => error.kind(),
        }
    }
}

/// Where an event comes from.
pub(crate) enum Origin {
    /// The service itself.
    Service { bus: Bus, source: String },
    /// A handler: the event follows from another one.
    Handler { bus: Bus, source: String, cause: Event, group: String, handler: usize, turn: Turn },
}

impl Origin {
    pub(crate) fn emit(self, event: Result<NewEvent, EncodeError>) -> Emit {
        Emit { origin: self, event, options: PublishOptions::default() }
    }

    fn bus(&self) -> (&Bus, &str) {
        match self {
            Self::Service { bus, source } | Self::Handler { bus, source, .. } => (bus, source),
        }
    }

    /// The event, with what it inherits from its cause.
    fn inherit(&self, event: NewEvent) -> NewEvent {
        let Self::Handler { cause, .. } = self else { return event };
        let event = match (event.given_correlation(), cause.correlation_id()) {
            (None, Some(id)) => event.correlation(id),
            _ => event,
        };
        match event.given_causation() {
            None => event.causation(cause.id()),
            Some(_) => event,
        }
    }

    /// The id of an event that was given none, and whether it says which event it is.
    fn id(&self, event_type: &str) -> (String, SameEvent) {
        match self {
            Self::Service { .. } => (Uuid::now_v7().to_string(), SameEvent::ByContent),
            Self::Handler { cause, group, handler, turn, .. } => {
                let cause = Cause { event_id: cause.id(), group, handler: *handler, event_type };
                (derived(cause, turn), SameEvent::ById)
            }
        }
    }
}

/// An event that is emitted when this is awaited. The answer says whether it was stored now or had been before.
#[must_use = "an event is emitted when this is awaited"]
pub struct Emit {
    origin: Origin,
    event: Result<NewEvent, EncodeError>,
    options: PublishOptions,
}

impl std::fmt::Debug for Emit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emit").field("event", &self.event).field("options", &self.options).finish()
    }
}

impl Emit {
    fn with(mut self, change: impl FnOnce(NewEvent) -> NewEvent) -> Self {
        self.event = self.event.map(change);
        self
    }

    /// The workflow it belongs to.
    pub fn correlation(self, id: impl Into<String>) -> Self {
        self.with(|event| event.correlation(id))
    }

    /// The event that caused it.
    pub fn causation(self, id: impl Into<String>) -> Self {
        self.with(|event| event.causation(id))
    }

    /// Its id, made from what the event is about, such as the number of the order. It then decides alone: emitting under the same id
    /// once more stores nothing, and what was stored first stays. Under the id of an event of another type or ordering key nothing
    /// is stored, and the answer is [`PublishError::Conflict`].
    pub fn id(self, id: impl Into<String>) -> Self {
        self.with(|event| event.id(id))
    }

    /// When it happened; now where nothing is said.
    pub fn at(self, timestamp: Timestamp) -> Self {
        self.with(|event| event.at(timestamp))
    }

    /// Adds a member to its metadata.
    pub fn metadata(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(|event| event.metadata(name, value))
    }

    /// It waits for so long before it is appended to the log.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay = Some(delay);
        self
    }

    /// Among the events that a group has fetched, which goes first. Never before an earlier event of its key.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// From this instant on it is not delivered any more; a replay takes no notice.
    pub fn expires_at(mut self, expires_at: Timestamp) -> Self {
        self.options.expires_at = Some(expires_at);
        self
    }

    /// How often a failed delivery of it is tried again, instead of the group's own setting.
    pub fn retries(mut self, retries: u16) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// Emits it only if an expectation holds, checked in the step that stores it: mostly [`History::unchanged`] of what the decision
    /// to emit it was based on. Where it does not hold, nothing is stored, and [`EmitError::unexpected`] names the event that was
    /// stored meanwhile. It goes with no delay.
    ///
    /// [`History::unchanged`]: super::History::unchanged
    pub fn expecting(mut self, expectation: Expectation) -> Self {
        self.options.expecting = Some(expectation);
        self
    }

    /// Makes the event and checks it as an emission does, and stores nothing: for an outbox, which publishes [`Event::json`] later, under
    /// [`SameEvent::ById`]. It has the time, the id and the cause that it would have if it were emitted now.
    ///
    /// # Errors
    /// When it is not valid, or has delivery options or an expectation: these are no part of the event.
    pub fn admit(self) -> Result<Event, EmitError> {
        if self.options != PublishOptions::default() {
            return Err(EmitError::Options);
        }
        let (bus, json, _) = self.written()?;
        Ok(bus.publisher().admit(json.as_bytes()).map_err(PublishError::Rejected)?)
    }

    async fn publish(self) -> Result<Published, EmitError> {
        let options = self.options.clone();
        let (bus, json, same_event) = self.written()?;
        Ok(bus.publish_with(json.as_bytes(), &PublishOptions { same_event, ..options }).await?)
    }

    /// The event as JSON, and what makes it the same as one that is stored.
    fn written(self) -> Result<(Bus, String, SameEvent), EmitError> {
        let Self { origin, event, .. } = self;
        let event = origin.inherit(event?);
        let (bus, source) = origin.bus();
        let (id, same_event) = match event.given_id() {
            Some(id) => (id.to_owned(), SameEvent::ById),
            None => origin.id(event.event_type()),
        };
        let now = bus.clock().now();
        let json = event.json(&id, now, source)?;
        let json = match place_in_trace(&json) {
            Some(own) => event.metadata(TraceParent::MEMBER, own.to_string()).json(&id, now, source)?,
            None => json,
        };
        Ok((bus.clone(), json, same_event))
    }
}

/// The place of an event in the trace of this task. Where there is none, a trace begins if spans are recorded. None where the event
/// says its own.
fn place_in_trace(json: &str) -> Option<TraceParent> {
    let own = match trace::current() {
        Some(parent) => parent.child(),
        None if tracing::span_enabled!(target: trace::TARGET, tracing::Level::INFO) => TraceParent::root(),
        None => return None,
    };
    // A member of this name deep within the data counts too: better no trace than another one.
    (!json.contains(r#""traceparent":"#)).then_some(own)
}

impl IntoFuture for Emit {
    type Output = Result<Published, EmitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.publish())
    }
}
