//! Outages of the store: the calls that fail or do not return, and the start of the outage.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{Backoff, Jitter};
use tokio::time::{Instant, sleep};

use super::Actor;
use crate::consumer::status::Outage;

/// The time after which a call counts as not answered.
pub(super) const SILENT: Duration = Duration::from_secs(2);

/// The pauses after faults of the store, before jitter is added.
const FAULTS: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(2500));

/// The kinds of requests to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Lease,
    Commit,
    Read,
    Key,
    Lane,
    Batch,
}

impl Call {
    fn failed(self) -> &'static str {
        match self {
            Self::Lease => "leases could not be renewed",
            Self::Commit => "outcomes could not be committed and will be again",
            Self::Read => "the log could not be read",
            Self::Key => "events of a blocked key could not be read",
            Self::Lane => "the replay lane could not be read",
            Self::Batch => "events of the replay lane could not be read",
        }
    }
}

/// The calls that failed at their last try, and the calls in progress.
#[derive(Debug, Default)]
pub(super) struct Calls {
    failing: BTreeMap<Call, String>,
    under_way: BTreeMap<Call, Instant>,
    silent: BTreeSet<Call>,
    since: Option<Instant>,
}

impl Calls {
    /// Returns the time at which the next call will count as not answered.
    pub(super) fn next_silence(&self) -> Option<Instant> {
        let waited_for = self.under_way.iter().filter(|(call, _)| !self.silent.contains(call));
        waited_for.map(|(_, asked)| *asked + SILENT).min()
    }

    fn outage(&mut self) -> Option<Outage> {
        if self.failing.is_empty() && self.silent.is_empty() {
            self.since = None;
            return None;
        }
        let since = *self.since.get_or_insert_with(Instant::now);
        Some(Outage { since: since.into_std(), error: self.failing.values().next().cloned() })
    }
}

impl Actor {
    /// Records the start of a call.
    pub(super) fn asking(&mut self, call: Call) {
        self.calls.under_way.insert(call, Instant::now());
    }

    /// Records a call that the store answered without an error.
    pub(super) fn answered_by_store(&mut self, call: Call) {
        self.calls.under_way.remove(&call);
        self.calls.silent.remove(&call);
        self.calls.failing.remove(&call);
        self.tell_outage();
    }

    /// Records a fault of the store. Returns the pause before the next try.
    pub(super) fn fault(&mut self, call: Call, error: &dyn std::fmt::Display) -> Duration {
        if self.faults == 0 {
            tracing::warn!(group = %self.rules.spec.name, %error, "{}", call.failed());
        }
        self.calls.under_way.remove(&call);
        self.calls.silent.remove(&call);
        self.calls.failing.insert(call, error.to_string());
        self.tell_outage();
        self.faults = self.faults.saturating_add(1);
        FAULTS.pause(self.faults, Jitter::Added, fastrand::f64())
    }

    /// Records the calls that are not answered in time.
    pub(super) fn note_silence(&mut self, now: Instant) {
        let is_silent = |asked: &Instant| *asked + SILENT <= now;
        let silent = self.calls.under_way.iter().filter(|(_, asked)| is_silent(asked)).map(|(call, _)| *call);
        let silent: BTreeSet<Call> = silent.collect();
        if !silent.is_subset(&self.calls.silent) {
            self.calls.silent.extend(silent);
            self.tell_outage();
        }
    }

    /// Waits for a call of an ending actor, and records it if it is not answered in time.
    pub(super) async fn watched<T>(&mut self, call: Call, answer: impl Future<Output = T>) -> T {
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            () = sleep(SILENT) => {
                self.calls.silent.insert(call);
                self.tell_outage();
            }
        }
        answer.await
    }

    fn tell_outage(&mut self) {
        let outage = self.calls.outage();
        self.state.send_if_modified(|state| {
            let is_news = state.outage != outage;
            state.outage = outage;
            is_news
        });
    }
}
