//! Ends a replay early. Undelivered parts leave the lanes, and the runner waits for the delivered parts.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use domain::group::{LaneBatch, LaneOrigin};
use tokio::time::Instant;

use crate::{
    backoff::repeated,
    job::{
        Stop,
        batch::{Lane, Part},
        work::{FIRST_POLL, LAST_POLL, Work},
    },
};

/// The most references of lanes in one read.
const LOOK: usize = 2_000;
/// The time for which the runner waits for a group without consumers.
const WITHOUT_CONSUMERS: std::time::Duration = std::time::Duration::from_secs(1);

impl Work<'_> {
    /// Removes undelivered parts from the lanes, waits for the delivered parts, and adds their results to the report.
    pub(super) async fn wind_down(&mut self) -> Result<(), Stop> {
        repeated(|| self.store.withdraw(self.id())).await?;
        self.gather().await?;
        let (mut pause, mut look) = (FIRST_POLL, Instant::now() + WITHOUT_CONSUMERS);
        while !self.decide().await? {
            if Instant::now() >= look {
                look = Instant::now() + WITHOUT_CONSUMERS;
                self.give_up_on_deserted_groups().await?;
                continue;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.context.halt.cancelled() => return Err(Stop::Halted),
            }
            if self.renewer.is_lost() {
                return Err(Stop::Lost);
            }
            pause = (pause * 2).min(LAST_POLL);
        }
        let (mut whole, mut delivered) = (true, Vec::new());
        while let Some(batch) = self.outstanding.pop_front() {
            whole &= !batch.is_cut_short();
            self.account(&batch, whole, &mut delivered);
            self.account_erased(&batch, whole);
            self.progress.settled = batch.number + 1;
        }
        self.raise_counts(&delivered).await;
        Ok(())
    }

    /// Collects every batch that may be in lanes, from this runner or another.
    async fn gather(&mut self) -> Result<(), Stop> {
        self.outstanding.extend(self.sending.take());
        loop {
            while let Some(batch) = self.source.take() {
                self.outstanding.push_back(batch);
            }
            if !self.source.is_written() {
                return Ok(());
            }
            self.source.read().await?;
        }
    }

    /// Determines the state of the open parts. Returns whether no part is open.
    async fn decide(&mut self) -> Result<bool, Stop> {
        // The lanes are read before the results. A part that leaves its lane between the two reads has left its result.
        let in_lanes = self.in_lanes().await?;
        let parts = self.outstanding.iter().map(|batch| batch.parts()).sum::<usize>();
        self.fetch_results(parts.max(1)).await?;
        let mut is_over = true;
        for batch in &mut self.outstanding {
            let number = batch.number;
            batch.decide(|lane| (!in_lanes.contains(&(number, lane))).then_some(Part::Withdrawn));
            is_over &= batch.waiting().next().is_none();
        }
        Ok(is_over)
    }

    /// Returns the replay's batches that are still in lanes, among the open parts.
    async fn in_lanes(&self) -> Result<HashSet<(u64, Lane)>, Stop> {
        let open: BTreeSet<Lane> = self.outstanding.iter().flat_map(|batch| batch.waiting()).collect();
        let mut found = HashSet::new();
        for (at, group) in self.groups.iter().enumerate() {
            let mut after: BTreeMap<u16, u64> =
                open.iter().filter(|(of, _)| *of == at).map(|(_, segment)| (*segment, 0)).collect();
            while !after.is_empty() {
                let places: Vec<(u16, u64)> = after.iter().map(|(segment, seq)| (*segment, *seq)).collect();
                let batches = match self.store.lane(&group.spec.name, &places, LOOK).await {
                    Ok(batches) => batches,
                    Err(domain::ports::GroupStoreError::NoGroup(_)) => break,
                    Err(error) => return Err(error.into()),
                };
                if batches.is_empty() {
                    break;
                }
                for batch in batches {
                    after.insert(batch.segment, batch.seq);
                    found.extend(self.number(&batch).map(|number| (number, (at, batch.segment))));
                }
            }
        }
        Ok(found)
    }

    fn number(&self, batch: &LaneBatch) -> Option<u64> {
        match &batch.origin {
            LaneOrigin::Replay { replay_id, batch } if replay_id == self.id() => Some(*batch),
            _ => None,
        }
    }

    /// Stops waiting for parts that went to a group without consumers. Their events count as not reached.
    async fn give_up_on_deserted_groups(&mut self) -> Result<(), Stop> {
        for (at, group) in self.groups.iter().enumerate() {
            let status = repeated(|| self.store.group(&group.spec.name)).await?;
            if status.is_none_or(|status| status.consumers.is_empty()) {
                for batch in &mut self.outstanding {
                    batch.decide(|(of, _)| (of == at).then_some(Part::Withdrawn));
                }
            }
        }
        Ok(())
    }
}
