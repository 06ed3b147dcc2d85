//! The context of a handler, beside the payload: the state of the service, the delivery, and the emission of further
//! events.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use bus::trace::TraceParent;
use domain::{Delivery, Event, Filter, ports::EventStoreError};

use super::{
    emit::{Emit, Origin},
    history::History,
    ids::Turn,
    shared::Core,
    typed::IntoEvent,
};

struct Inner<S> {
    core: Arc<Core<S>>,
    delivery: Delivery,
    /// The index, from 0, among the handlers of the group that match this event.
    handler: usize,
    /// The place of the delivery in its trace, if it has one.
    trace: Option<TraceParent>,
    /// The number of events that this call has emitted, by type.
    turns: Mutex<HashMap<String, u32>>,
}

/// The context of one call of a handler. Clones belong to the same call.
pub struct Context<S> {
    inner: Arc<Inner<S>>,
}

impl<S> Context<S> {
    pub(crate) fn new(
        core: Arc<Core<S>>,
        delivery: Delivery,
        handler: usize,
        trace: Option<TraceParent>,
    ) -> Self {
        Self { inner: Arc::new(Inner { core, delivery, handler, trace, turns: Mutex::default() }) }
    }

    /// Returns the state of the service.
    pub fn state(&self) -> &S {
        &self.inner.core.state
    }

    /// Returns the event of the delivery.
    pub fn event(&self) -> &Event {
        &self.inner.delivery.stored.event
    }

    /// Returns the delivery: the event with its position, the group, the deadline, and the origin.
    pub fn delivery(&self) -> &Delivery {
        &self.inner.delivery
    }

    /// Returns the name of the handler in its group. Use it as a key when you record handled events. The name is the
    /// name of the group. If several handlers of the group match the event, a number follows for every handler after
    /// the first. The name stays the same while these handlers are added in the same order.
    pub fn handler_name(&self) -> String {
        match self.inner.handler {
            0 => self.inner.delivery.group.clone(),
            number => format!("{}#{number}", self.inner.delivery.group),
        }
    }

    /// Returns the number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.delivery.attempt
    }

    /// Returns whether the group gives up if this attempt fails.
    pub fn is_last_attempt(&self) -> bool {
        self.inner.delivery.is_last_attempt
    }

    /// Returns whether a replay delivers the event.
    pub fn is_replay(&self) -> bool {
        self.inner.delivery.is_replay()
    }

    /// Waits until the service begins to stop. A handler that needs longer than the grace time should then return an
    /// error. The group delivers the event again to its next consumer. This call is cancel-safe.
    pub async fn cancelled(&self) {
        self.inner.core.stopping.cancelled().await;
    }

    /// Reads every event that matches a filter, as the basis of a decision: see
    /// [`RunningService::history`](super::RunningService::history). If this call emits events that match the filter,
    /// they also count as later events.
    ///
    /// # Errors
    /// Returns [`EventStoreError`] when the store fails, or when an event that may match is damaged.
    pub async fn history(&self, filter: Filter) -> Result<History, EventStoreError> {
        History::read(&self.inner.core.bus, filter).await
    }

    /// Emits an event that follows from the handled event. The emission runs when the returned value is awaited.
    ///
    /// The new event has the correlation id of the handled event, and the id of the handled event as its causation id.
    /// Its own id is derived from the handled event, the group, the handler, the new event's type, and a number. The
    /// number counts the events of this type that the call has emitted before. A second attempt or a replay derives the
    /// same ids, so it stores nothing twice. The event that was stored first stays, also when the time has changed.
    ///
    /// A handler must emit the events of one type in the same order in each attempt. If it cannot, use
    /// [`Context::emit_named`].
    pub fn emit(&self, event: impl IntoEvent) -> Emit {
        let event = event.into_event();
        let event_type = event.as_ref().map(|event| event.event_type().to_owned()).unwrap_or_default();
        let turn = Turn::Number(self.next_turn(event_type));
        self.emission(turn).emit(event)
    }

    /// Emits an event as [`Context::emit`] does, but a name replaces the number in the id. The name distinguishes
    /// events of one type that follow from the same event. An example is the number of an order line.
    pub fn emit_named(&self, name: impl Into<String>, event: impl IntoEvent) -> Emit {
        self.emission(Turn::Name(name.into())).emit(event.into_event())
    }

    fn next_turn(&self, event_type: String) -> u32 {
        let mut turns = self.inner.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let next = turns.entry(event_type).or_default();
        let turn = *next;
        *next = next.saturating_add(1);
        turn
    }

    fn emission(&self, turn: Turn) -> Origin {
        let Inner { core, delivery, handler, trace, .. } = &*self.inner;
        Origin::Handler {
            bus: core.bus.clone(),
            source: core.name.clone(),
            cause: delivery.stored.event.clone(),
            group: delivery.group.clone(),
            handler: *handler,
            turn,
            trace: *trace,
        }
    }
}

impl<S> Clone for Context<S> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<S> fmt::Debug for Context<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("delivery", &self.inner.delivery).finish_non_exhaustive()
    }
}
