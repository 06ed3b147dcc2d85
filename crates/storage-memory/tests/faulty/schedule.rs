//! The schedule and the counters of a faulty store.

use async_trait::async_trait;
use domain::{
    Event, StorageFailure, Tally,
    ports::{
        AppendOutcome, Atomicity, Clock, EventStore, ScheduleOutcome, ScheduleStore, ScheduledEvent,
        StatSample, StatsStore,
    },
};
use jiff::Timestamp;

use super::{Fault, Faulty};

impl Faulty {
    /// Appends the events that wait until an instant. With `twice`, each event stays in the schedule for one more
    /// append.
    async fn append_until(
        &self,
        due: Timestamp,
        limit: usize,
        twice: bool,
    ) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        let mut waiting = self.store.scheduled(limit).await?;
        waiting.retain(|scheduled| scheduled.due <= due);
        let events: Vec<Event> = waiting.into_iter().map(|scheduled| scheduled.event).collect();
        let appended = self.store.append(&events, Atomicity::Each).await;
        let outcomes = appended.map_err(|error| StorageFailure::Other(error.to_string()))?;
        let mut answered = Vec::new();
        for (event, outcome) in events.iter().zip(outcomes) {
            let first = matches!(outcome, AppendOutcome::Stored(_));
            if !(first && twice) {
                self.store.cancel_scheduled(event.id()).await?;
            }
            let outcome = match outcome {
                AppendOutcome::AlreadyStored(at) if twice => AppendOutcome::Stored(at),
                other => other,
            };
            answered.push((event.id().to_owned(), outcome));
        }
        Ok(answered)
    }
}

#[async_trait]
impl ScheduleStore for Faulty {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure> {
        self.store.schedule(event, due).await
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure> {
        self.store.scheduled(limit).await
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, StorageFailure> {
        self.store.cancel_scheduled(event_id).await
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        match self.fault {
            Fault::AppendsEarly => self.append_until(Timestamp::MAX, limit, false).await,
            Fault::AppendsTwice => self.append_until(self.clock.now(), limit, true).await,
            Fault::LeavesSomeInTheSchedule if self.store.scheduled(101).await?.len() <= 100 => Ok(Vec::new()),
            _ => self.store.append_due(limit).await,
        }
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StorageFailure> {
        self.store.next_due().await
    }
}

#[async_trait]
impl StatsStore for Faulty {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StorageFailure> {
        match (self.fault, samples.split_last()) {
            (Fault::LosesACounter, Some((_, rest))) => self.store.add_stats(rest).await,
            _ => self.store.add_stats(samples).await,
        }
    }

    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StorageFailure> {
        self.store.stats(since_minute).await
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StorageFailure> {
        match self.fault {
            Fault::FoldsNothing => Ok(()),
            _ => self.store.fold_stats(before_minute).await,
        }
    }

    async fn event_counts(&self) -> Result<Option<Tally>, StorageFailure> {
        let counts = self.store.event_counts().await?;
        Ok(if self.fault == Fault::CountsNoEvent { Some(Tally::default()) } else { counts })
    }
}
