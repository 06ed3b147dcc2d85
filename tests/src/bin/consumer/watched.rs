//! The store of a consumer with a record of its leases. As a fault, the store works without fencing.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use domain::{
    StorageFailure, StoredEvent,
    group::{
        BlockedKey, EventDelivery, GroupRecord, GroupSpec, GroupStatus, LaneBatch, Lease, NewLaneBatch,
        PassedEvents, Pending,
    },
    ports::{
        CommitOutcome, EnqueueOutcome, GroupStore, GroupStoreError, LeaseRequest, Leases, MadeGroup,
        ReplayLease, SegmentCommit, Stores,
    },
    position::Cursor,
};

use crate::{effects::Effects, unfenced::Unfenced};

/// The times at which the leases of this process were not valid.
#[derive(Default)]
pub(crate) struct Lapses(Mutex<Good>);

#[derive(Default)]
struct Good {
    until: Option<Instant>,
    /// The start of the last lapse.
    lapsed: Option<Instant>,
    held: HashSet<Lease>,
}

impl Lapses {
    fn good(&self) -> std::sync::MutexGuard<'_, Good> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether another process may have held a lease at any time since `then`.
    pub(crate) fn any_since(&self, then: Instant) -> bool {
        let good = self.good();
        good.until.is_none_or(|until| until < Instant::now())
            || good.lapsed.is_some_and(|lapsed| lapsed > then)
    }

    /// Records a response about leases. Returns whether the leases had lapsed, and whether a lease was lost.
    fn renewed(&self, asked: Instant, duration: Duration, leases: &Leases) -> (bool, bool) {
        let mut good = self.good();
        let lapsed = good.until.is_some_and(|until| until < Instant::now());
        if lapsed {
            good.lapsed = good.until;
        }
        let held: HashSet<Lease> = leases.held.iter().cloned().collect();
        let lost = good.held.difference(&held).next().is_some();
        good.held = held;
        good.until = Some(asked + duration);
        (lapsed, lost)
    }

    fn gave_back(&self, lease: &Lease) {
        self.good().held.remove(lease);
    }
}

/// The store.
pub(crate) struct Watched {
    pub(crate) inner: Arc<dyn Stores>,
    effects: Arc<Effects>,
    lapses: Arc<Lapses>,
    /// Delay of a commit before it reaches the store.
    commits_take: Duration,
    /// A fault: commits use the newest lease of any consumer.
    unfenced: Option<Unfenced>,
}

impl Watched {
    pub(crate) fn new(
        inner: Arc<dyn Stores>,
        effects: Arc<Effects>,
        commits_take: Duration,
        unfenced: Option<Unfenced>,
    ) -> Self {
        Self { inner, effects, lapses: Arc::default(), commits_take, unfenced }
    }

    pub(crate) fn lapses(&self) -> Arc<Lapses> {
        Arc::clone(&self.lapses)
    }

    fn note(&self, what: &str) -> Result<(), GroupStoreError> {
        let failed =
            |error: std::io::Error| StorageFailure::Unavailable(format!("the effects file: {error}"));
        Ok(self.effects.line(what).map_err(failed)?)
    }
}

#[async_trait]
impl GroupStore for Watched {
    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        let asked = Instant::now();
        let leases = self.inner.lease(request).await?;
        let (lapsed, lost) = self.lapses.renewed(asked, request.duration, &leases);
        if lapsed {
            self.note("lapsed")?;
        }
        if lost {
            self.note("lost")?;
        }
        Ok(leases)
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        if !self.commits_take.is_zero() {
            tokio::time::sleep(self.commits_take).await;
        }
        let outcomes = match &self.unfenced {
            Some(unfenced) => self.inner.commit(&unfenced.all_as_newest(commits).await?).await?,
            None => self.inner.commit(commits).await?,
        };
        for (commit, outcome) in commits.iter().zip(&outcomes) {
            match outcome {
                CommitOutcome::Fenced => self.note("lost")?,
                _ if commit.release => self.lapses.gave_back(&commit.lease),
                CommitOutcome::Committed | CommitOutcome::CommittedWithout(_) => {}
            }
        }
        Ok(outcomes)
    }

    async fn make_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<MadeGroup, GroupStoreError> {
        self.inner.make_group(spec, at).await
    }

    async fn passed(&self, name: &str) -> Result<Option<Vec<PassedEvents>>, GroupStoreError> {
        self.inner.passed(name).await
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        self.inner.groups().await
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        self.inner.group(name).await
    }

    async fn pending(&self, name: &str) -> Result<Option<Pending>, GroupStoreError> {
        self.inner.pending(name).await
    }

    async fn deliveries(
        &self,
        name: &str,
        events: &[StoredEvent],
    ) -> Result<Option<Vec<EventDelivery>>, GroupStoreError> {
        self.inner.deliveries(name, events).await
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        self.inner.blocked_keys(name, limit).await
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        self.inner.delete_group(name).await
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        self.inner.reset_group(name, at).await
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        self.inner.leave(group, consumer, token).await
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        self.inner.enqueue(runner, batches).await
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        self.inner.lane(group, after, limit).await
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        self.inner.withdraw(replay_id).await
    }
}
