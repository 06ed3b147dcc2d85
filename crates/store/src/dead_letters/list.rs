//! Lists and counts dead letters.

use std::collections::BTreeMap;

use domain::{
    DeadLetter, DeadLetterState, StorageFailure,
    ports::{
        DeadLetterCount, DeadLetterQuery,
        engine::{Read, Space, SpaceKind},
    },
};
use futures_util::future::try_join_all;

use super::rows::{LetterRow, PAGE, made_at};
use crate::{
    Store,
    merge::{Merge, share},
    pages::IndexPages,
    partition::Partition,
    rows::{LETTER_STATES, ids_in, letters_in, text_in, time_and_id, time_key},
};

/// The start of a list.
#[derive(Debug, Clone, Default)]
struct Begin {
    /// Starts after this key of the index (exclusive).
    after: Option<Vec<u8>>,
    /// Starts after this id, or prefix of an id, if no such dead letter exists any more. Ids rise in the order of
    /// creation.
    after_gone: Option<String>,
}

impl Begin {
    fn after(key: Vec<u8>) -> Self {
        Self { after: Some(key), after_gone: None }
    }
}

impl Store {
    /// Returns dead letters of all partitions, in the order of the list.
    pub(super) async fn list_letters(
        &self,
        query: &DeadLetterQuery,
    ) -> Result<Vec<DeadLetter>, StorageFailure> {
        let begin = match &query.after {
            None => Begin::default(),
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
                    *begin = Begin::after(time_key(last.created_at, &last.id));
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

    /// Returns the start of a list after a dead letter. Its creation time comes from the partition that has it, or from
    /// its id.
    async fn list_begin(&self, after: &str) -> Result<Begin, StorageFailure> {
        let ids = [after.to_owned()];
        let parts = self.in_all(|partition| partition.letter_rows(&ids)).await?;
        Ok(match parts.into_iter().flatten().flatten().next() {
            Some(row) => Begin::after(time_key(row.created, after)),
            None => {
                Begin { after: made_at(after).map(|at| time_key(at, "")), after_gone: Some(after.to_owned()) }
            }
        })
    }

    pub(super) async fn letter_counts(&self) -> Result<Vec<DeadLetterCount>, StorageFailure> {
        let parts = self.in_all(Partition::letter_counts).await?;
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
    /// Returns the dead letters of a query from a start on.
    async fn list_letters(
        self,
        query: &DeadLetterQuery,
        begin: &Begin,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StorageFailure> {
        let mut pages = IndexPages::new(self, indexes_of(query), PAGE).after(begin.after.clone());
        let mut found = Vec::new();
        while let Some(page) = pages.next().await? {
            let mut ids = ids_in(&page)?;
            ids.retain(|id| begin.after_gone.as_ref().is_none_or(|gone| id > gone));
            let rows = self.letter_rows(&ids).await?;
            let fitting = ids.into_iter().zip(rows).filter_map(|(id, row)| fits(query, &row?).then_some(id));
            let fitting: Vec<String> = fitting.collect();
            // Events are large. So a short list reads only as many as it may need.
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
        Ok(found)
    }

    /// Returns the groups that ever had a dead letter in this partition, sorted by name.
    pub(super) async fn groups_with_letters(self) -> Result<Vec<String>, StorageFailure> {
        let rows = self.all(Space::of(SpaceKind::DeadLetterGroup)).await?;
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
}

/// Returns the indexes that hold every result of a query.
fn indexes_of(query: &DeadLetterQuery) -> Vec<Space> {
    let Some(group) = &query.group else { return vec![Space::of(SpaceKind::DeadLetterOrder)] };
    let asked = |state: &DeadLetterState| query.states.is_empty() || query.states.contains(state);
    LETTER_STATES.into_iter().filter(asked).map(|state| letters_in(group, state)).collect()
}

/// Returns whether a dead letter matches everything in a query except its filter.
fn fits(query: &DeadLetterQuery, row: &LetterRow) -> bool {
    query.group.as_ref().is_none_or(|group| *group == row.group)
        && (query.fingerprints.is_empty() || query.fingerprints.contains(&row.fingerprint))
        && (query.states.is_empty() || query.states.contains(&row.state))
}
