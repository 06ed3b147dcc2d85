//! The port of the schedule. An event waits in the partition that it will lie in.

use std::collections::HashMap;

use async_trait::async_trait;
use domain::{
    Event,
    ports::{AppendOutcome, ScheduleOutcome, ScheduleStore, ScheduleStoreError, ScheduledEvent},
};
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;

use super::{RedisStore, append::outward, reached};
use crate::partition::Partition;

#[async_trait]
impl ScheduleStore for RedisStore {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, ScheduleStoreError> {
        let partition = self.partitions().get(self.partition_of(event)).unwrap_or(self.first());
        Ok(match partition.schedule(event, due).await? {
            ScheduleOutcome::AlreadyStored(mut at) => {
                at.partition = partition.number();
                ScheduleOutcome::AlreadyStored(at)
            }
            other => other,
        })
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, ScheduleStoreError> {
        let parts = try_join_all(self.partitions().iter().map(|partition| partition.scheduled(limit)));
        let mut found: Vec<ScheduledEvent> = parts.await?.into_iter().flatten().collect();
        // Of one partition they are in order, also those that are due at once.
        found.sort_by_key(|waits| (waits.due, waits.scheduled_at));
        found.truncate(limit);
        Ok(found)
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, ScheduleStoreError> {
        let parts = self.partitions().iter().map(|partition| partition.cancel_scheduled(event_id));
        Ok(try_join_all(parts).await?.contains(&true))
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, ScheduleStoreError> {
        match self.only() {
            Some(only) => only.append_due(limit).await,
            None => self.append_due_to_partitions(limit.max(1)).await,
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, ScheduleStoreError> {
        let parts = join_all(self.partitions().iter().map(Partition::next_due)).await;
        Ok(reached(parts)?.into_iter().flatten().flatten().min())
    }
}

impl RedisStore {
    /// Appends the earliest of all partitions, each in a step of its own partition.
    async fn append_due_to_partitions(
        &self,
        limit: usize,
    ) -> Result<Vec<(String, AppendOutcome)>, ScheduleStoreError> {
        let due = join_all(self.partitions().iter().map(|partition| partition.due_now(limit))).await;
        let mut due: Vec<(String, usize, String)> = (0..)
            .zip(reached(due)?)
            .flat_map(|(at, places)| {
                places.unwrap_or_default().into_iter().map(move |(place, id)| (place, at, id))
            })
            .collect();
        due.sort_unstable();
        due.truncate(limit);
        let count = |at: usize| due.iter().filter(|(_, of, _)| *of == at).count();
        let asks = self.partitions().iter().enumerate().map(|(at, partition)| async move {
            match count(at) {
                0 => Ok(Vec::new()),
                some => partition.append_due(some).await,
            }
        });
        let mut outcomes = HashMap::new();
        for (partition, part) in self.partitions().iter().zip(reached(join_all(asks).await)?) {
            for (id, outcome) in part.unwrap_or_default() {
                outcomes.insert((partition.number(), id), outward(outcome, partition.number()));
            }
        }
        // As they were due; what came between is last.
        let known = due.into_iter().filter_map(|(_, at, id)| outcomes.remove_entry(&(at as u16, id)));
        let mut appended: Vec<((u16, String), AppendOutcome)> = known.collect();
        appended.extend(outcomes);
        Ok(appended.into_iter().map(|((_, id), outcome)| (id, outcome)).collect())
    }
}
