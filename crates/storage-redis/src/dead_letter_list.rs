//! Finding dead letters, counting them, and removing those that are done with.

use domain::{
    DeadLetter, DeadLetterState, Entity, Event, StorageFailure,
    ports::{DeadLetterCount, DeadLetterQuery},
};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    dead_letter_rows::{self as rows, Change, Record},
    dead_letters::{PAGE, Wanted},
    failure::shape,
    group_rows::answers,
    state::from_micros,
    store::RedisStore,
    tries::Tries,
    write::{Write, Written},
};

impl RedisStore {
    /// The letters whose events name an entity, each with its event.
    pub(crate) async fn letters_naming(
        &self,
        entity: &Entity,
    ) -> Result<Vec<(String, Event)>, StorageFailure> {
        let mut named = Vec::new();
        let mut after = None;
        loop {
            let members = self.letter_members(&rows::order_key(self.keys()), after.as_deref()).await?;
            let Some(last) = members.last() else { return Ok(named) };
            after = Some(last.clone());
            let ids: Vec<String> =
                members.iter().filter_map(|member| Some(rows::of_member(member)?.1.to_owned())).collect();
            for stored in self.stored_letters(&ids).await?.into_iter().flatten() {
                if stored.letter.event.names(entity) {
                    named.push((stored.letter.id, stored.letter.event));
                }
            }
        }
    }

    /// Removes every letter whose event names an entity; the events. Keys that are parked behind them go on.
    pub(crate) async fn erase_dead_letters(&self, entity: &Entity) -> Result<Vec<Event>, StorageFailure> {
        let named = self.letters_naming(entity).await?;
        let ids: Vec<String> = named.iter().map(|(id, _)| id.clone()).collect();
        self.change_letters(&ids, Wanted::Discard("its event was erased")).await?;
        self.remove_letters(&ids, |_| true).await?;
        Ok(named.into_iter().map(|(_, event)| event).collect())
    }

    /// Removes those of some letters that are to go as they are now; how many.
    async fn remove_letters(
        &self,
        ids: &[String],
        goes: impl Fn(&Record) -> bool,
    ) -> Result<u64, StorageFailure> {
        let mut removed = 0;
        for some in ids.chunks(PAGE) {
            let mut tries = Tries::new();
            loop {
                let mut write = Write::new();
                let mut change = Change { keys: self.keys(), write: &mut write };
                let mut count = 0;
                for (id, record) in some.iter().zip(self.letter_records(some).await?) {
                    if let Some(record) = record.filter(|record| goes(record)) {
                        change.remove(id, &record);
                        count += 1;
                    }
                }
                if write.is_empty() {
                    break;
                }
                match write.run(self.link(), &self.keys().meta()).await? {
                    Written::Done(_) => {
                        removed += count;
                        break;
                    }
                    Written::Refused(_) | Written::Moved => tries.again().await?,
                }
            }
        }
        Ok(removed)
    }

    pub(crate) async fn purge_letters(&self, closed_before: i64) -> Result<u64, StorageFailure> {
        let goes = |record: &Record| record.row.state.is_closed() && record.row.updated < closed_before;
        let mut purged = 0;
        for group in self.groups_with_letters().await? {
            for state in [DeadLetterState::Handled, DeadLetterState::Discarded] {
                let key = rows::state_key(self.keys(), &group, state);
                let mut after = None;
                loop {
                    let members = self.letter_members(&key, after.as_deref()).await?;
                    let Some(last) = members.last() else { break };
                    after = Some(last.clone());
                    let ids: Vec<String> = members
                        .iter()
                        .filter_map(|member| Some(rows::of_member(member)?.1.to_owned()))
                        .collect();
                    purged += self.remove_letters(&ids, goes).await?;
                }
            }
        }
        Ok(purged)
    }

    /// The groups that ever had a letter, by name.
    pub(crate) async fn groups_with_letters(&self) -> Result<Vec<String>, StorageFailure> {
        let mut command = redis::cmd("SMEMBERS");
        command.arg(rows::groups_key(self.keys()));
        let answer = self.link().read(&command).await?;
        let mut groups: Vec<String> =
            FromRedisValue::from_redis_value(answer).map_err(|_| shape("groups with dead letters"))?;
        groups.sort_unstable();
        Ok(groups)
    }

    /// A page of an index, after a name in it.
    async fn letter_members(&self, key: &str, after: Option<&str>) -> Result<Vec<String>, StorageFailure> {
        self.letter_pages(std::slice::from_ref(&key.to_owned()), after)
            .await
            .map(|mut pages| pages.pop().unwrap_or_default())
    }

    /// A page of each index, after a name.
    async fn letter_pages(
        &self,
        keys: &[String],
        after: Option<&str>,
    ) -> Result<Vec<Vec<String>>, StorageFailure> {
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let mut pipeline = Pipeline::with_capacity(keys.len());
        for key in keys {
            let command = pipeline.cmd("ZRANGE").arg(key).arg(&from).arg("+");
            command.arg("BYLEX").arg("LIMIT").arg(0).arg(PAGE);
        }
        let pages = self.link().read_all(&pipeline).await?;
        pages
            .into_iter()
            .map(|page| FromRedisValue::from_redis_value(page).map_err(|_| shape("dead letters")))
            .collect()
    }

    pub(crate) async fn list_letters(
        &self,
        query: &DeadLetterQuery,
    ) -> Result<Vec<DeadLetter>, StorageFailure> {
        let (mut after, gone) = self.letters_begin(query).await?;
        let sources = self.letter_sources(query);
        let mut found = Vec::new();
        loop {
            let page = merged(self.letter_pages(&sources, after.as_deref()).await?);
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.clone());
            let ids = page.iter().filter_map(|member| Some(rows::of_member(member)?.1.to_owned()));
            let ids: Vec<String> = ids.filter(|id| gone.is_none_or(|gone| id > gone)).collect();
            let records = self.letter_records(&ids).await?;
            let fitting = ids.into_iter().zip(records).filter_map(|(id, record)| Some((id, record?.row)));
            let fitting: Vec<(String, rows::Row)> = fitting.filter(|(_, row)| fits(query, row)).collect();
            for (row, event) in self.letters_with_events(fitting, query.limit).await? {
                if query.filter.matches(&event) {
                    found.push(row.1.letter(row.0, event));
                }
                if found.len() == query.limit.max(1) {
                    return Ok(found);
                }
            }
        }
    }

    /// Where a list begins: behind a name; or, where the letter is gone since, behind its id, for ids rise with the letters
    /// that they were drawn for.
    async fn letters_begin<'q>(
        &self,
        query: &'q DeadLetterQuery,
    ) -> Result<(Option<String>, Option<&'q String>), StorageFailure> {
        let Some(after) = &query.after else { return Ok((None, None)) };
        let record = self.letter_records(std::slice::from_ref(after)).await?.pop().flatten();
        Ok(match record {
            Some(record) => (Some(rows::member(record.row.created, after)), None),
            None => (None, Some(after)),
        })
    }

    /// The indexes that hold whatever a query finds.
    fn letter_sources(&self, query: &DeadLetterQuery) -> Vec<String> {
        let Some(group) = &query.group else { return vec![rows::order_key(self.keys())] };
        let asked = |state: &DeadLetterState| query.states.is_empty() || query.states.contains(state);
        let states = rows::STATES.iter().map(|(state, _)| *state).filter(|state| asked(state));
        states.map(|state| rows::state_key(self.keys(), group, state)).collect()
    }

    /// Records with their events. What is removed meanwhile is left out.
    async fn letters_with_events(
        &self,
        records: Vec<(String, rows::Row)>,
        limit: usize,
    ) -> Result<Vec<((String, rows::Row), Event)>, StorageFailure> {
        let mut found = Vec::with_capacity(records.len());
        let mut records = records.into_iter().peekable();
        // Events are big: of a short list no more are fetched than it may need.
        while records.peek().is_some() {
            let some: Vec<(String, rows::Row)> = records.by_ref().take(limit.clamp(10, PAGE)).collect();
            let mut command = redis::cmd("HMGET");
            command.arg(rows::events_key(self.keys()));
            for (id, _) in &some {
                command.arg(id);
            }
            let texts = rows::texts(self.link().read(&command).await?)?;
            for (record, text) in some.into_iter().zip(texts) {
                if let Some(text) = text {
                    let event = rows::event(&record.0, &text)?;
                    found.push((record, event));
                }
            }
        }
        Ok(found)
    }

    pub(crate) async fn letter_counts(&self) -> Result<Vec<DeadLetterCount>, StorageFailure> {
        let groups = self.groups_with_letters().await?;
        let kinds =
            groups.iter().flat_map(|group| rows::STATES.iter().map(move |(state, _)| (group, *state)));
        let kinds: Vec<(&String, DeadLetterState)> = kinds.collect();
        let mut pipeline = Pipeline::with_capacity(2 * kinds.len());
        for (group, state) in &kinds {
            let key = rows::state_key(self.keys(), group, *state);
            pipeline.cmd("ZCARD").arg(&key);
            pipeline.cmd("ZRANGE").arg(&key).arg(0).arg(0);
        }
        let found = self.link().read_all(&pipeline).await?;
        let mut counts = Vec::new();
        for ((group, state), pair) in kinds.into_iter().zip(found.chunks_exact(2)) {
            let [count, first] = answers(pair.to_vec())?;
            let first: Vec<String> =
                FromRedisValue::from_redis_value(first).map_err(|_| shape("dead letters"))?;
            let oldest = first.first().and_then(|member| rows::of_member(member));
            if let (Value::Int(count), Some((oldest, _))) = (count, oldest) {
                let (group, count, oldest) = (group.clone(), count as u64, from_micros(oldest));
                counts.push(DeadLetterCount { group, state, count, oldest });
            }
        }
        Ok(counts)
    }
}

/// Whether a record fits all of a query but its filter.
fn fits(query: &DeadLetterQuery, row: &rows::Row) -> bool {
    query.group.as_ref().is_none_or(|group| *group == row.group)
        && (query.fingerprints.is_empty() || query.fingerprints.contains(&row.fingerprint))
        && (query.states.is_empty() || query.states.contains(&row.state))
}

/// Pages of several indexes as one, as far as all of them are known.
fn merged(pages: Vec<Vec<String>>) -> Vec<String> {
    let full = pages.iter().filter(|page| page.len() == PAGE);
    let known = full.filter_map(|page| page.last()).min().cloned();
    let mut members: Vec<String> = pages.into_iter().flatten().collect();
    members.retain(|member| known.as_ref().is_none_or(|known| member <= known));
    members.sort_unstable();
    members.dedup();
    members
}

/// The ids in a page of an index.
pub(crate) fn ids_of(page: Value) -> Result<Vec<String>, StorageFailure> {
    let members: Vec<String> = FromRedisValue::from_redis_value(page).map_err(|_| shape("dead letters"))?;
    Ok(members.iter().filter_map(|member| Some(rows::of_member(member)?.1.to_owned())).collect())
}
