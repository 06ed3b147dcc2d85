//! What a commit does to dead letters: a write that goes with it, guarded by everything it was decided on.

use std::collections::HashMap;

use domain::{
    DeadLetter, DeadLetterState, Event, Position, StorageFailure, dead_letter::NewDeadLetter,
    ports::SegmentCommit,
};
use uuid::Uuid;

use crate::{
    append::ERASED,
    dead_letter_rows::{self as rows, Change, Stored},
    keys::Digest,
    partition::Partition,
    state::{from_micros, sequence},
    write::{Write, text},
};

/// A letter as it was and as it is to be.
struct Turned {
    before: Option<Stored>,
    after: DeadLetter,
}

/// What a commit knows of the letters it touches.
#[derive(Default)]
struct Letters {
    /// By id, in the order in which they were first named.
    turned: Vec<Turned>,
    by_id: HashMap<String, usize>,
    by_position: HashMap<Position, usize>,
}

impl Letters {
    fn keep(&mut self, before: Option<Stored>, after: DeadLetter) {
        let index = self.turned.len();
        self.by_id.insert(after.id.clone(), index);
        self.by_position.insert(after.position, index);
        self.turned.push(Turned { before, after });
    }

    fn of_id(&mut self, id: &str) -> Option<&mut DeadLetter> {
        let index = *self.by_id.get(id)?;
        self.turned.get_mut(index).map(|turned| &mut turned.after)
    }

    fn at(&mut self, position: Position) -> Option<&mut DeadLetter> {
        let index = *self.by_position.get(&position)?;
        self.turned.get_mut(index).map(|turned| &mut turned.after)
    }
}

impl Partition {
    /// What a commit does to its group's letters.
    pub(crate) async fn letters_of_commit(&self, commit: &SegmentCommit) -> Result<Write, StorageFailure> {
        let now = from_micros(self.now().await?);
        let group = &commit.lease.group;
        let mut letters = self.letters_named(commit).await?;
        let mut write = Write::new();
        // A letter that is reported again in the same commit is open again: so those that were handled go first.
        for id in &commit.handled_dead_letters {
            let letter = letters.of_id(id).filter(|letter| letter.state == DeadLetterState::Redriving);
            if let Some(letter) = letter {
                letter.state = DeadLetterState::Handled;
                letter.updated_at = now;
            }
        }
        let mut events = self.events_for(&commit.dead_letters, &letters).await?;
        self.if_events_stay(&mut write, &mut events).await?;
        for new in &commit.dead_letters {
            if let Some(letter) = letters.at(new.position) {
                letter.merge(new.clone(), now);
            } else if let Some(event) = events.get(&new.position) {
                letters.keep(
                    None,
                    new.clone().into_letter(Uuid::now_v7().to_string(), group, event.clone(), now),
                );
            }
        }
        let mut change = Change { keys: self.keys(), write: &mut write };
        for turned in &letters.turned {
            match &turned.before {
                None => change.add(&turned.after)?,
                Some(before) => change.put(before, &turned.after)?,
            }
        }
        Ok(write)
    }

    /// The letters that a commit names: by the ids that were handled, and by what is given up on once more.
    async fn letters_named(&self, commit: &SegmentCommit) -> Result<Letters, StorageFailure> {
        let mut ids = commit.handled_dead_letters.clone();
        if !commit.dead_letters.is_empty() {
            let fields =
                commit.dead_letters.iter().map(|new| rows::at_field(&commit.lease.group, new.position));
            let mut command = redis::cmd("HMGET");
            command.arg(rows::at_key(self.keys())).arg(fields.collect::<Vec<_>>());
            let found = rows::texts(self.link().read(&command).await?)?;
            ids.extend(found.into_iter().flatten().filter_map(|id| String::from_utf8(id).ok()));
        }
        ids.sort_unstable();
        ids.dedup();
        let mut letters = Letters::default();
        for stored in self.stored_letters(&ids).await?.into_iter().flatten() {
            if stored.letter.group == commit.lease.group {
                let after = stored.letter.clone();
                letters.keep(Some(stored), after);
            }
        }
        Ok(letters)
    }

    /// The events of deliveries that have no letter yet, where the log has them.
    async fn events_for(
        &self,
        new: &[NewDeadLetter],
        letters: &Letters,
    ) -> Result<HashMap<Position, Event>, StorageFailure> {
        let fresh = new.iter().filter(|new| !letters.by_position.contains_key(&new.position));
        let sequences: Vec<u64> = fresh.filter_map(|new| sequence(new.position)).collect();
        let mut events = HashMap::new();
        for entry in self.entries_at(&sequences).await? {
            if let Ok(stored) = entry.stored() {
                events.insert(stored.position, stored.event);
            }
        }
        Ok(events)
    }

    /// Lets a write through only while events are neither erased nor trimmed: then their ids lead where they led. Events
    /// that went meanwhile are taken out.
    async fn if_events_stay(
        &self,
        write: &mut Write,
        events: &mut HashMap<Position, Event>,
    ) -> Result<(), StorageFailure> {
        let found: Vec<(Position, Digest)> =
            events.iter().map(|(position, event)| (*position, Digest::of_id(event.id()))).collect();
        let digests: Vec<Digest> = found.iter().map(|(_, digest)| *digest).collect();
        let values = self.values_of(&digests).await?;
        let known = self.known().await?;
        for ((position, digest), value) in found.into_iter().zip(&values) {
            let value = text(value);
            if value != Some(&position.sequence.to_string())
                && (value == Some(ERASED) || self.entries_at(&[position.sequence]).await?.is_empty())
            {
                events.remove(&position);
                continue;
            }
            let bucket = self.keys().bucket(digest.bucket(known.level, known.split));
            write.if_still(&bucket, digest.0, value.map(str::as_bytes));
        }
        Ok(())
    }
}
