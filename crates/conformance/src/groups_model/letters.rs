//! Dead letters in the model.

use domain::{
    dead_letter::{DeadLetter, DeadLetterState, NewDeadLetter},
    group::{LaneOrigin, segment_of},
    ports::DeadLetterChange,
};
use jiff::Timestamp;

use super::oracle::Oracle;

use DeadLetterState::{Discarded, Handled, Open, Redriving};

/// Returns all values of a dead letter that the ports define. They do not define whether a closed dead letter is
/// parked.
fn seen(letter: &DeadLetter) -> (String, String) {
    let mut letter = letter.clone();
    letter.parked &= !letter.state.is_closed();
    (format!("{letter:?}"), letter.event.json().to_owned())
}

impl Oracle {
    fn letter_mut(&mut self, id: &str) -> Option<&mut DeadLetter> {
        self.letters.iter_mut().find(|letter| letter.id == id)
    }

    /// Closes a redriven dead letter. The redrive runs through a lane in the partition of the event.
    pub(super) fn handled(&mut self, group: &str, partition: u16, id: &str, now: Timestamp) {
        let letter = self.letter_mut(id).filter(|letter| {
            letter.group == group && letter.position.partition == partition && letter.state == Redriving
        });
        if let Some(letter) = letter {
            (letter.state, letter.updated_at) = (Handled, now);
        }
    }

    pub(super) fn give_up(&mut self, group: &str, new: &NewDeadLetter, now: Timestamp) {
        let known = self.letters.iter_mut().find(|it| it.group == group && it.position == new.position);
        if let Some(letter) = known {
            letter.attempts += new.attempts;
            for failure in new.earlier.iter().chain([&new.failure]) {
                letter.history.push(failure.clone());
                if letter.history.len() > 20 {
                    letter.history.remove(1);
                }
            }
            letter.fingerprint.clone_from(&new.fingerprint);
            if new.replay_id.is_some() {
                letter.replay_id.clone_from(&new.replay_id);
            }
            letter.parked |= new.parked;
            (letter.state, letter.reason, letter.updated_at) = (Open, None, now);
            return;
        }
        let of_partition = &self.log[usize::from(new.position.partition)];
        let Some(event) = of_partition.get(new.position.sequence as usize - 1) else { return };
        self.letters.push(DeadLetter {
            id: String::new(),
            group: group.to_owned(),
            position: new.position,
            event: event.clone(),
            state: Open,
            attempts: new.attempts,
            history: new.earlier.iter().chain([&new.failure]).cloned().collect(),
            fingerprint: new.fingerprint.clone(),
            replay_id: new.replay_id.clone(),
            parked: new.parked,
            created_at: now,
            updated_at: now,
            reason: None,
            edit: None,
        });
    }

    /// Checks the dead letters that were read, and adopts the ids of new ones.
    pub(super) fn check_letters(&mut self, read: &[DeadLetter]) {
        for read in read {
            let own =
                self.letters.iter_mut().find(|it| (&it.group, it.position) == (&read.group, read.position));
            let own = own.unwrap_or_else(|| panic!("there is no such letter: {read:?}"));
            if own.id.is_empty() {
                assert!(!read.id.is_empty(), "a letter has an id: {read:?}");
                own.id.clone_from(&read.id);
            }
            if own.state.is_closed() {
                own.parked = read.parked;
            }
        }
        self.letters.sort_by(|one, other| (one.created_at, &one.id).cmp(&(other.created_at, &other.id)));
        assert_eq!(Vec::from_iter(read.iter().map(seen)), Vec::from_iter(self.letters.iter().map(seen)));
        assert!(
            self.letters.is_sorted_by(|one, other| (one.created_at, &one.id) < (other.created_at, &other.id))
        );
    }

    /// Adopts the state of dead letters whose group was deleted during their redrive. The store may have opened them
    /// again.
    pub(super) fn strand(&mut self, group: &str, read: &[DeadLetter]) {
        for letter in self.letters.iter_mut().filter(|it| it.group == group && it.state == Redriving) {
            let read = read.iter().find(|read| read.id == letter.id);
            if let Some(read) = read.filter(|read| read.state == Open) {
                (letter.state, letter.updated_at) = (Open, read.updated_at);
            }
        }
    }

    /// Returns whether the ports define the effect of a redrive or a discard on this dead letter.
    pub(super) fn is_certain(&self, id: &str) -> bool {
        let letter = self.letters.iter().find(|letter| letter.id == id);
        letter.is_none_or(|letter| letter.state == Open || self.groups.contains_key(&letter.group))
    }

    pub(super) fn redrive(&mut self, id: &str, now: Timestamp) -> DeadLetterChange {
        let Some(letter) = self.letters.iter().find(|letter| letter.id == id).cloned() else {
            return DeadLetterChange::Unknown;
        };
        if letter.state != Open {
            return DeadLetterChange::Unchanged(letter.state);
        }
        let origin = LaneOrigin::Redrive { dead_letter: letter.id.clone() };
        if !self.put_into_lane(&letter, origin) {
            return DeadLetterChange::NoGroup;
        }
        if let Some(letter) = self.letter_mut(id) {
            (letter.state, letter.updated_at) = (Redriving, now);
        }
        DeadLetterChange::Done
    }

    pub(super) fn discard(&mut self, id: &str, reason: &str, now: Timestamp) -> DeadLetterChange {
        let Some(letter) = self.letters.iter().find(|letter| letter.id == id).cloned() else {
            return DeadLetterChange::Unknown;
        };
        if letter.state != Open {
            return DeadLetterChange::Unchanged(letter.state);
        }
        if letter.parked {
            let origin = LaneOrigin::Discarded { dead_letter: letter.id.clone() };
            self.put_into_lane(&letter, origin);
        }
        if let Some(letter) = self.letter_mut(id) {
            (letter.state, letter.updated_at) = (Discarded, now);
            letter.reason = Some(reason.to_owned());
        }
        DeadLetterChange::Done
    }

    /// Adds the event of a dead letter to its lane. Returns false if the group does not exist.
    fn put_into_lane(&mut self, letter: &DeadLetter, origin: LaneOrigin) -> bool {
        let Some(group) = self.groups.get(&letter.group) else { return false };
        let (partition, partitions) = (letter.position.partition, self.log.len() as u16);
        let at = segment_of(&group.spec.key.of(&letter.event), partition, partitions, group.spec.segments);
        if let Some(segment) = self.segment_mut(&letter.group, at) {
            segment.push(at, origin, vec![letter.position.sequence]);
        }
        true
    }

    pub(super) fn purge(&mut self, closed_before: Timestamp) -> u64 {
        let before = self.letters.len();
        self.letters.retain(|it| !(it.state.is_closed() && it.updated_at < closed_before));
        (before - self.letters.len()) as u64
    }
}
