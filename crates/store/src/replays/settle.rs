//! The progress of a replay, and its settled batches: the batches whose results the runner has.

use domain::{
    Cursor, StorageFailure,
    ports::{
        ReplayLease, ReplayState, ReplayStoreError, ReplayUpdate,
        engine::{Guard, Read, Snapshot, SpaceKind, Transaction},
    },
    replay::after_step,
};

use super::record::Seen;
use crate::{
    Store,
    partition::Partition,
    rows::{HOLDS, counter, named, number, number_key, of},
};

/// Returns whether a hold keeps an event that the hold before it did not keep.
fn keeps_more(before: Option<&Cursor>, after: &Cursor) -> bool {
    before.is_none_or(|before| {
        (before.store, before.epoch) != (after.store, after.epoch)
            || before.sequences.len() != after.sequences.len()
            || before.sequences.iter().zip(&after.sequences).any(|(before, after)| after < before)
    })
}

/// Reads the recorded number of settled batches, and the rows of batches below a number: the results, and the records
/// that segments received the batches.
fn settled_reads(id: &str, below: u64) -> [Read; 3] {
    let rows = |kind| Read::Range {
        space: of(kind, id),
        after: None,
        before: Some(number_key(below)),
        reverse: false,
        limit: usize::MAX,
    };
    let noted = Read::Row(named(SpaceKind::ReplaySettled, id));
    [noted, rows(SpaceKind::ReplayResult), rows(SpaceKind::ReplayBatch)]
}

/// Drops the rows that [`settled_reads`] found, and records the number, which never falls. The record that a segment
/// received a batch stays while the batch has no result, because the batch may still be in a lane.
fn settle(
    transaction: &mut Transaction,
    id: &str,
    below: u64,
    found: &mut Snapshot,
) -> Result<(), StorageFailure> {
    let (noted, results, batches) = (found.row(), found.range(), found.range());
    for (key, _) in batches {
        // The key of a batch starts with the key of its result.
        if results.iter().any(|(result, _)| key.starts_with(result)) {
            transaction.delete(of(SpaceKind::ReplayBatch, id).row(key));
        }
    }
    for (key, _) in results {
        transaction.delete(of(SpaceKind::ReplayResult, id).row(key));
    }
    if number(noted.as_deref())? < below {
        let row = named(SpaceKind::ReplaySettled, id);
        transaction.guard(Guard::still(row.clone(), noted.as_deref()));
        transaction.put(row, below.to_string());
    }
    Ok(())
}

impl Partition<'_> {
    /// Drops the remaining rows of batches below a number.
    pub(super) async fn drop_settled(self, id: &str, below: u64) -> Result<(), StorageFailure> {
        let decision = |mut found: Snapshot| {
            let mut transaction = Transaction::new();
            settle(&mut transaction, id, below, &mut found)?;
            Ok(((), Some(transaction)))
        };
        self.decide(&settled_reads(id, below), decision).await
    }
}

impl Store {
    /// Records the progress of a replay. Returns its new state, and whether it holds an event that it did not hold
    /// before.
    pub(super) async fn step_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<(ReplayState, bool), ReplayStoreError> {
        let (id, below) = (&lease.replay_id, update.settled_batches);
        let mut reads = Seen::reads(id).to_vec();
        if below > 0 {
            reads.extend(settled_reads(id, below));
        }
        let decision = |mut found: Snapshot| {
            let seen = Seen::of(id, &mut found)?.ok_or(ReplayStoreError::Fenced)?;
            if seen.lease() != Some((lease.epoch, lease.token)) || seen.row.until.is_none() {
                return Err(ReplayStoreError::Fenced);
            }
            let mut transaction = seen.transaction();
            let mut row = seen.row.clone();
            row.state = after_step(row.state, update.state);
            row.updated = seen.now;
            row.progress.clone_from(&update.progress);
            row.hold.clone_from(&update.hold);
            let before = seen.row.hold.as_ref();
            let holds_more = update.hold.as_ref().is_some_and(|hold| keeps_more(before, hold));
            if holds_more {
                transaction.add(counter(HOLDS), 1);
            }
            let state = row.state;
            seen.put(&mut transaction, row)?;
            if below > 0 {
                settle(&mut transaction, id, below, &mut found)?;
            }
            Ok(((state, holds_more), Some(transaction)))
        };
        self.first().decide(&reads, decision).await
    }
}
