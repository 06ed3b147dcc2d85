//! Ending in order: handlers end or are taken back, what they answered is committed, segments are given back.

use std::{sync::Arc, time::Duration};

use domain::ports::SegmentCommit;
use tokio::time::Instant;

use super::{Actor, COMMIT_WITHIN, Room};

impl Actor {
    /// Lets running handlers end, or takes their deliveries back; commits; gives the segments back.
    pub(super) async fn drain(&mut self) {
        let deadline = Instant::now() + self.settings.grace;
        // No suspect has its turn any more: who waits to be alone would keep others waiting.
        if let Room::Emptying(waiting) = &self.room {
            waiting.abort();
        }
        if self.tasks.is_empty() || !matches!(self.room, Room::Empty { .. }) {
            self.room = Room::Open;
        }
        while !self.tasks.is_empty() && Instant::now() < deadline && self.ended.is_none() {
            // What runs is still this consumer's: its leases are renewed meanwhile.
            self.renew();
            self.commit();
            let timer = (Instant::now() + COMMIT_WITHIN).min(deadline);
            tokio::select! {
                Some(done) = self.tasks.join_next_with_id() => self.handed(done),
                Some(io) = self.io.join_next(), if !self.io.is_empty() => self.came(io),
                () = tokio::time::sleep_until(timer) => {}
            }
        }
        self.tasks.abort_all();
        // A handler that does not come to an await cannot be taken back: its segment is left as it is, and its event
        // will be suspect.
        let patience = Instant::now() + Duration::from_secs(1);
        while let Ok(Some(done)) = tokio::time::timeout_at(patience, self.tasks.join_next_with_id()).await {
            self.handed(done);
        }
        while self.committing && self.ended.is_none() {
            match self.io.join_next().await {
                Some(io) => self.came(io),
                None => break,
            }
        }
        self.commit_the_rest().await;
        let (group, name) = (&self.rules.spec.name, &self.settings.name);
        if let Err(error) = self.shared.store.leave(group, name, self.token).await {
            tracing::warn!(%group, %error, "the segments could not be given back; others get them when the lease is over");
        }
    }

    pub(super) async fn commit_the_rest(&mut self) {
        let now = self.now();
        let store = Arc::clone(&self.shared.store);
        if let Some((_, commits)) = self.commit_again.take() {
            // What the store did not take before comes first: segments build on it.
            let outcome = store.commit(&commits).await;
            if outcome.is_err() {
                tracing::warn!(group = %self.rules.spec.name, "the last outcomes could not be committed and will come again");
                return;
            }
            self.committed(commits, outcome);
        }
        let busy: Vec<u16> = self.running.values().map(|running| running.unit.segment).collect();
        let free = self.segments.iter_mut().filter(|(number, _)| !busy.contains(number));
        let commits: Vec<SegmentCommit> =
            free.map(|(_, segment)| segment.last_commit(&self.rules, now)).collect();
        if commits.is_empty() {
            return;
        }
        for _ in 0..3 {
            match store.commit(&commits).await {
                Ok(_) => return,
                Err(error) => {
                    let pause = self.fault("the last outcomes could not be committed", &error);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }
}
