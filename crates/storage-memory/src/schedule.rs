//! The schedule: events that wait for their time, and their way into the log.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use domain::{
    Entity, Event,
    ports::{AppendOutcome, Atomicity, ScheduleOutcome, ScheduleStore, ScheduleStoreError, ScheduledEvent},
};
use jiff::Timestamp;

use crate::{
    MemoryStore, append,
    state::{State, position},
};

/// The place of an event in the schedule: when it is due, then the number under which it was scheduled.
type Place = (Timestamp, u64);

/// The events that wait.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    waiting: BTreeMap<Place, ScheduledEvent>,
    by_id: HashMap<String, Place>,
    /// The number of the newest.
    last: u64,
}

impl Schedule {
    fn find(&self, id: &str) -> Option<&ScheduledEvent> {
        self.waiting.get(self.by_id.get(id)?)
    }

    fn insert(&mut self, scheduled: ScheduledEvent) {
        self.last += 1;
        let place = (scheduled.due, self.last);
        self.by_id.insert(scheduled.event.id().to_owned(), place);
        self.waiting.insert(place, scheduled);
    }

    fn remove(&mut self, id: &str) -> Option<Event> {
        let place = self.by_id.remove(id)?;
        Some(self.waiting.remove(&place)?.event)
    }

    fn due(&self, now: Timestamp, limit: usize) -> Vec<Event> {
        let due = self.waiting.values().take_while(|scheduled| scheduled.due <= now);
        due.take(limit).map(|scheduled| scheduled.event.clone()).collect()
    }

    /// Takes out every event that names an entity.
    pub(crate) fn erase(&mut self, entity: &Entity) -> Vec<Event> {
        let named = self.waiting.values().filter(|scheduled| scheduled.event.names(entity));
        let ids: Vec<String> = named.map(|scheduled| scheduled.event.id().to_owned()).collect();
        ids.iter().filter_map(|id| self.remove(id)).collect()
    }
}

fn schedule(state: &mut State, event: &Event, due: Timestamp, now: Timestamp) -> ScheduleOutcome {
    if state.tombstones.contains(event.id()) {
        return ScheduleOutcome::Erased;
    }
    let stored = state.index.id(event.id()).and_then(|at| Some((&state.log.get(&at)?.event, at)));
    match (stored, state.schedule.find(event.id())) {
        (Some((first, at)), _) if first.same_content(event) => ScheduleOutcome::AlreadyStored(position(at)),
        (None, Some(first)) if first.event.same_content(event) => {
            ScheduleOutcome::AlreadyScheduled(first.due)
        }
        (None, None) => {
            state.schedule.insert(ScheduledEvent { event: event.clone(), due, scheduled_at: now });
            ScheduleOutcome::Scheduled
        }
        _ => ScheduleOutcome::Conflict,
    }
}

/// The events leave the schedule whatever became of them: what the log refuses now it will refuse for ever.
fn append_due(state: &mut State, limit: usize, now: Timestamp) -> Vec<(String, AppendOutcome)> {
    let due = state.schedule.due(now, limit);
    let outcomes = append::store(state, &due, Atomicity::Each, now);
    let ids = due.iter().map(|event| event.id().to_owned());
    let outcomes: Vec<(String, AppendOutcome)> = ids.zip(outcomes).collect();
    for (id, _) in &outcomes {
        state.schedule.remove(id);
    }
    outcomes
}

#[async_trait]
impl ScheduleStore for MemoryStore {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, ScheduleStoreError> {
        let now = self.now();
        Ok(schedule(&mut self.state_mut(), event, due, now))
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, ScheduleStoreError> {
        Ok(self.state().schedule.waiting.values().take(limit).cloned().collect())
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, ScheduleStoreError> {
        Ok(self.state_mut().schedule.remove(event_id).is_some())
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, ScheduleStoreError> {
        let mut state = self.state_mut();
        let outcomes = append_due(&mut state, limit, self.now());
        self.show_head(&state);
        Ok(outcomes)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, ScheduleStoreError> {
        Ok(self.state().schedule.waiting.keys().next().map(|(due, _)| *due))
    }
}
