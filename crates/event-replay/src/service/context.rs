//! What a handler knows beside the payload: the service's state, the delivery, and how to emit what follows.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

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
    /// Which of the group's handlers of this event it is for, from 0.
    handler: usize,
    /// How many events of each type were emitted.
    turns: Mutex<HashMap<String, u32>>,
}

/// The circumstances of one call of a handler. Clones are of the same call.
pub struct Context<S> {
    inner: Arc<Inner<S>>,
}

impl<S> Context<S> {
    pub(crate) fn new(core: Arc<Core<S>>, delivery: Delivery, handler: usize) -> Self {
        Self { inner: Arc::new(Inner { core, delivery, handler, turns: Mutex::default() }) }
    }

    /// The state that the service was made with.
    pub fn state(&self) -> &S {
        &self.inner.core.state
    }

    /// The event that is handled.
    pub fn event(&self) -> &Event {
        &self.inner.delivery.stored.event
    }

    /// The delivery: the event with its position, its group, the deadline, and where it comes from.
    pub fn delivery(&self) -> &Delivery {
        &self.inner.delivery
    }

    /// The name of the handler in its group, for notes of what it has handled: the group, and a number where the group has several
    /// handlers of the event. It stays the same as long as these handlers are added in the same order.
    pub fn handler_name(&self) -> String {
        match self.inner.handler {
            0 => self.inner.delivery.group.clone(),
            number => format!("{}#{number}", self.inner.delivery.group),
        }
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.inner.delivery.attempt
    }

    /// Whether the group gives up should this attempt fail.
    pub fn is_last_attempt(&self) -> bool {
        self.inner.delivery.is_last_attempt
    }

    /// Whether a replay delivers it.
    pub fn is_replay(&self) -> bool {
        self.inner.delivery.is_replay()
    }

    /// Waits until the service begins to stop. A handler that would take longer than the grace then ends with an error: the delivery
    /// is delivered again, to the next consumer of the group. Cancel-safe.
    pub async fn cancelled(&self) {
        self.inner.core.stopping.cancelled().await;
    }

    /// Reads every event of a filter, to decide on: see [`RunningService::history`](super::RunningService::history). Of the events that
    /// this call emits, those of the filter come after it too.
    ///
    /// # Errors
    /// When the store fails, or an event that may match is damaged.
    pub async fn history(&self, filter: Filter) -> Result<History, EventStoreError> {
        History::read(&**self.inner.core.bus.store(), filter).await
    }

    /// Emits an event that follows from the one that is handled: await what it returns.
    ///
    /// It has the correlation id of that event, and that event as its cause. Its id is made from that event, the group, its type, and
    /// how many of its type this call of the handler emitted before. So a second attempt, or a replay, stores nothing twice, whatever
    /// time it is then: what the first one stored stays. A handler must emit the events of one type in the same order in each
    /// attempt; where it cannot, [`Context::emit_named`] tells them apart.
    pub fn emit(&self, event: impl IntoEvent) -> Emit {
        let event = event.into_event();
        let event_type = event.as_ref().map(|event| event.event_type().to_owned()).unwrap_or_default();
        let turn = Turn::Number(self.next_turn(event_type));
        self.emission(turn).emit(event)
    }

    /// Emits an event as [`Context::emit`] does. A name tells it apart from others of its type that follow from the same event, such as
    /// the number of a line of an order.
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
        let Inner { core, delivery, handler, .. } = &*self.inner;
        Origin::Handler {
            bus: core.bus.clone(),
            source: core.name.clone(),
            cause: delivery.stored.event.clone(),
            group: delivery.group.clone(),
            handler: *handler,
            turn,
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
