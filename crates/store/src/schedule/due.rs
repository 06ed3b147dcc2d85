//! Appends due events.

use std::{collections::HashMap, time::Duration};

use domain::{
    Event, StorageFailure,
    ports::{
        AppendOutcome, Atomicity,
        engine::{Appended, Guard, Transaction},
    },
    time::later,
};
use futures_util::future::join_all;

use super::rows::{ScheduleSlot, waiting_row};
use crate::{Store, partition::Partition, reached::reached, retry::OptimisticRetry};

impl Store {
    /// Appends the due events, the earliest of all partitions first.
    pub(super) async fn append_scheduled(
        &self,
        limit: usize,
    ) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        let limits = self.info().limits;
        let (limit, most_bytes) = (limit.clamp(1, limits.append_events), limits.append_bytes as u64);
        if self.is_single() {
            return self.first().append_due(limit, most_bytes).await;
        }
        // Selects the earliest due events of all partitions. Each partition appends its own events in one step.
        let due = join_all(self.partitions().map(|partition| partition.due(limit))).await;
        let mut due: Vec<(ScheduleSlot, u16)> = (0u16..)
            .zip(reached(due)?)
            .flat_map(|(number, places)| places.unwrap_or_default().into_iter().map(move |it| (it, number)))
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let count = |number: u16| due.iter().filter(|(_, of)| *of == number).count();
        let asks = self.partitions().map(|partition| async move {
            match count(partition.number) {
                0 => Ok(Vec::new()),
                some => partition.append_due(some, most_bytes).await,
            }
        });
        let mut outcomes = HashMap::new();
        for (number, part) in (0u16..).zip(reached(join_all(asks).await)?) {
            outcomes
                .extend(part.unwrap_or_default().into_iter().map(|(id, outcome)| ((number, id), outcome)));
        }
        // In the order of the due times. Events that became due in between come last.
        let known = due.into_iter().filter_map(|(place, number)| outcomes.remove_entry(&(number, place.id)));
        let mut appended: Vec<((u16, String), AppendOutcome)> = known.collect();
        appended.extend(outcomes);
        Ok(appended.into_iter().map(|((_, id), outcome)| (id, outcome)).collect())
    }
}

impl Partition<'_> {
    /// Returns the places that are due now, earliest first.
    async fn due(self, limit: usize) -> Result<Vec<ScheduleSlot>, StorageFailure> {
        let now = self.now().await?;
        // The bound is exclusive. So an event that is due exactly now is included.
        let not_yet = later(now, Duration::from_nanos(1));
        self.places(Some(not_yet), limit).await
    }

    /// Appends due events. The events leave the schedule after every outcome, because the log would refuse a refused
    /// event again.
    async fn append_due(
        self,
        limit: usize,
        most_bytes: u64,
    ) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let mut places = self.due(limit).await?;
            if places.is_empty() {
                return Ok(Vec::new());
            }
            let mut bytes = 0;
            let fits = |place: &&ScheduleSlot| {
                bytes += place.bytes;
                bytes <= most_bytes
            };
            let fit = places.iter().take_while(fits).count().max(1);
            places.truncate(fit);
            let waiting = self.waiting(&places).await?;
            if waiting.is_empty() {
                self.forget(&places).await?;
            }
            let mut with = Transaction::durable();
            for waits in &waiting {
                waits.take_out(&mut with);
            }
            let batch: Vec<Event> = waiting.into_iter().map(|waits| waits.scheduled.event).collect();
            if !batch.is_empty()
                && let Appended::Done(outcomes) =
                    self.engine.append(self.number, &batch, Atomicity::Each, &with).await?
            {
                return Ok(batch.iter().map(|event| event.id().to_owned()).zip(outcomes).collect());
            }
            // Another caller appends the same events.
            retry.again().await?;
        }
    }

    /// Removes places without an event. Nothing else would remove such a place.
    async fn forget(self, places: &[ScheduleSlot]) -> Result<(), StorageFailure> {
        let mut transactions = vec![Transaction::new(); places.len()];
        for (transaction, place) in transactions.iter_mut().zip(places) {
            transaction.guard(Guard::Absent(waiting_row(&place.id))).delete(place.row());
        }
        self.commit(&transactions).await.map(drop)
    }
}
