//! Settles batches: the results of a batch in its groups go into the report, in the order of the batches.

use std::time::Duration;

use domain::Position;
use tokio::time::Instant;

use crate::{
    backoff::repeated,
    job::{
        Stop,
        batch::{Batch, Outcome, Part},
        work::{FIRST_POLL, LAST_POLL, Work},
    },
    report::ReplayErrorEntry,
};

/// The most results of one read, unless a single batch has more.
const RESULTS: usize = 2_000;
/// The interval at which a runner checks that its groups exist.
const LOOK_FOR_GROUPS_EVERY: Duration = Duration::from_millis(250);
/// The name in a report for an event that was erased after delivery and before its batch was settled.
const ERASED: &str = "(erased)";
/// The most bytes of an error in a report.
const MAX_ERROR_BYTES: usize = 1_000;

impl Work<'_> {
    /// Settles the first batches that every group has finished. Returns whether there were any.
    pub(super) async fn settle(&mut self) -> Result<bool, Stop> {
        let is_open = |batch: &Batch| batch.is_to_poll || batch.waiting().next().is_some();
        if self.outstanding.front().is_none_or(is_open) {
            if self.outstanding.is_empty() || Instant::now() < self.due.poll {
                return Ok(false);
            }
            let news = self.poll().await?;
            self.due.poll_pause = if news { FIRST_POLL } else { (self.due.poll_pause * 2).min(LAST_POLL) };
            self.due.poll = Instant::now() + self.due.poll_pause;
        }
        let mut delivered = Vec::new();
        let before = self.progress.settled;
        while let Some(batch) = self.outstanding.pop_front_if(|batch| !is_open(batch)) {
            self.account(&batch, true, &mut delivered);
            self.account_erased(&batch, true);
            self.window.settled(batch.events.len());
            self.progress.settled = batch.number + 1;
            self.progress.cursor = batch.through;
        }
        if self.progress.settled == before {
            return Ok(false);
        }
        self.raise_counts(&delivered).await;
        self.write().await?;
        self.context.watcher.progressed(self.progress.report.progress());
        Ok(true)
    }

    /// Reads results. Returns whether any of them were new.
    async fn poll(&mut self) -> Result<bool, Stop> {
        self.look_for_groups().await?;
        let most = self.outstanding.front().map_or(RESULTS, |batch| batch.parts().max(RESULTS));
        let news = self.fetch_results(most).await?;
        // The results are read before this check, so that the results of a deleted group count.
        let deleted: Vec<bool> = (0..self.groups.len()).map(|group| self.is_deleted(group)).collect();
        if deleted.contains(&true) {
            for batch in &mut self.outstanding {
                batch.decide(|(group, _)| deleted.get(group)?.then_some(Part::Deleted));
            }
        }
        Ok(news)
    }

    pub(super) async fn fetch_results(&mut self, most: usize) -> Result<bool, Stop> {
        let replays = self.context.manager.replays();
        let results = repeated(|| replays.results(self.id(), most)).await?;
        let Some(first) = self.outstanding.front().map(|batch| batch.number) else { return Ok(false) };
        let complete = results.len() < most;
        let last = results.last().map_or(0, |result| result.batch);
        let mut news = false;
        for batch in &mut self.outstanding {
            // Results come in the order of the batches. All results of this batch have been read.
            if batch.is_to_poll && (complete || batch.number < last) {
                batch.is_to_poll = false;
                news = true;
            }
        }
        for result in results {
            let group = self.groups.iter().position(|group| group.spec.name == result.group);
            let at = result.batch.checked_sub(first).and_then(|at| usize::try_from(at).ok());
            let batch = at.and_then(|at| self.outstanding.get_mut(at));
            if let (Some(group), Some(batch)) = (group, batch) {
                news |= batch.answer(group, result);
            }
        }
        Ok(news)
    }

    /// Checks at intervals which of the groups no longer exist.
    pub(super) async fn look_for_groups(&mut self) -> Result<(), Stop> {
        if Instant::now() < self.due.groups {
            return Ok(());
        }
        self.due.groups = Instant::now() + LOOK_FOR_GROUPS_EVERY;
        let existing = repeated(|| self.store.groups()).await?;
        for (group, result) in self.groups.iter().zip(&mut self.progress.report.groups) {
            result.deleted |= !existing.iter().any(|record| group.is(record));
        }
        Ok(())
    }

    pub(super) fn is_deleted(&self, group: usize) -> bool {
        self.progress.report.groups.get(group).is_some_and(|group| group.deleted)
    }

    /// Adds a batch to the report. `whole` says that this batch and all batches before it went to every group. The
    /// batch is then compared with the plan.
    pub(super) fn account(&mut self, batch: &Batch, whole: bool, delivered: &mut Vec<Position>) {
        let report = &mut self.progress.report;
        report.corrupt += batch.corrupt;
        for event in &batch.events {
            if batch.is_removed(event) {
                // The event was not sent. The comparison with the plan reports it as missing.
                continue;
            }
            if whole {
                self.checker.sent(event.position, &event.id, report);
            }
            let (mut handled, mut withheld, mut failed) = (false, false, None);
            for (group, outcome) in report.groups.iter_mut().zip(batch.outcomes(event)) {
                match outcome {
                    Outcome::Handled => {
                        group.handled += 1;
                        handled = true;
                    }
                    Outcome::Failed(error) => {
                        group.failed += 1;
                        failed.get_or_insert_with(|| format!("{}: {error}", group.name));
                    }
                    Outcome::Declined | Outcome::Removed => group.skipped += 1,
                    Outcome::Withheld => withheld = true,
                }
            }
            if handled || failed.is_some() {
                delivered.push(event.position);
            }
            match failed {
                Some(error) => {
                    report.failed_replays += 1;
                    report.add_error(ReplayErrorEntry {
                        event_id: event.id.clone().into(),
                        event_type: event.event_type.clone().into(),
                        error: bounded(error),
                        timestamp: self.context.manager.clock().now(),
                    });
                }
                None if withheld => {}
                None if handled => report.successful_replays += 1,
                None => report.skipped_events += 1,
            }
        }
    }

    /// Adds the results for events that were erased after delivery. Such events are not missing, because consumers
    /// received them.
    pub(super) fn account_erased(&mut self, batch: &Batch, whole: bool) {
        let report = &mut self.progress.report;
        let erased = batch.erased(report.groups.len());
        for (group, (handled, failed, skipped)) in report.groups.iter_mut().zip(&erased.of_groups) {
            group.handled += handled;
            group.failed += failed;
            group.skipped += skipped;
        }
        if whole {
            self.checker.sent_unknown(erased.events());
        }
        report.successful_replays += erased.handled;
        report.skipped_events += erased.skipped;
        for (group, error) in erased.failed {
            let name = report.groups.get(group).map_or("", |group| group.name.as_str());
            let error = bounded(format!("{name}: {error}"));
            report.failed_replays += 1;
            report.add_error(ReplayErrorEntry {
                event_id: ERASED.to_owned(),
                event_type: ERASED.to_owned(),
                error,
                timestamp: self.context.manager.clock().now(),
            });
        }
    }

    /// Raises the replay counts before the record says that the batch is settled. A runner that is killed in between
    /// causes a double count, never a missing one.
    pub(super) async fn raise_counts(&mut self, delivered: &[Position]) {
        let manager = self.context.manager;
        let uncounted = self.counter.count(&**manager.replays(), manager.clock(), delivered).await;
        self.progress.report.uncounted += uncounted;
    }
}

fn bounded(mut error: String) -> String {
    if error.len() > MAX_ERROR_BYTES {
        let cut = (0..=MAX_ERROR_BYTES).rev().find(|at| error.is_char_boundary(*at));
        error.truncate(cut.unwrap_or(0));
        error.push('…');
    }
    error
}
