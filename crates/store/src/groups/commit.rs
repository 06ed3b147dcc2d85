//! Commits to segments: one transaction each, guarded by the newest lease of the segment.
//!
//! A commit that touches no dead letter is written without a read before it. A commit that touches dead letters depends
//! on the dead letters as they were read. It is repeated when they have changed.

use std::sync::Arc;

use domain::{
    StorageFailure,
    group::{LaneBatch, LaneOrigin, LaneProgress, Lease},
    ports::{
        CommitOutcome, SegmentCommit,
        engine::{Guard, Outcome, SpaceKind, Transaction},
    },
};

use super::record::{Fence, LaneRow, segment_value};
use crate::{
    Store,
    partition::Partition,
    retry::OptimisticRetry,
    rows::{HOLDS, blocked, by_segment, counter, lane, replay_batch, replay_result, to_json},
};

/// The number of guards at the start of a commit's first step: the generation and the fence.
const OF_LEASE: usize = 2;

/// The steps of a commit's transaction that store the progress of a lane batch, each with the place of the batch.
type ProgressSteps = Vec<(usize, u64)>;

impl Store {
    pub(super) async fn commit_in(
        &self,
        partition: Partition<'_>,
        commits: &[&SegmentCommit],
    ) -> Result<Vec<CommitOutcome>, StorageFailure> {
        let mut outcomes = Vec::with_capacity(commits.len());
        let mut rest = commits;
        while let [first, others @ ..] = rest {
            if touches_letters(first) {
                outcomes.push(self.commit_with_letters(partition, first).await?);
                rest = others;
                continue;
            }
            let plain = rest.iter().take_while(|commit| !touches_letters(commit)).count();
            let (some, later) = rest.split_at(plain);
            let (mut transactions, mut steps) = (Vec::with_capacity(plain), Vec::with_capacity(plain));
            for commit in some {
                let (transaction, progress) = self.prepare(partition, commit).await?;
                transactions.push(transaction);
                steps.push(progress);
            }
            let answers = partition.commit(&transactions).await?;
            for ((commit, progress), answer) in some.iter().zip(&steps).zip(answers) {
                outcomes.push(self.outcome(commit, progress, &answer));
            }
            rest = later;
        }
        Ok(outcomes)
    }

    async fn commit_with_letters(
        &self,
        partition: Partition<'_>,
        commit: &SegmentCommit,
    ) -> Result<CommitOutcome, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let (mut transaction, progress) = self.prepare(partition, commit).await?;
            partition.change_letters_of(commit, &mut transaction).await?;
            // The number of dead letters is unbounded, so a full store refuses new dead letters.
            transaction.even_when_full = commit.dead_letters.is_empty();
            match partition.commit_one(&transaction).await? {
                Outcome::Refused { guard } if guard >= OF_LEASE => retry.again().await?,
                outcome => return Ok(self.outcome(commit, &progress, &outcome)),
            }
        }
    }

    fn outcome(&self, commit: &SegmentCommit, progress: &ProgressSteps, outcome: &Outcome) -> CommitOutcome {
        let Outcome::Done { left_out } = outcome else {
            self.remembered().forget_lease(&commit.lease);
            return CommitOutcome::Fenced;
        };
        match commit.release {
            true => self.remembered().forget_lease(&commit.lease),
            false => self.remembered().note_cursor(&commit.lease, commit.cursor),
        }
        let is_out = |(step, _): &&(usize, u64)| left_out.contains(step);
        let withdrawn: Vec<u64> = progress.iter().filter(is_out).map(|(_, seq)| *seq).collect();
        match withdrawn.is_empty() {
            true => CommitOutcome::Committed,
            false => CommitOutcome::CommittedWithout(withdrawn),
        }
    }

    /// Builds the transaction of a commit, without its dead letters. The lease guards the first step, and the dead
    /// letters are added to that step later. The steps of the lane follow it.
    async fn prepare(
        &self,
        partition: Partition<'_>,
        commit: &SegmentCommit,
    ) -> Result<(Transaction, ProgressSteps), StorageFailure> {
        let (group, segment) = (commit.lease.group.as_str(), commit.lease.segment);
        let fence = Fence { epoch: commit.lease.epoch, token: commit.lease.token };
        let row = |kind| by_segment(kind, group, segment);
        let mut transaction = Transaction::new().even_when_full();
        transaction.guard(Guard::Generation(fence.generation()));
        transaction.guard(Guard::Is(row(SpaceKind::Fence), fence.value()));
        transaction.put(row(SpaceKind::Segment), segment_value(commit.cursor, commit.claimed_to));
        for key in &commit.unblocked {
            transaction.delete(blocked(group, segment, key));
        }
        for key in &commit.blocked {
            transaction.put(blocked(group, segment, &key.key), to_json(key)?);
        }
        if commit.release {
            transaction.delete(row(SpaceKind::Lease));
        }
        if self.holds_more(commit) {
            transaction.add(counter(HOLDS), 1);
        }
        let mut progress = Vec::with_capacity(commit.lane.len());
        for (seq, of_batch) in &commit.lane {
            progress.push((transaction.step(), *seq));
            transaction.guard(Guard::Present(lane(SpaceKind::Lane, group, segment, *seq)));
            transaction.put(lane(SpaceKind::LaneProgress, group, segment, *seq), to_json(of_batch)?);
        }
        for (seq, of_batch) in &commit.lane_done {
            // A commit that is repeated after a lost answer finds the batch already finished.
            if let Some(batch) = self.lane_batch(partition, &commit.lease, *seq).await? {
                finish(&mut transaction, group, segment, (*seq, &batch, of_batch))?;
            }
        }
        Ok((transaction, progress))
    }

    /// Returns whether the commit creates a new hold, which retention must respect. Returns true when the cursor before
    /// the commit is unknown.
    fn holds_more(&self, commit: &SegmentCommit) -> bool {
        let lowest = commit.blocked.iter().map(|row| row.position).min();
        match self.remembered().cursor(&commit.lease) {
            Some(passed) => commit.cursor < passed || lowest.is_some_and(|lowest| lowest <= passed),
            None => true,
        }
    }

    /// Returns a batch of the lane of a lease. Returns none if the batch has left the lane.
    async fn lane_batch(
        &self,
        partition: Partition<'_>,
        lease: &Lease,
        seq: u64,
    ) -> Result<Option<Arc<LaneRow>>, StorageFailure> {
        let fence = Fence { epoch: lease.epoch, token: lease.token };
        if let Some(known) = self.remembered().batch(lease, fence.generation(), seq) {
            return Ok(Some(known));
        }
        let row = lane(SpaceKind::Lane, &lease.group, lease.segment, seq);
        let value = partition.row(row).await?;
        value.map(|value| Ok(Arc::new(LaneRow::read(seq, &value)?))).transpose()
    }
}

/// Removes a batch from its lane. If a replay sent the batch and the replay still exists, it stores the result of the
/// batch.
fn finish(
    transaction: &mut Transaction,
    group: &str,
    segment: u16,
    (seq, batch, progress): (u64, &LaneRow, &LaneProgress),
) -> Result<(), StorageFailure> {
    let row = |kind| lane(kind, group, segment, seq);
    if let LaneOrigin::Replay { replay_id, batch: nth } = &batch.origin {
        let ended: LaneBatch = batch.clone().batch(segment, seq, progress.clone());
        if let Some(result) = ended.result(group) {
            transaction.step();
            transaction.guard(Guard::Present(row(SpaceKind::Lane)));
            let marker = replay_batch(replay_id, *nth, group, segment, &batch.incarnation);
            transaction.guard(Guard::Present(marker));
            transaction.put(replay_result(replay_id, *nth, group, segment), to_json(&result)?);
        }
    }
    transaction.step();
    transaction.guard(Guard::Present(row(SpaceKind::Lane)));
    transaction.delete(row(SpaceKind::Lane)).delete(row(SpaceKind::LaneProgress));
    transaction.add(by_segment(SpaceKind::LaneSize, group, segment), -batch.references());
    Ok(())
}

fn touches_letters(commit: &SegmentCommit) -> bool {
    !commit.dead_letters.is_empty() || !commit.handled_dead_letters.is_empty()
}
