//! Dead letters, and what people do with them.

use std::collections::{BTreeSet, HashMap};

use async_trait::async_trait;
use domain::{
    DeadLetter, DeadLetterState, StorageFailure,
    group::{LaneOrigin, segment_of},
    ports::{DeadLetterChange, DeadLetterCount, DeadLetterQuery, DeadLetterStore, DeadLetterStoreError},
};
use jiff::Timestamp;

use crate::{
    dead_letter_list::ids_of,
    dead_letter_rows::{self as rows, Change, Stored},
    group_rows::{Group, GroupKeys},
    lanes::{Push, Pushed},
    partition::Partition,
    state::{PARTITIONS, from_micros, micros},
    tries::Tries,
    write::{Write, Written},
};

/// Letters that are looked at, or changed, in one step.
pub(crate) const PAGE: usize = 100;

/// What is to become of open letters.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    Redrive,
    /// With this reason.
    Discard(&'a str),
}

/// What was decided of some letters.
#[derive(Default)]
struct Decided {
    changes: Vec<DeadLetterChange>,
    pushes: Vec<Push>,
    write: Write,
}

impl Partition {
    /// Decides what becomes of letters, and does it if they are still as they were read.
    pub(crate) async fn change_letters(
        &self,
        ids: &[String],
        wanted: Wanted<'_>,
    ) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        let mut changes = Vec::with_capacity(ids.len());
        for some in ids.chunks(PAGE) {
            changes.extend(self.change_some_letters(some, wanted).await?);
        }
        Ok(changes)
    }

    async fn change_some_letters(
        &self,
        ids: &[String],
        wanted: Wanted<'_>,
    ) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        let mut tries = Tries::new();
        loop {
            let letters = self.stored_letters(ids).await?;
            let groups =
                self.groups_of_letters(letters.iter().flatten().map(|stored| &stored.letter)).await?;
            let decided = self.decide_letters(letters, &groups, wanted).await?;
            if decided.write.is_empty() {
                return Ok(decided.changes);
            }
            match self.push(None, &decided.pushes, &decided.write).await? {
                Pushed::Done(_) => return Ok(decided.changes),
                Pushed::Refused => tries.again().await?,
            }
        }
    }

    async fn groups_of_letters(
        &self,
        letters: impl Iterator<Item = &DeadLetter>,
    ) -> Result<HashMap<String, Group>, StorageFailure> {
        let names: BTreeSet<&str> = letters.map(|letter| letter.group.as_str()).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let groups = self.groups_named(&names).await?;
        Ok(groups.into_iter().flatten().map(|group| (group.name().to_owned(), group)).collect())
    }

    async fn decide_letters(
        &self,
        letters: Vec<Option<Stored>>,
        groups: &HashMap<String, Group>,
        wanted: Wanted<'_>,
    ) -> Result<Decided, StorageFailure> {
        let now = from_micros(self.now().await?);
        let mut decided = Decided::default();
        let mut changed: HashMap<String, DeadLetterState> = HashMap::new();
        for stored in letters {
            let Some(stored) = stored else {
                decided.changes.push(DeadLetterChange::Unknown);
                continue;
            };
            let letter = &stored.letter;
            let state = changed.get(&letter.id).copied().unwrap_or(letter.state);
            if state != DeadLetterState::Open {
                decided.changes.push(DeadLetterChange::Unchanged(state));
                continue;
            }
            let group = groups.get(&letter.group);
            if matches!(wanted, Wanted::Redrive) && group.is_none() {
                decided.changes.push(DeadLetterChange::NoGroup);
                continue;
            }
            let after = turned(letter, wanted, now);
            if matches!(wanted, Wanted::Redrive) || letter.parked {
                self.send_letter(&mut decided, letter, group, wanted)?;
            }
            Change { keys: self.keys(), write: &mut decided.write }.put(&stored, &after)?;
            changed.insert(after.id, after.state);
            decided.changes.push(DeadLetterChange::Done);
        }
        Ok(decided)
    }

    /// Puts a reference into the lane of the letter's key. Where the group is gone so is the key that waited.
    fn send_letter(
        &self,
        decided: &mut Decided,
        letter: &DeadLetter,
        group: Option<&Group>,
        wanted: Wanted<'_>,
    ) -> Result<(), StorageFailure> {
        let groups = crate::group_rows::groups_key(self.keys());
        let Some(group) = group else {
            // It may be made again meanwhile.
            decided.write.if_absent(&groups, &letter.group);
            return Ok(());
        };
        let segments = GroupKeys::new(self.keys(), &letter.group).segments();
        decided.write.if_is(&segments, "born", &group.row.born);
        let spec = &group.row.spec;
        let key = spec.key.of(&letter.event);
        let segment = segment_of(&key, letter.position.partition, PARTITIONS, spec.segments);
        let dead_letter = letter.id.clone();
        let origin = match wanted {
            Wanted::Redrive => LaneOrigin::Redrive { dead_letter },
            Wanted::Discard(_) => LaneOrigin::Discarded { dead_letter },
        };
        decided.pushes.push(Push::one(&letter.group, segment, &origin, letter.position.sequence)?);
        Ok(())
    }

    /// Opens what is on its way to a group that is about to go: it would never arrive.
    pub(crate) async fn strand_letters(&self, group: &str) -> Result<(), StorageFailure> {
        let key = rows::redriving_key(self.keys(), group);
        let mut tries = Tries::new();
        loop {
            let mut command = redis::cmd("ZRANGE");
            command.arg(&key).arg(0).arg(PAGE - 1);
            let ids = ids_of(self.link().read(&command).await?)?;
            if ids.is_empty() {
                return Ok(());
            }
            let now = self.now().await?;
            let mut write = Write::new();
            let mut change = Change { keys: self.keys(), write: &mut write };
            for (id, record) in ids.iter().zip(self.letter_records(&ids).await?) {
                match record {
                    Some(record) if record.row.state == DeadLetterState::Redriving => {
                        let mut open = record.row.clone();
                        (open.state, open.updated) = (DeadLetterState::Open, now);
                        change.turn(id, &record, &open)?;
                    }
                    // It changed since the index was read: the next look tells more.
                    _ => {}
                }
            }
            if write.is_empty() {
                tries.again().await?;
                continue;
            }
            if let Written::Refused(_) = write.run(self.link(), &self.keys().meta()).await? {
                tries.again().await?;
            }
        }
    }
}

fn turned(letter: &DeadLetter, wanted: Wanted<'_>, now: Timestamp) -> DeadLetter {
    let mut after = letter.clone();
    after.updated_at = now;
    match wanted {
        Wanted::Redrive => after.state = DeadLetterState::Redriving,
        Wanted::Discard(reason) => {
            after.state = DeadLetterState::Discarded;
            after.reason = Some(reason.to_owned());
        }
    }
    after
}

#[async_trait]
impl DeadLetterStore for Partition {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        Ok(self.list_letters(query).await?)
    }

    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        let mut letters = Vec::with_capacity(ids.len());
        for some in ids.chunks(PAGE) {
            letters
                .extend(self.stored_letters(some).await?.into_iter().flatten().map(|stored| stored.letter));
        }
        Ok(letters)
    }

    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        Ok(self.change_letters(ids, Wanted::Redrive).await?)
    }

    async fn discard(
        &self,
        ids: &[String],
        reason: &str,
    ) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        Ok(self.change_letters(ids, Wanted::Discard(reason)).await?)
    }

    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, DeadLetterStoreError> {
        Ok(self.letter_counts().await?)
    }

    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, DeadLetterStoreError> {
        Ok(self.purge_letters(micros(closed_before)).await?)
    }
}
