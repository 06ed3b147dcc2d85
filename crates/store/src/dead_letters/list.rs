//! Finding dead letters, counting them, and removing those that are closed.

use std::collections::BTreeMap;

use domain::{
    DeadLetter, DeadLetterState, Entity, Event, StorageFailure,
    ports::{
        DeadLetterCount, DeadLetterQuery,
        engine::{Guard, IdState, Read, Space, SpaceKind, Transaction, Write},
    },
};
use futures_util::future::try_join_all;
use jiff::Timestamp;

use super::{
    change::Request,
    rows::{LetterRow, PAGE, Stored, remove_letter},
};
use crate::{
    Store,
    merge::{Merge, share},
    partition::Partition,
    retry::OptimisticRetry,
    rows::{LETTER_STATES, letters_in, text_in, time_and_id, time_key},
};

/// Where a list begins.
#[derive(Debug, Clone)]
enum Begin {
    Start,
    /// Behind this key of the index.
    After(Vec<u8>),
    /// Behind a letter that is gone since: behind its id, for ids rise as letters are made.
    AfterGone(String),
}

impl Store {
    /// Letters of all partitions, in the order of the list.
    pub(super) async fn list_letters(
        &self,
        query: &DeadLetterQuery,
    ) -> Result<Vec<DeadLetter>, StorageFailure> {
        let begin = match &query.after {
            None => Begin::Start,
            Some(after) => self.list_begin(after).await?,
        };
        let limit = query.limit.max(1);
        let mut begins = vec![begin; usize::from(self.partition_count())];
        let mut merge = Merge::new(begins.len());
        let mut found: Vec<DeadLetter> = Vec::new();
        while found.len() < limit && !merge.is_over() {
            let asked_for = share(limit - found.len(), merge.open());
            let hungry = merge.hungry();
            let asks = hungry.iter().filter_map(|at| Some((self.partition(*at as u16), begins.get(*at)?)));
            let asks = asks.map(|(partition, begin)| partition.list_letters(query, begin, asked_for));
            for (at, page) in hungry.iter().zip(try_join_all(asks).await?) {
                if let (Some(begin), Some(last)) = (begins.get_mut(*at), page.last()) {
                    *begin = Begin::After(time_key(last.created_at, &last.id));
                }
                let ended = page.len() < asked_for;
                merge.put(*at, page, ended);
            }
            let place = |letter: &DeadLetter| (letter.created_at, letter.id.clone());
            while found.len() < limit
                && let Some((_, letter)) = merge.take_first(place)
            {
                found.push(letter);
            }
        }
        Ok(found)
    }

    /// Where a list goes on behind a letter: whichever partition has it says when it was made.
    async fn list_begin(&self, after: &str) -> Result<Begin, StorageFailure> {
        let ids = [after.to_owned()];
        let parts = self.partitions().map(|partition| partition.letter_rows(&ids));
        let known = try_join_all(parts).await?.into_iter().flatten().flatten().next();
        Ok(match known {
            Some(row) => Begin::After(time_key(row.created, after)),
            None => Begin::AfterGone(after.to_owned()),
        })
    }

    pub(super) async fn letter_counts(&self) -> Result<Vec<DeadLetterCount>, StorageFailure> {
        let parts = try_join_all(self.partitions().map(Partition::letter_counts)).await?;
        let mut counts: BTreeMap<(String, usize), DeadLetterCount> = BTreeMap::new();
        for own in parts.into_iter().flatten() {
            let state = LETTER_STATES.iter().position(|state| *state == own.state).unwrap_or(usize::MAX);
            match counts.get_mut(&(own.group.clone(), state)) {
                Some(known) => {
                    known.count += own.count;
                    known.oldest = known.oldest.min(own.oldest);
                }
                None => drop(counts.insert((own.group.clone(), state), own)),
            }
        }
        Ok(counts.into_values().collect())
    }
}

impl Partition<'_> {
    /// Letters of a query from a place on.
    async fn list_letters(
        self,
        query: &DeadLetterQuery,
        begin: &Begin,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StorageFailure> {
        let (mut after, gone) = match begin {
            Begin::Start => (None, None),
            Begin::After(key) => (Some(key.clone()), None),
            Begin::AfterGone(id) => (None, Some(id)),
        };
        let indexes = indexes_of(query);
        let mut found = Vec::new();
        loop {
            let page = self.merged_page(&indexes, after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.clone());
            let mut ids = Vec::with_capacity(page.len());
            for key in &page {
                let (_, id) = time_and_id(key)?;
                if gone.is_none_or(|gone| id > *gone) {
                    ids.push(id);
                }
            }
            let rows = self.letter_rows(&ids).await?;
            let fitting = ids.into_iter().zip(rows);
            let fitting: Vec<String> = fitting
                .filter(|(_, row)| row.as_ref().is_some_and(|row| fits(query, row)))
                .map(|(id, _)| id)
                .collect();
            // Events are large: of a short list no more are read than it may need.
            for ids in fitting.chunks(limit.clamp(10, PAGE)) {
                for stored in self.letters(ids).await?.into_iter().flatten() {
                    if query.filter.matches(&stored.letter.event) {
                        found.push(stored.letter);
                    }
                    if found.len() == limit.max(1) {
                        return Ok(found);
                    }
                }
            }
        }
    }

    /// A page of several indexes as one, as far as all of them are known.
    async fn merged_page(
        self,
        indexes: &[Space],
        after: Option<&[u8]>,
    ) -> Result<Vec<Vec<u8>>, StorageFailure> {
        let read = |space: &Space| Read::Range {
            space: space.clone(),
            after: after.map(<[u8]>::to_vec),
            before: None,
            reverse: false,
            limit: PAGE,
        };
        let mut found = self.get(&indexes.iter().map(read).collect::<Vec<_>>()).await?;
        let (mut keys, mut known): (Vec<Vec<u8>>, Option<Vec<u8>>) = (Vec::new(), None);
        for _ in indexes {
            let page: Vec<Vec<u8>> = found.range().into_iter().map(|(key, _)| key).collect();
            if page.len() == PAGE
                && let Some(last) = page.last()
                && known.as_ref().is_none_or(|known| last < known)
            {
                known = Some(last.clone());
            }
            keys.extend(page);
        }
        keys.retain(|key| known.as_ref().is_none_or(|known| key <= known));
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// The groups that ever had a letter here, by name.
    async fn groups_with_letters(self) -> Result<Vec<String>, StorageFailure> {
        let rows = self.get(&[Read::all(Space::of(SpaceKind::DeadLetterGroup))]).await?.range();
        rows.iter().map(|(key, _)| text_in(key)).collect()
    }

    async fn letter_counts(self) -> Result<Vec<DeadLetterCount>, StorageFailure> {
        let mut kinds = Vec::new();
        for group in self.groups_with_letters().await? {
            kinds.extend(LETTER_STATES.map(|state| (group.clone(), state)));
        }
        let mut reads = Vec::with_capacity(2 * kinds.len());
        for (group, state) in &kinds {
            let index = letters_in(group, *state);
            reads.extend([Read::Count(index.clone()), Read::first(index, 1)]);
        }
        let mut found = self.get(&reads).await?;
        let mut counts = Vec::new();
        for (group, state) in kinds {
            let (count, first) = (found.count(), found.range());
            if let Some((key, _)) = first.first() {
                let (oldest, _) = time_and_id(key)?;
                counts.push(DeadLetterCount { group, state, count, oldest });
            }
        }
        Ok(counts)
    }

    pub(super) async fn purge_letters(self, closed_before: Timestamp) -> Result<u64, StorageFailure> {
        let mut purged = 0;
        for group in self.groups_with_letters().await? {
            for state in [DeadLetterState::Handled, DeadLetterState::Discarded] {
                let index = [letters_in(&group, state)];
                let mut after: Option<Vec<u8>> = None;
                loop {
                    let page = self.merged_page(&index, after.as_deref()).await?;
                    let Some(last) = page.last() else { break };
                    after = Some(last.clone());
                    let ids: Vec<String> =
                        page.iter()
                            .map(|key| Ok(time_and_id(key)?.1))
                            .collect::<Result<_, StorageFailure>>()?;
                    purged += self
                        .remove_letters(&ids, |stored| {
                            stored.letter.state.is_closed() && stored.letter.updated_at < closed_before
                        })
                        .await?;
                }
            }
        }
        Ok(purged)
    }

    /// Removes those of some letters that are to go as they are now; how many.
    async fn remove_letters(
        self,
        ids: &[String],
        goes: impl Fn(&Stored) -> bool,
    ) -> Result<u64, StorageFailure> {
        let mut removed = 0;
        let mut retry = OptimisticRetry::new();
        let mut left = ids.to_vec();
        loop {
            let letters: Vec<Stored> =
                self.letters(&left).await?.into_iter().flatten().filter(|stored| goes(stored)).collect();
            if letters.is_empty() {
                return Ok(removed);
            }
            let transactions: Vec<Transaction> = letters
                .iter()
                .map(|stored| {
                    let mut transaction = Transaction::durable();
                    remove_letter(&mut transaction, stored);
                    transaction
                })
                .collect();
            let outcomes = self.commit(&transactions).await?;
            removed += outcomes.iter().filter(|outcome| outcome.is_done()).count() as u64;
            let refused = letters.into_iter().zip(outcomes).filter(|(_, outcome)| !outcome.is_done());
            left = refused.map(|(stored, _)| stored.letter.id).collect();
            if left.is_empty() {
                return Ok(removed);
            }
            retry.again().await?;
        }
    }

    /// Removes every letter whose event names an entity, and refuses the ids of their events; the events whose ids were not
    /// refused before. Keys that are parked behind the letters are released.
    pub(crate) async fn erase_letters(
        self,
        entity: &Entity,
        partitions: u16,
    ) -> Result<Vec<Event>, StorageFailure> {
        let mut erased = Vec::new();
        let mut after = None;
        while let Some(letters) = self.every_letter(&mut after).await? {
            for stored in letters.iter().filter(|stored| stored.letter.event.names(entity)) {
                erased.extend(self.erase_letter(&stored.letter.id, partitions).await?);
            }
        }
        Ok(erased)
    }

    /// Removes the letters of events whose ids are refused already.
    pub(crate) async fn remove_erased_letters(self, partitions: u16) -> Result<(), StorageFailure> {
        let mut after = None;
        while let Some(letters) = self.every_letter(&mut after).await? {
            let ids: Vec<&str> = letters.iter().map(|stored| stored.letter.event.id()).collect();
            for (stored, state) in letters.iter().zip(self.locate(&ids).await?) {
                if state == Some(IdState::Erased) {
                    self.erase_letter(&stored.letter.id, partitions).await?;
                }
            }
        }
        Ok(())
    }

    /// Removes a letter, and refuses the id of its event; the event, if its id was not refused before.
    async fn erase_letter(self, id: &str, partitions: u16) -> Result<Option<Event>, StorageFailure> {
        self.change_some(&[id], Request::Discard("its event was erased"), partitions).await?;
        let mut retry = OptimisticRetry::new();
        loop {
            let found = self.letters(&[id.to_owned()]).await?.pop().flatten();
            let Some(stored) = found else { return Ok(None) };
            let event_id = stored.letter.event.id().to_owned();
            let known = self.locate(&[&event_id]).await?.pop().flatten();
            let mut transaction = Transaction::durable();
            transaction.erases = true;
            remove_letter(&mut transaction, &stored);
            transaction.guard(Guard::Id(event_id.clone(), known));
            if known.is_none() {
                transaction.write(Write::Tombstone(event_id));
            }
            if self.is_committed(&transaction).await? {
                return Ok(known.is_none().then_some(stored.letter.event));
            }
            retry.again().await?;
        }
    }

    /// A page of all letters, behind a key of their order; none at the end.
    async fn every_letter(self, after: &mut Option<Vec<u8>>) -> Result<Option<Vec<Stored>>, StorageFailure> {
        let index = [Space::of(SpaceKind::DeadLetterOrder)];
        let page = self.merged_page(&index, after.as_deref()).await?;
        let Some(last) = page.last() else { return Ok(None) };
        *after = Some(last.clone());
        let ids: Vec<String> =
            page.iter().map(|key| Ok(time_and_id(key)?.1)).collect::<Result<_, StorageFailure>>()?;
        Ok(Some(self.letters(&ids).await?.into_iter().flatten().collect()))
    }
}

/// The indexes that hold whatever a query finds.
fn indexes_of(query: &DeadLetterQuery) -> Vec<Space> {
    let Some(group) = &query.group else { return vec![Space::of(SpaceKind::DeadLetterOrder)] };
    let asked = |state: &DeadLetterState| query.states.is_empty() || query.states.contains(state);
    LETTER_STATES.into_iter().filter(asked).map(|state| letters_in(group, state)).collect()
}

/// Whether a letter fits all of a query but its filter.
fn fits(query: &DeadLetterQuery, row: &LetterRow) -> bool {
    query.group.as_ref().is_none_or(|group| *group == row.group)
        && (query.fingerprints.is_empty() || query.fingerprints.contains(&row.fingerprint))
        && (query.states.is_empty() || query.states.contains(&row.state))
}
