//! The changes of a commit to dead letters: guards and writes that are added to its transaction.

use std::collections::HashMap;

use domain::{
    DeadLetter, DeadLetterState, Event, StorageFailure,
    dead_letter::NewDeadLetter,
    ports::{
        SegmentCommit,
        engine::{Guard, IdState, Read, SpaceKind, Step, Transaction},
    },
};

use crate::{
    dead_letters::rows::{Stored, add_letter, new_id, put_letter},
    partition::Partition,
    rows::{letter_at, named, text},
};

/// A dead letter before and after the commit.
struct Changed {
    before: Option<Stored>,
    after: DeadLetter,
}

/// The dead letters that a commit touches, each once.
#[derive(Default)]
struct Letters {
    changed: Vec<Changed>,
    by_id: HashMap<String, usize>,
    by_sequence: HashMap<u64, usize>,
}

impl Letters {
    fn keep(&mut self, before: Option<Stored>, after: DeadLetter) {
        let index = self.changed.len();
        self.by_id.insert(after.id.clone(), index);
        self.by_sequence.insert(after.position.sequence, index);
        self.changed.push(Changed { before, after });
    }

    fn of_id(&mut self, id: &str) -> Option<&mut DeadLetter> {
        let index = *self.by_id.get(id)?;
        self.changed.get_mut(index).map(|changed| &mut changed.after)
    }

    fn at(&mut self, sequence: u64) -> Option<&mut DeadLetter> {
        let index = *self.by_sequence.get(&sequence)?;
        self.changed.get_mut(index).map(|changed| &mut changed.after)
    }
}

impl Partition<'_> {
    /// Adds the commit's changes to the group's dead letters to the first step of its transaction.
    pub(super) async fn change_letters_of(
        self,
        commit: &SegmentCommit,
        transaction: &mut Transaction,
    ) -> Result<(), StorageFailure> {
        let group = &commit.lease.group;
        // An event of another partition does not belong to the segment, and this partition does not have it.
        let new = commit.dead_letters.iter().filter(|new| new.position.partition == self.number);
        let new: Vec<&NewDeadLetter> = new.collect();
        let mut letters = self.letters_named(group, &new, &commit.handled_dead_letters).await?;
        let now = self.now().await?;
        // Handled dead letters are changed first. A dead letter that fails again in the same commit must end as open.
        for id in &commit.handled_dead_letters {
            let letter = letters.of_id(id).filter(|letter| letter.state == DeadLetterState::Redriving);
            if let Some(letter) = letter {
                letter.state = DeadLetterState::Handled;
                letter.updated_at = now;
            }
        }
        let fresh = new.iter().map(|new| new.position.sequence);
        let fresh: Vec<u64> = fresh.filter(|at| !letters.by_sequence.contains_key(at)).collect();
        let mut own = Transaction::new();
        let events = self.events_that_stay(&fresh, &mut own).await?;
        for new in new {
            if let Some(letter) = letters.at(new.position.sequence) {
                letter.merge(new.clone(), now);
            } else if let Some(event) = events.get(&new.position.sequence) {
                let id = new_id(now);
                letters.keep(None, new.clone().into_letter(id, group, event.clone(), now));
            }
        }
        for changed in &letters.changed {
            match &changed.before {
                Some(before) => put_letter(&mut own, before, &changed.after)?,
                None => add_letter(&mut own, &changed.after)?,
            }
        }
        if let (Some(first), Some(Step { guards, writes })) =
            (transaction.steps.first_mut(), own.steps.into_iter().next())
        {
            first.guards.extend(guards);
            first.writes.extend(writes);
        }
        Ok(())
    }

    /// Returns the dead letters that a commit names, by the handled ids and by the positions of the failed events.
    async fn letters_named(
        self,
        group: &str,
        new: &[&NewDeadLetter],
        handled: &[String],
    ) -> Result<Letters, StorageFailure> {
        let reads: Vec<Read> =
            new.iter().map(|new| Read::Row(letter_at(group, new.position.sequence))).collect();
        let mut ids = handled.to_vec();
        if !reads.is_empty() {
            let mut found = self.get(&reads).await?;
            for _ in &reads {
                ids.extend(found.row().map(text).transpose()?);
            }
        }
        ids.sort_unstable();
        ids.dedup();
        let mut letters = Letters::default();
        for stored in self.letters(&ids).await?.into_iter().flatten() {
            if stored.letter.group == group {
                let after = stored.letter.clone();
                letters.keep(Some(stored), after);
            }
        }
        Ok(letters)
    }

    /// Returns the events at these sequences that the log has. Guards refuse the transaction if an event is trimmed or
    /// erased meanwhile: the state of each id must be unchanged.
    async fn events_that_stay(
        self,
        sequences: &[u64],
        transaction: &mut Transaction,
    ) -> Result<HashMap<u64, Event>, StorageFailure> {
        let mut events = HashMap::new();
        for entry in self.at(sequences).await?.into_iter().flatten().flatten() {
            events.insert(entry.position.sequence, entry.event);
        }
        let found: Vec<(u64, String)> =
            events.iter().map(|(sequence, event)| (*sequence, event.id().to_owned())).collect();
        let ids: Vec<&str> = found.iter().map(|(_, id)| id.as_str()).collect();
        let states = self.locate(&ids).await?;
        for ((sequence, id), state) in found.into_iter().zip(states) {
            let is_elsewhere = state != Some(IdState::Stored(sequence));
            if state == Some(IdState::Erased)
                || (is_elsewhere && self.at(&[sequence]).await?.into_iter().flatten().next().is_none())
            {
                events.remove(&sequence);
                continue;
            }
            transaction.guard(Guard::Id(id, state));
        }
        Ok(events)
    }

    /// Reopens dead letters in redrive to a group that is about to be deleted. Their redelivery would never arrive.
    pub(super) async fn reopen_redriving(self, group: &str) -> Result<(), StorageFailure> {
        let mut retry = crate::retry::OptimisticRetry::new();
        loop {
            let ids = self.letter_ids(&crate::rows::letters_in(group, DeadLetterState::Redriving)).await?;
            if ids.is_empty() {
                return Ok(());
            }
            let now = self.now().await?;
            let mut transactions = Vec::new();
            for stored in self.letters(&ids).await?.into_iter().flatten() {
                let mut after = stored.letter.clone();
                (after.state, after.updated_at) = (DeadLetterState::Open, now);
                let mut transaction = Transaction::durable();
                put_letter(&mut transaction, &stored, &after)?;
                transactions.push(transaction);
            }
            if transactions.is_empty() {
                // The index lists letters that do not exist or are damaged. No letter can be reopened, so the index is
                // cleared.
                let mut transaction = Transaction::durable();
                for id in &ids {
                    transaction.guard(Guard::Absent(named(SpaceKind::DeadLetter, id)));
                }
                transaction.clear(crate::rows::letters_in(group, DeadLetterState::Redriving));
                self.commit_one(&transaction).await?;
                return Ok(());
            }
            self.commit(&transactions).await?;
            retry.again().await?;
        }
    }
}
