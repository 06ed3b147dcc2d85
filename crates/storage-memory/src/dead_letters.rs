//! Dead letters: one for each group and position, with its event, and what people do with it.

use std::collections::{BTreeMap, HashMap};

use async_trait::async_trait;
use domain::{
    Entity, Event, Position,
    dead_letter::{DeadLetter, DeadLetterState, NewDeadLetter},
    group::{LaneOrigin, segment_of},
    ports::{DeadLetterChange, DeadLetterCount, DeadLetterQuery, DeadLetterStore, DeadLetterStoreError},
};
use jiff::Timestamp;
use uuid::Uuid;

use crate::{
    MemoryStore,
    groups::Groups,
    state::{PARTITIONS, State},
};

/// The place of a dead letter in the list: when it was made, then its id.
type Place = (Timestamp, String);

/// Every dead letter.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    letters: BTreeMap<Place, DeadLetter>,
    by_id: HashMap<String, Place>,
    by_position: HashMap<(String, Position), Place>,
}

impl DeadLetters {
    fn find(&self, id: &str) -> Option<&DeadLetter> {
        self.letters.get(self.by_id.get(id)?)
    }

    fn find_mut(&mut self, id: &str) -> Option<&mut DeadLetter> {
        self.letters.get_mut(self.by_id.get(id)?)
    }

    /// Takes in what a group gives up on: merged into the letter of the same position, else as a new one, where its
    /// event is still there.
    pub(crate) fn put(&mut self, group: &str, new: &NewDeadLetter, event: Option<Event>, now: Timestamp) {
        let known = self.by_position.get(&(group.to_owned(), new.position));
        match (known.and_then(|place| self.letters.get_mut(place)), event) {
            (Some(letter), _) => letter.merge(new.clone(), now),
            (None, Some(event)) => {
                self.insert(new.clone().into_letter(Uuid::now_v7().to_string(), group, event, now));
            }
            (None, None) => {}
        }
    }

    fn insert(&mut self, letter: DeadLetter) {
        let place = (letter.created_at, letter.id.clone());
        self.by_id.insert(letter.id.clone(), place.clone());
        self.by_position.insert((letter.group.clone(), letter.position), place.clone());
        self.letters.insert(place, letter);
    }

    fn remove(&mut self, place: &Place) -> Option<DeadLetter> {
        let letter = self.letters.remove(place)?;
        self.by_id.remove(&letter.id);
        self.by_position.remove(&(letter.group.clone(), letter.position));
        Some(letter)
    }

    /// A redrive was handled.
    pub(crate) fn handle(&mut self, group: &str, id: &str, now: Timestamp) {
        let letter = self.find_mut(id).filter(|letter| letter.group == group);
        if let Some(letter) = letter.filter(|letter| letter.state == DeadLetterState::Redriving) {
            letter.state = DeadLetterState::Handled;
            letter.updated_at = now;
        }
    }

    /// Opens what is on its way to a group that is no more: it would never arrive.
    pub(crate) fn strand(&mut self, group: &str, now: Timestamp) {
        let stranded =
            |letter: &&mut DeadLetter| letter.group == group && letter.state == DeadLetterState::Redriving;
        for letter in self.letters.values_mut().filter(stranded) {
            letter.state = DeadLetterState::Open;
            letter.updated_at = now;
        }
    }

    /// Takes out every letter whose event names an entity.
    pub(crate) fn erase(&mut self, entity: &Entity) -> Vec<Event> {
        self.remove_all(|letter| letter.event.names(entity)).into_iter().map(|letter| letter.event).collect()
    }

    /// The letters whose events name an entity.
    pub(crate) fn naming(&self, entity: &Entity) -> Vec<String> {
        let named = self.letters.values().filter(|letter| letter.event.names(entity));
        named.map(|letter| letter.id.clone()).collect()
    }

    fn remove_all(&mut self, goes: impl Fn(&DeadLetter) -> bool) -> Vec<DeadLetter> {
        let going = self.letters.iter().filter(|(_, letter)| goes(letter));
        let going: Vec<Place> = going.map(|(place, _)| place.clone()).collect();
        going.iter().filter_map(|place| self.remove(place)).collect()
    }

    fn page(&self, query: &DeadLetterQuery) -> Vec<DeadLetter> {
        let after = query.after.as_ref().map(|id| self.by_id.get(id).ok_or(id));
        let comes = |(place, _): &(&Place, &DeadLetter)| match &after {
            None => true,
            Some(Ok(last)) => place > last,
            // The letter is gone since; ids rise with the letters that they were drawn for.
            Some(Err(id)) => place.1 > **id,
        };
        let matching = self.letters.iter().filter(comes).filter(|(_, letter)| matches(query, letter));
        matching.take(query.limit.max(1)).map(|(_, letter)| letter.clone()).collect()
    }

    fn counts(&self) -> Vec<DeadLetterCount> {
        let mut counts: Vec<DeadLetterCount> = Vec::new();
        for letter in self.letters.values() {
            let counted =
                |count: &&mut DeadLetterCount| count.group == letter.group && count.state == letter.state;
            match counts.iter_mut().find(counted) {
                Some(count) => count.count += 1,
                // The letters come oldest first.
                None => counts.push(DeadLetterCount {
                    group: letter.group.clone(),
                    state: letter.state,
                    count: 1,
                    oldest: letter.created_at,
                }),
            }
        }
        counts.sort_by(|one, other| (&one.group, one.state as u8).cmp(&(&other.group, other.state as u8)));
        counts
    }
}

fn matches(query: &DeadLetterQuery, letter: &DeadLetter) -> bool {
    query.group.as_ref().is_none_or(|group| *group == letter.group)
        && (query.fingerprints.is_empty() || query.fingerprints.contains(&letter.fingerprint))
        && (query.states.is_empty() || query.states.contains(&letter.state))
        && query.filter.matches(&letter.event)
}

fn redrive(state: &mut State, id: &str, now: Timestamp) -> DeadLetterChange {
    let Some(letter) = state.dead_letters.find_mut(id) else { return DeadLetterChange::Unknown };
    if letter.state != DeadLetterState::Open {
        return DeadLetterChange::Unchanged(letter.state);
    }
    let origin = LaneOrigin::Redrive { dead_letter: id.to_owned() };
    if !send(&mut state.groups, letter, origin) {
        return DeadLetterChange::NoGroup;
    }
    letter.state = DeadLetterState::Redriving;
    letter.updated_at = now;
    DeadLetterChange::Done
}

pub(crate) fn discard(state: &mut State, id: &str, reason: &str, now: Timestamp) -> DeadLetterChange {
    let Some(letter) = state.dead_letters.find_mut(id) else { return DeadLetterChange::Unknown };
    if letter.state != DeadLetterState::Open {
        return DeadLetterChange::Unchanged(letter.state);
    }
    if letter.parked {
        // Where the group is gone so is the key that waited.
        send(&mut state.groups, letter, LaneOrigin::Discarded { dead_letter: id.to_owned() });
    }
    letter.state = DeadLetterState::Discarded;
    letter.reason = Some(reason.to_owned());
    letter.updated_at = now;
    DeadLetterChange::Done
}

/// Puts a reference into the lane of the letter's key; whether its group is there. The lane's bound does not apply.
fn send(groups: &mut Groups, letter: &DeadLetter, origin: LaneOrigin) -> bool {
    let Some(group) = groups.get_mut(&letter.group) else { return false };
    let spec = &group.record.spec;
    let key = spec.key.of(&letter.event);
    let segment = segment_of(&key, letter.position.partition, PARTITIONS, spec.segments);
    let Some(to) = group.segments.get_mut(usize::from(segment)) else { return false };
    to.lane.push(segment, origin, vec![letter.position.sequence]);
    true
}

#[async_trait]
impl DeadLetterStore for MemoryStore {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        Ok(self.state().dead_letters.page(query))
    }

    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        let state = self.state();
        Ok(ids.iter().filter_map(|id| state.dead_letters.find(id)).cloned().collect())
    }

    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        let mut state = self.state_mut();
        let now = self.now();
        Ok(ids.iter().map(|id| redrive(&mut state, id, now)).collect())
    }

    async fn discard(
        &self,
        ids: &[String],
        reason: &str,
    ) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        let mut state = self.state_mut();
        let now = self.now();
        Ok(ids.iter().map(|id| discard(&mut state, id, reason, now)).collect())
    }

    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, DeadLetterStoreError> {
        Ok(self.state().dead_letters.counts())
    }

    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, DeadLetterStoreError> {
        let old = |letter: &DeadLetter| letter.state.is_closed() && letter.updated_at < closed_before;
        Ok(self.state_mut().dead_letters.remove_all(old).len() as u64)
    }
}
