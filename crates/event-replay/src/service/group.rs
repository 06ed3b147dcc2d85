//! A consumer group of a service: its handlers and its settings.

use std::{collections::BTreeSet, time::Duration};

use bus::{StartAt, Subscription};
use domain::{Backoff, Event, group::GroupKey};

use super::{
    handler::{Handler, Route},
    payload::Payload,
};

type Setting = Box<dyn FnOnce(Subscription) -> Subscription + Send>;

/// A consumer group of a service in the making. See `docs/delivery.md` for what a group promises its handlers.
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

    /// The types that its handlers are given; empty: all.
    pub(crate) fn types(&self) -> BTreeSet<&str> {
        if self.routes.iter().any(|route| route.types.is_empty()) {
            return BTreeSet::new();
        }
        self.routes.iter().flat_map(|route| &route.types).map(String::as_str).collect()
    }
}

impl<S: Send + Sync + 'static> Group<S> {
    /// Handles events of the types that the handler's payload is of. An event that several handlers take is handled by each, in the
    /// order in which they were named; it is done when all are.
    pub fn on<A: 'static>(self, handler: impl Handler<S, A>) -> Self {
        self.route(handler, true)
    }

    /// Handles events as [`Group::on`] does, but none that a replay delivers: for mail, money, and whatever else must not happen again
    /// because a read model is built again. Redriven dead letters are delivered.
    pub fn on_live<A: 'static>(self, handler: impl Handler<S, A>) -> Self {
        self.route(handler, false)
    }

    fn route<A: 'static, H: Handler<S, A>>(mut self, handler: H, takes_replays: bool) -> Self {
        self.routes.push(Route::new(H::Payload::types(), handler, takes_replays));
        self
    }

    /// Handles events of every type: the handler is given the [`Event`] itself.
    pub fn on_any<A: 'static>(self, handler: impl Handler<S, A, Payload = Event>) -> Self {
        self.route(handler, true)
    }

    /// Handles events of these types, or of patterns such as `payment.*`: the handler is given the [`Event`] itself.
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

    /// How often a failed delivery is tried again; 3 times where nothing is said.
    pub fn max_retries(self, retries: u32) -> Self {
        self.set(move |subscription| subscription.max_retries(retries))
    }

    /// Pauses between attempts.
    pub fn backoff(self, backoff: Backoff) -> Self {
        self.set(move |subscription| subscription.backoff(backoff))
    }

    /// The time limit of its handlers; 30 seconds where nothing is said.
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(move |subscription| subscription.timeout(timeout))
    }

    /// Handlers at once, 1 to 64; 16 where nothing is said. Events of one key are handled one at a time in any case.
    pub fn concurrency(self, handlers: usize) -> Self {
        self.set(move |subscription| subscription.concurrency(handlers))
    }

    /// Where the group begins, should it be new; at the head of the log where nothing is said.
    pub fn start_at(self, start: StartAt) -> Self {
        self.set(move |subscription| subscription.start_at(start))
    }

    /// What keeps its order, should it be new.
    pub fn ordered_by(self, key: GroupKey) -> Self {
        self.set(move |subscription| subscription.ordered_by(key))
    }

    /// How many segments it has, should it be new: at most so many processes share its work.
    pub fn segments(self, segments: u16) -> Self {
        self.set(move |subscription| subscription.segments(segments))
    }

    /// Keys wait behind their dead letters until these are redriven or discarded.
    pub fn park(self, park: bool) -> Self {
        self.set(move |subscription| subscription.park(park))
    }

    /// How long a lease is good: a process that dies is taken over after this; 10 seconds where nothing is said.
    pub fn lease(self, lease: Duration) -> Self {
        self.set(move |subscription| subscription.lease(lease))
    }

    /// How long running handlers have to end when the service stops; 20 seconds where nothing is said.
    pub fn grace(self, grace: Duration) -> Self {
        self.set(move |subscription| subscription.grace(grace))
    }

    /// The name of this process among the consumers of the group; one is made up where none is given.
    pub fn consumer_name(self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.set(move |subscription| subscription.named(name))
    }
}
