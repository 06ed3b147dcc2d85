//! A schedule in memory that fails on demand, and a clock that goes with tokio's time.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use domain::{
    Event, Position, StorageFailure,
    ports::{AppendOutcome, Clock, ScheduleOutcome, ScheduleStore, ScheduledEvent},
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

/// Tells tokio's time, which tests pause. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct TokioClock {
    began: Instant,
    /// How far it was set forth or back, in milliseconds.
    set_by: Arc<Mutex<i64>>,
}

impl TokioClock {
    pub fn new() -> Self {
        Self { began: Instant::now(), set_by: Arc::default() }
    }

    /// The time when it was made.
    pub fn noon() -> Timestamp {
        "2024-01-15T12:00:00Z".parse().unwrap()
    }

    pub fn set_by(&self, millis: i64) {
        *self.set_by.lock().unwrap() += millis;
    }

    /// An instant of its time, in milliseconds from noon.
    pub fn at(millis: i64) -> Timestamp {
        Self::noon() + SignedDuration::from_millis(millis)
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        let set_by = SignedDuration::from_millis(*self.set_by.lock().unwrap());
        Self::noon() + SignedDuration::try_from(self.began.elapsed()).unwrap() + set_by
    }
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Vec<ScheduledEvent>,
    appended: Vec<(String, Timestamp)>,
    answers: VecDeque<Result<ScheduleOutcome, StorageFailure>>,
    lost_answers: usize,
    is_away: bool,
    calls: usize,
    steps: Vec<usize>,
}

/// A schedule and the ids it has appended, with their times.
#[derive(Debug)]
pub struct FakeSchedule {
    clock: TokioClock,
    inner: Mutex<Inner>,
}

impl FakeSchedule {
    pub fn new(clock: TokioClock) -> Arc<Self> {
        Arc::new(Self { clock, inner: Mutex::default() })
    }

    /// The ids that wait and when they are due.
    pub fn waiting(&self) -> Vec<(String, Timestamp)> {
        let inner = self.inner.lock().unwrap();
        inner.waiting.iter().map(|waiting| (waiting.event.id().to_owned(), waiting.due)).collect()
    }

    /// The ids that were appended, and how many milliseconds after noon.
    pub fn appended(&self) -> Vec<(String, i64)> {
        let inner = self.inner.lock().unwrap();
        let millis = |at: &Timestamp| at.duration_since(TokioClock::noon()).as_millis() as i64;
        inner.appended.iter().map(|(id, at)| (id.clone(), millis(at))).collect()
    }

    /// How many events each step appended.
    pub fn steps(&self) -> Vec<usize> {
        self.inner.lock().unwrap().steps.clone()
    }

    /// Calls of any kind.
    pub fn calls(&self) -> usize {
        self.inner.lock().unwrap().calls
    }

    /// What the next call of `schedule` answers, without doing anything.
    pub fn answers(&self, answer: Result<ScheduleOutcome, StorageFailure>) {
        self.inner.lock().unwrap().answers.push_back(answer);
    }

    /// The next writes are done, and their answers lost.
    pub fn loses_answers(&self, writes: usize) {
        self.inner.lock().unwrap().lost_answers = writes;
    }

    /// Whether every call fails.
    pub fn is_away(&self, is_away: bool) {
        self.inner.lock().unwrap().is_away = is_away;
    }

    fn inner(&self) -> Result<std::sync::MutexGuard<'_, Inner>, StorageFailure> {
        let mut inner = self.inner.lock().unwrap();
        inner.calls += 1;
        if inner.is_away {
            return Err(StorageFailure::Unavailable("away".to_owned()));
        }
        Ok(inner)
    }
}

impl Inner {
    fn may_be_lost<T>(&mut self, answer: T) -> Result<T, StorageFailure> {
        if self.lost_answers == 0 {
            return Ok(answer);
        }
        self.lost_answers -= 1;
        Err(StorageFailure::Unknown("the connection was cut".to_owned()))
    }
}

#[async_trait]
impl ScheduleStore for FakeSchedule {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure> {
        let mut inner = self.inner()?;
        if inner.lost_answers == 0
            && let Some(answer) = inner.answers.pop_front()
        {
            return answer;
        }
        if let Some(same) = inner.waiting.iter().find(|waiting| waiting.event.id() == event.id()) {
            return Ok(match same.event.same_content(event) {
                true => ScheduleOutcome::AlreadyScheduled(same.due),
                false => ScheduleOutcome::Conflict,
            });
        }
        inner.waiting.push(ScheduledEvent { event: event.clone(), due, scheduled_at: self.clock.now() });
        inner.waiting.sort_by_key(|waiting| waiting.due);
        inner.may_be_lost(ScheduleOutcome::Scheduled)
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure> {
        Ok(self.inner()?.waiting.iter().take(limit).cloned().collect())
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, StorageFailure> {
        let mut inner = self.inner()?;
        let before = inner.waiting.len();
        inner.waiting.retain(|waiting| waiting.event.id() != event_id);
        Ok(inner.waiting.len() < before)
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        // Other tasks get in between, as they would with a real store.
        tokio::time::sleep(Duration::ZERO).await;
        let mut inner = self.inner()?;
        let now = self.clock.now();
        let count = inner.waiting.iter().take(limit).filter(|waiting| waiting.due <= now).count();
        let due: Vec<_> = inner.waiting.drain(..count).map(|waiting| waiting.event.id().to_owned()).collect();
        inner.steps.push(count);
        inner.appended.extend(due.iter().map(|id| (id.clone(), now)));
        inner
            .may_be_lost(due.into_iter().map(|id| (id, AppendOutcome::Stored(Position::new(0, 1)))).collect())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StorageFailure> {
        Ok(self.inner()?.waiting.first().map(|waiting| waiting.due))
    }
}
