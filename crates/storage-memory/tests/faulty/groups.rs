//! The groups of a faulty store.

use std::sync::PoisonError;

use async_trait::async_trait;
use domain::{
    Cursor, StoredEvent,
    group::{
        BlockedKey, EventDelivery, GroupPause, GroupRecord, GroupSpec, GroupStatus, LaneBatch, LaneOrigin,
        LaneProgress, Lease, NewLaneBatch, PassedEvents, Pending, SegmentState,
    },
    ports::{
        CommitOutcome, EnqueueOutcome, EventStore, GroupStore, GroupStoreError, LeaseRequest, Leases,
        MadeGroup, PauseStore, ReplayLease, SegmentCommit,
    },
};

use super::{Fault, Faulty};

impl Faulty {
    fn note(&self, taken: &[(Lease, SegmentState)]) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        for (lease, _) in taken {
            newest.insert((lease.group.clone(), lease.segment), lease.clone());
        }
    }

    fn newest(&self, group: &str, segment: u16) -> Option<Lease> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.get(&(group.to_owned(), segment)).cloned()
    }

    /// Returns a commit with the change that the fault makes to it.
    fn spoilt(&self, commit: &SegmentCommit) -> SegmentCommit {
        let mut commit = commit.clone();
        match self.fault {
            Fault::AcceptsFencedCommits => {
                if let Some(newest) = self.newest(&commit.lease.group, commit.lease.segment) {
                    commit.lease = newest;
                }
            }
            Fault::CommitsHalf => commit = SegmentCommit::new(commit.lease, commit.cursor, commit.claimed_to),
            Fault::ForgetsTheClaim => commit.claimed_to = commit.cursor,
            _ => {}
        }
        commit
    }

    /// Adds leases on segments of other consumers, up to the size of a share.
    async fn lease_again(&self, request: &LeaseRequest, leases: &mut Leases) -> Result<(), GroupStoreError> {
        for segment in 0..leases.share {
            let Some(lease) = self.newest(&request.group, segment) else { continue };
            if leases.held.len() < usize::from(leases.share) && !leases.held.contains(&lease) {
                leases.held.push(lease.clone());
                leases.taken.push((lease, SegmentState::default()));
            }
        }
        Ok(())
    }

    /// Resets the progress of a replay's batches in all lanes, as if no consumer had claimed them.
    async fn unclaim(&self, replay_id: &str) -> Result<(), GroupStoreError> {
        for group in self.store.groups().await? {
            let all: Vec<(u16, u64)> = (0..group.spec.segments).map(|segment| (segment, 0)).collect();
            for batch in self.store.lane(&group.spec.name, &all, usize::MAX).await? {
                let of_replay =
                    matches!(&batch.origin, LaneOrigin::Replay { replay_id: id, .. } if id == replay_id);
                let Some(lease) = self.newest(&group.spec.name, batch.segment).filter(|_| of_replay) else {
                    continue;
                };
                let lane = vec![(batch.seq, LaneProgress::default())];
                let commit = SegmentCommit { lane, ..SegmentCommit::new(lease, 0, 0) };
                self.store.commit(&[commit]).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl GroupStore for Faulty {
    async fn make_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<MadeGroup, GroupStoreError> {
        self.store.make_group(spec, at).await
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        let mut groups = self.store.groups().await?;
        if self.fault == Fault::LosesGaps {
            groups.iter_mut().for_each(|group| group.gaps.clear());
        }
        Ok(groups)
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        let mut status = self.store.group(name).await?;
        if let Some(status) = status.as_mut().filter(|_| self.fault == Fault::LosesGaps) {
            status.record.gaps.clear();
        }
        Ok(status)
    }

    async fn pending(&self, name: &str) -> Result<Option<Pending>, GroupStoreError> {
        let pending = self.store.pending(name).await?;
        let (Some(pending), Some(status), Fault::CountsTheLag) =
            (pending, self.store.group(name).await?, self.fault)
        else {
            return Ok(pending);
        };
        let head = self.store.head().await.unwrap().sequence(0);
        let events = head.saturating_sub(status.cursor(0).unwrap_or(head));
        Ok(Some(Pending { events, ..pending }))
    }

    async fn deliveries(
        &self,
        name: &str,
        events: &[StoredEvent],
    ) -> Result<Option<Vec<EventDelivery>>, GroupStoreError> {
        let mut found = self.store.deliveries(name, events).await?;
        if self.fault == Fault::LosesSightOfLetters {
            found.iter_mut().flatten().for_each(|delivery| delivery.dead_letter = None);
        }
        Ok(found)
    }

    async fn passed(&self, name: &str) -> Result<Option<Vec<PassedEvents>>, GroupStoreError> {
        let mut parts = self.store.passed(name).await?;
        if self.fault == Fault::SkipsClaimedEvents {
            for passed in parts.iter_mut().flatten() {
                let before_start = passed.before_start;
                passed.skipped.iter_mut().for_each(|range| range.after = before_start);
            }
        }
        Ok(parts)
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        self.store.blocked_keys(name, limit).await
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        self.store.delete_group(name).await
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        self.store.reset_group(name, at).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        let mut leases = self.store.lease(request).await?;
        self.note(&leases.taken);
        if self.fault == Fault::LeasesTwice {
            self.lease_again(request, &mut leases).await?;
        }
        if self.fault == Fault::LosesGaps {
            leases.gaps.clear();
        }
        Ok(leases)
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        match self.fault {
            Fault::NeverLeaves => Ok(()),
            _ => self.store.leave(group, consumer, token).await,
        }
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        let commits: Vec<SegmentCommit> = commits.iter().map(|commit| self.spoilt(commit)).collect();
        self.store.commit(&commits).await
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        let runner = runner.filter(|_| self.fault != Fault::IgnoresTheRunner);
        self.store.enqueue(runner, batches).await
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        let mut batches = self.store.lane(group, after, limit).await?;
        if self.fault == Fault::ReleasesNothing {
            batches.retain(|batch| !matches!(batch.origin, LaneOrigin::Discarded { .. }));
        }
        Ok(batches)
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        if self.fault == Fault::WithdrawsWhatWasClaimed {
            self.unclaim(replay_id).await?;
        }
        self.store.withdraw(replay_id).await
    }
}

#[async_trait]
impl PauseStore for Faulty {
    async fn pause_group(&self, group: &str, pause: &GroupPause) -> Result<(), GroupStoreError> {
        self.store.pause_group(group, pause).await
    }

    async fn resume_group(&self, group: &str, source: Option<&str>) -> Result<u64, GroupStoreError> {
        self.store.resume_group(group, source).await
    }

    async fn pauses(&self, group: &str) -> Result<Vec<GroupPause>, GroupStoreError> {
        self.store.pauses(group).await
    }
}
