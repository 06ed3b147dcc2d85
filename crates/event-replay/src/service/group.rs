//! A consumer group of a service: its handlers and its settings.

use std::{collections::BTreeSet, time::Duration};

use bus::{StartAt, Subscription};
use domain::{Backoff, Event, group::GroupKey};

use super::{
    handler::{Handler, Route},
    payload::Payload,
};

type Setting = Box<dyn FnOnce(Subscription) -> Subscription + Send>;

/// The definition of a consumer group of a service. `docs/delivery.md` states the guarantees for handlers.
#[must_use = "a group that is not returned to its service handles nothing"]
pub struct Group<S> {
    pub(crate) name: String,
    pub(crate) routes: Vec<Route<S>>,
    pub(crate) settings: Vec<Setting>,
}

impl<S> std::fmt::Debug for Group<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group")
            .field("name", &self.name)
            .field("types", &self.types())
            .finish_non_exhaustive()
    }
}

impl<S> Group<S> {
    pub(crate) fn new(name: String) -> Self {
        Self { name, routes: Vec::new(), settings: Vec::new() }
    }

    /// Returns the event types of its handlers. An empty set means all types.
    pub(crate) fn types(&self) -> BTreeSet<&str> {
        if self.routes.iter().any(|route| route.types.is_empty()) {
            return BTreeSet::new();
        }
        self.routes.iter().flat_map(|route| &route.types).map(String::as_str).collect()
    }
}

impl<S: Send + Sync + 'static> Group<S> {
    /// Adds a handler for the event types of its payload. If several handlers of the group match an event, each handles
    /// the event, in the order in which they were added. The delivery succeeds when all of them succeed.
    pub fn on<A: 'static>(self, handler: impl Handler<S, A>) -> Self {
        self.route(handler, true)
    }

    /// Adds a handler as [`Group::on`] does, but the handler gets no replayed event. Use it for effects that must not
    /// happen again when a read model is rebuilt, such as mail and payments. The handler gets redriven dead letters.
    pub fn on_live<A: 'static>(self, handler: impl Handler<S, A>) -> Self {
        self.route(handler, false)
    }

    fn route<A: 'static, H: Handler<S, A>>(mut self, handler: H, takes_replays: bool) -> Self {
        self.routes.push(Route::new(H::Payload::types(), handler, takes_replays));
        self
    }

    /// Adds a handler for events of every type. The handler gets the [`Event`].
    pub fn on_any<A: 'static>(self, handler: impl Handler<S, A, Payload = Event>) -> Self {
        self.route(handler, true)
    }

    /// Adds a handler for these event types or patterns, such as `payment.*`. The handler gets the [`Event`].
    pub fn on_types<A: 'static, T: Into<String>>(
        mut self,
        types: impl IntoIterator<Item = T>,
        handler: impl Handler<S, A, Payload = Event>,
    ) -> Self {
        let types = types.into_iter().map(Into::into).collect();
        self.routes.push(Route::new(types, handler, true));
        self
    }

    fn set(mut self, setting: impl FnOnce(Subscription) -> Subscription + Send + 'static) -> Self {
        self.settings.push(Box::new(setting));
        self
    }

    /// Sets the number of retries after a failed delivery. The default is 3.
    pub fn max_retries(self, retries: u32) -> Self {
        self.set(move |subscription| subscription.max_retries(retries))
    }

    /// Sets the pauses between attempts.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.set(move |subscription| subscription.backoff(backoff))
    }

    /// Sets the time limit of each handler call. The default is 30 seconds.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(move |subscription| subscription.timeout(timeout))
    }

    /// Sets the number of concurrent handlers, 1 to 64. The default is 16. Events of one key are always handled one at
    /// a time.
    pub fn concurrency(self, handlers: usize) -> Self {
        self.set(move |subscription| subscription.concurrency(handlers))
    }

    /// Sets the start position of a new group. The default is the head of the log.
    pub fn start_at(self, start: StartAt) -> Self {
        self.set(move |subscription| subscription.start_at(start))
    }

    /// Sets the ordering key of a new group.
    pub fn ordered_by(self, key: GroupKey) -> Self {
        self.set(move |subscription| subscription.ordered_by(key))
    }

    /// Sets the number of segments of a new group. At most this number of processes can share the work.
    pub fn segments(self, segments: u16) -> Self {
        self.set(move |subscription| subscription.segments(segments))
    }

    /// Sets whether a key waits behind its dead letter until the letter is redriven or discarded.
    pub fn park(self, park: bool) -> Self {
        self.set(move |subscription| subscription.park(park))
    }

    /// Sets the lease time. Other consumers take over the work of a dead process after this time. The default is 10
    /// seconds.
    pub fn lease(self, lease: Duration) -> Self {
        self.set(move |subscription| subscription.lease(lease))
    }

    /// Sets the time that running handlers have to end when the service stops. The default is 20 seconds.
    pub fn grace(self, grace: Duration) -> Self {
        self.set(move |subscription| subscription.grace(grace))
    }

    /// Sets the name of this process among the consumers of the group. The default is a generated name.
    pub fn consumer_name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.set(move |subscription| subscription.named(name))
    }
}
