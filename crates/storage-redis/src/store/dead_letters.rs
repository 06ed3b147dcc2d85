//! The port of dead letters. A letter is in the partition of its event.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{
    DeadLetter, StorageFailure,
    ports::{DeadLetterChange, DeadLetterCount, DeadLetterQuery, DeadLetterStore, DeadLetterStoreError},
};
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;

use super::RedisStore;
use crate::{
    dead_letter_list::Begin,
    dead_letters::{PAGE, Wanted},
    merge::{Merge, share},
    partition::Partition,
    state::micros,
};

#[async_trait]
impl DeadLetterStore for RedisStore {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        match self.only() {
            Some(only) => only.dead_letters(query).await,
            None => Ok(self.merged_letters(query).await?),
        }
    }

    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, DeadLetterStoreError> {
        if let Some(only) = self.only() {
            return only.dead_letters_by_id(ids).await;
        }
        let parts = self.partitions().iter().map(|partition| partition.dead_letters_by_id(ids));
        let mut parts: Vec<_> =
            try_join_all(parts).await?.into_iter().map(|part| part.into_iter().peekable()).collect();
        let mut letters = Vec::with_capacity(ids.len());
        for id in ids {
            for (partition, part) in self.partitions().iter().zip(&mut parts) {
                letters
                    .extend(part.next_if(|letter| letter.id == *id).map(|letter| outward(letter, partition)));
            }
        }
        Ok(letters)
    }

    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        match self.only() {
            Some(only) => only.redrive(ids).await,
            None => Ok(self.change_letters(ids, Wanted::Redrive).await?),
        }
    }

    async fn discard(
        &self,
        ids: &[String],
        reason: &str,
    ) -> Result<Vec<DeadLetterChange>, DeadLetterStoreError> {
        match self.only() {
            Some(only) => only.discard(ids, reason).await,
            None => Ok(self.change_letters(ids, Wanted::Discard(reason)).await?),
        }
    }

    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, DeadLetterStoreError> {
        if let Some(only) = self.only() {
            return only.count_dead_letters().await;
        }
        let parts = try_join_all(self.partitions().iter().map(Partition::count_dead_letters)).await?;
        let mut counts: BTreeMap<(String, usize), DeadLetterCount> = BTreeMap::new();
        for part in parts {
            for own in part {
                let state = crate::dead_letter_rows::STATES.iter().position(|(state, _)| *state == own.state);
                match counts.get_mut(&(own.group.clone(), state.unwrap_or(usize::MAX))) {
                    Some(known) => {
                        known.count += own.count;
                        known.oldest = known.oldest.min(own.oldest);
                    }
                    None => {
                        counts.insert((own.group.clone(), state.unwrap_or(usize::MAX)), own);
                    }
                }
            }
        }
        Ok(counts.into_values().collect())
    }

    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, DeadLetterStoreError> {
        let parts = self.partitions().iter().map(|partition| partition.purge_dead_letters(closed_before));
        Ok(try_join_all(parts).await?.into_iter().sum())
    }
}

impl RedisStore {
    /// Letters of all partitions, in the order of the list.
    async fn merged_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StorageFailure> {
        let begin = match &query.after {
            None => Begin::Start,
            Some(after) => self.letters_begin(after).await?,
        };
        let limit = query.limit.max(1);
        let mut begins = vec![begin; self.partitions().len()];
        let mut merge = Merge::new(begins.len());
        let mut found: Vec<DeadLetter> = Vec::new();
        while found.len() < limit && !merge.is_over() {
            let asked_for = share(limit - found.len(), merge.open());
            let hungry = merge.hungry();
            let asks = hungry.iter().filter_map(|at| self.partitions().get(*at).zip(begins.get(*at)));
            let asks =
                asks.map(|(partition, begin)| partition.list_letters_from(query, begin.clone(), asked_for));
            for (at, page) in hungry.iter().zip(try_join_all(asks).await?) {
                if let (Some(begin), Some(last)) = (begins.get_mut(*at), page.last()) {
                    *begin = Begin::After(micros(last.created_at), last.id.clone());
                }
                let ended = page.len() < asked_for;
                merge.put(*at, page, ended);
            }
            let place = |letter: &DeadLetter| (letter.created_at, letter.id.clone());
            while found.len() < limit
                && let Some((at, letter)) = merge.take_first(place)
            {
                found.extend(self.partitions().get(at).map(|partition| outward(letter, partition)));
            }
        }
        Ok(found)
    }

    /// Where a list goes on behind a letter: whichever partition has it says when it was made.
    async fn letters_begin(&self, after: &String) -> Result<Begin, StorageFailure> {
        let parts = self.partitions().iter().map(|partition| partition.letters_begin(after));
        let begins = try_join_all(parts).await?;
        let known = begins.iter().find(|begin| matches!(begin, Begin::After(..)));
        Ok(known.cloned().unwrap_or_else(|| Begin::AfterGone(after.clone())))
    }

    /// Asks the partition that has a letter to change it.
    async fn change_letters(
        &self,
        ids: &[String],
        wanted: Wanted<'_>,
    ) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        let mut changes = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PAGE) {
            let holders = self.partitions().iter().map(|partition| partition.letter_records(ids));
            let holders = try_join_all(holders).await?;
            let has = |records: &Vec<Option<_>>, at: usize| records.get(at).is_some_and(Option::is_some);
            let holder = |at: usize| holders.iter().position(|records| has(records, at));
            let mut parts: Vec<(Vec<String>, Vec<usize>)> = vec![(Vec::new(), Vec::new()); holders.len()];
            for (at, id) in ids.iter().enumerate() {
                if let Some((own, places)) = holder(at).and_then(|partition| parts.get_mut(partition)) {
                    own.push(id.clone());
                    places.push(at);
                }
            }
            let mut of_page = vec![DeadLetterChange::Unknown; ids.len()];
            let asks = self.partitions().iter().zip(&parts);
            let answers = join_all(asks.map(|(partition, (ids, _))| partition.change_letters(ids, wanted)));
            for ((_, places), answers) in parts.iter().zip(answers.await) {
                for (place, answer) in places.iter().zip(answers?) {
                    if let Some(own) = of_page.get_mut(*place) {
                        *own = answer;
                    }
                }
            }
            changes.extend(of_page);
        }
        Ok(changes)
    }
}

/// A letter of a partition as the world knows it.
fn outward(mut letter: DeadLetter, partition: &Partition) -> DeadLetter {
    letter.position.partition = partition.number();
    letter
}
