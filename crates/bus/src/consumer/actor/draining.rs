//! Ends a consumer in order: handlers finish or are cancelled, answers are committed, segments are released.

use std::{sync::Arc, time::Duration};

use domain::ports::SegmentCommit;
use tokio::time::Instant;

use super::{
    Actor, COMMIT_WITHIN, Isolation,
    outage::{Call, SILENT},
};
use crate::consumer::stopping::Stopping;

/// The time in which an ending consumer retries a commit. A call in progress is not cut short.
const LAST_TRIES: Duration = Duration::from_secs(5);

impl Actor {
    /// Lets running handlers finish or cancels them, commits their answers, and releases the segments.
    pub(super) async fn drain(&mut self) {
        let mut deadline = Instant::now() + self.settings.grace;
        // No isolated attempt starts any more. Waiting for the exclusive permit would delay other consumers.
        if let Isolation::Draining(waiting) = &self.isolation {
            waiting.abort();
        }
        if self.tasks.is_empty() || !matches!(self.isolation, Isolation::Exclusive { .. }) {
            self.isolation = Isolation::Shared;
        }
        while !self.tasks.is_empty() && Instant::now() < deadline && self.ended.is_none() {
            // The consumer may also be dropped while it ends in order.
            if *self.stop.borrow_and_update() == Stopping::AtOnce {
                deadline = Instant::now();
                continue;
            }
            // The running deliveries still belong to this consumer, so its leases are renewed meanwhile.
            let now = Instant::now();
            self.renew(now);
            self.commit(now);
            let timer = (now + COMMIT_WITHIN).min(deadline);
            tokio::select! {
                Some(done) = self.tasks.join_next_with_id() => self.handed(done),
                Some(io) = self.io.join_next(), if !self.io.is_empty() => self.came(io),
                Ok(()) = self.stop.changed() => {}
                () = tokio::time::sleep_until(timer) => {}
            }
        }
        self.tasks.abort_all();
        // A handler that reaches no `await` cannot be cancelled. Its segment keeps its lease and claims, as after a
        // crash.
        let patience = Instant::now() + Duration::from_secs(1);
        while let Ok(Some(done)) = tokio::time::timeout_at(patience, self.tasks.join_next_with_id()).await {
            self.handed(done);
        }
        let asked = Instant::now();
        // A lease request in progress could arrive after the release and take the segments again.
        while (self.committing || self.leasing) && self.ended.is_none() {
            self.note_silence(Instant::now());
            let timer = tokio::time::sleep(SILENT);
            tokio::select! {
                io = self.io.join_next() => match io {
                    Some(io) => self.came(io),
                    None => break,
                },
                () = timer => {}
            }
        }
        if !self.commit_the_rest(asked).await {
            // The consumer does not wait again for a store that does not answer. Others get the segments when the lease
            // expires.
            return;
        }
        let (group, name) = (self.rules.spec.name.clone(), self.settings.name.clone());
        let (store, token) = (Arc::clone(&self.shared.store), self.token);
        if let Err(error) = self.watched(Call::Lease, store.leave(&group, &name, token)).await {
            tracing::warn!(%group, %error, "the segments could not be given back; others get them when the lease is over");
        }
    }

    /// Commits all uncommitted state. Returns whether the store accepted the commit. Retries only within
    /// [`LAST_TRIES`].
    async fn commit_the_rest(&mut self, asked: Instant) -> bool {
        let now = self.now();
        let store = Arc::clone(&self.shared.store);
        if let Some((_, commits)) = self.commit_again.take() {
            if asked.elapsed() > LAST_TRIES {
                return false;
            }
            // The commit that failed before goes first, because the state of the segments builds on it.
            let outcome = self.watched(Call::Commit, store.commit(&commits)).await;
            if let Err(error) = &outcome {
                tracing::warn!(group = %self.rules.spec.name, "the last outcomes could not be committed; these events will be redelivered");
                self.fault(Call::Commit, error);
                return false;
            }
            self.committed(commits, outcome);
        }
        let busy: Vec<u16> = self.running.values().map(|running| running.unit.segment).collect();
        let free = self.segments.iter_mut().filter(|(number, _)| !busy.contains(number));
        let commits: Vec<SegmentCommit> =
            free.map(|(_, segment)| segment.last_commit(&self.rules, now)).collect();
        if commits.is_empty() {
            return true;
        }
        while asked.elapsed() < LAST_TRIES {
            match self.watched(Call::Commit, store.commit(&commits)).await {
                Ok(_) => {
                    self.answered_by_store(Call::Commit);
                    return true;
                }
                Err(error) => {
                    let pause = self.fault(Call::Commit, &error);
                    tokio::time::sleep(pause).await;
                }
            }
        }
        false
    }
}
