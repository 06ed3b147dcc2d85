//! Ending a replay early: what was not handed over leaves the lanes, what was is waited for.

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

/// References of lanes that are looked through at once.
const LOOK: usize = 2_000;
/// The time for which the parts of a group without consumers are awaited.
const WITHOUT_CONSUMERS: std::time::Duration = std::time::Duration::from_secs(1);

impl Work<'_> {
    /// Takes everything out of the lanes that was not handed over, waits for what was, and takes it into the report.
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

    /// Every batch that may have been put into lanes, by this runner or another.
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

    /// Looks what became of the parts that are open; whether none is left.
    async fn decide(&mut self) -> Result<bool, Stop> {
        // Lanes first: what leaves its lane between the two looks has left its result.
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

    /// The replay's batches that are in lanes still, of those that are open.
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

    /// What was handed over to consumers that are gone is not waited for: it is counted as not come to.
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
