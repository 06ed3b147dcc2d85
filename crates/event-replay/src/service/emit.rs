//! The emission of events: an event with its options, and its append to the log.

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

/// The reason for which an event was not emitted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The value cannot be converted to an event.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The data cannot be written as JSON.
    #[error(transparent)]
    Data(#[from] UnwritableData),
    /// Delivery options or an expectation are set, but the call accepts only the event.
    #[error(
        "an event that is published later takes no delivery options and no expectation: leave them out, or emit it now"
    )]
    Options,
    /// The event was not published.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

impl EmitError {
    /// Returns whether a repeated call can succeed.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Publish(error) => error.retry(),
            Self::Encode(_) | Self::Data(_) | Self::Options => Retry::Never,
        }
    }

    /// Returns the event that violated the expectation of a refused emission.
    pub fn unexpected(&self) -> Option<&UnexpectedEvent> {
        match self {
            Self::Publish(error) => error.unexpected(),
            Self::Encode(_) | Self::Data(_) | Self::Options => None,
        }
    }

    /// Returns a short stable name of the error, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Encode(error) => error.kind(),
            Self::Data(_) => "unwritable",
            Self::Options => "options-not-kept",
            Self::Publish(error) => error.kind(),
        }
    }
}

/// The origin of an emitted event.
pub(crate) enum Origin {
    /// The service emits the event.
    Service { bus: Bus, source: String },
    /// A handler emits the event, which follows from another event.
    Handler {
        bus: Bus,
        source: String,
        cause: Event,
        group: String,
        handler: usize,
        turn: Turn,
        /// The place of the cause's delivery in its trace.
        trace: Option<TraceParent>,
    },
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

    /// Returns the place in a trace for an emission outside of any trace. A batch handler, for example, works outside of
    /// the tasks of its deliveries.
    fn trace(&self) -> Option<TraceParent> {
        match self {
            Self::Service { .. } => None,
            Self::Handler { trace, .. } => *trace,
        }
    }

    /// Returns the event with the correlation id and the causation id that it inherits from its cause.
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

    /// Returns the id of an event that has none, and the rule that decides whether a stored event is the same event.
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

/// An event that is emitted when this value is awaited. The answer states whether the event was stored now or earlier.
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

    /// Sets the correlation id: the id of the workflow to which the event belongs.
    pub fn correlation(self, id: impl Into<String>) -> Self {
        self.with(|event| event.correlation(id))
    }

    /// Sets the causation id: the id of the event that caused this event.
    pub fn causation(self, id: impl Into<String>) -> Self {
        self.with(|event| event.causation(id))
    }

    /// Sets the id of the event. Derive it from the subject of the event, such as the number of an order. The id alone
    /// then identifies the event. A second emission with the same id stores nothing, and the first event stays. If the
    /// id belongs to an event with another type or another ordering key, nothing is stored. The answer is then
    /// [`PublishError::Conflict`].
    pub fn id(self, id: impl Into<String>) -> Self {
        self.with(|event| event.id(id))
    }

    /// Sets the timestamp: the time at which the event happened. The default is now.
    pub fn at(self, timestamp: Timestamp) -> Self {
        self.with(|event| event.at(timestamp))
    }

    /// Adds a member to the metadata.
    pub fn metadata(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.with(|event| event.metadata(name, value))
    }

    /// Schedules the event: it is appended to the log after this delay.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.options.delay = Some(delay);
        self
    }

    /// Sets the priority among the events that a consumer has fetched. An event never overtakes an earlier event of its
    /// key.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// Sets the expiry. From this instant on the event is not delivered live. Replays ignore the expiry.
    pub fn expires_at(mut self, expires_at: Timestamp) -> Self {
        self.options.expires_at = Some(expires_at);
        self
    }

    /// Sets the number of retries after a failed delivery, in place of the setting of the group.
    pub fn retries(mut self, retries: u16) -> Self {
        self.options.retries = Some(retries);
        self
    }

    /// Emits the event only if an expectation holds. The store checks the expectation in the same step in which it
    /// stores the event. Use [`History::unchanged`] of the history on which the decision was based. If the expectation
    /// does not hold, nothing is stored, and [`EmitError::unexpected`] returns the later event. An expectation cannot
    /// be combined with a delay.
    ///
    /// [`History::unchanged`]: super::History::unchanged
    pub fn expecting(mut self, expectation: Expectation) -> Self {
        self.options.expecting = Some(expectation);
        self
    }

    /// Builds and validates the event as an emission does, but stores nothing. Use it for an outbox, which publishes
    /// [`Event::json`] later with [`SameEvent::ById`]. The event has the time, the id and the causation id that an
    /// emission would give it now.
    ///
    /// # Errors
    /// Returns [`EmitError`] when the event is not valid, or when it has delivery options or an expectation. Options
    /// and expectations are not part of the event.
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

    /// Returns the event as JSON, and the rule that decides whether a stored event is the same event.
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
        let json = match place_in_trace(&json, trace::current().or(origin.trace())) {
            Some(own) => event.metadata(TraceParent::MEMBER, own.to_string()).json(&id, now, source)?,
            None => json,
        };
        Ok((bus.clone(), json, same_event))
    }
}

/// Returns the trace context of an event below `parent`. Without a parent, a new trace begins if spans are recorded.
/// Returns `None` if the event has its own trace context.
fn place_in_trace(json: &str, parent: Option<TraceParent>) -> Option<TraceParent> {
    let own = match parent {
        Some(parent) => parent.child(),
        None if trace::is_recorded() => TraceParent::root(),
        None => return None,
    };
    // The search also finds a member of this name deep in the data. A missing trace is better than a wrong one.
    (!json.contains(r#""traceparent":"#)).then_some(own)
}

impl IntoFuture for Emit {
    type Output = Result<Published, EmitError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.publish())
    }
}
