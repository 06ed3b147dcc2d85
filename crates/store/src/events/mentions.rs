//! Texts outside the log that name an erased entity: checkpoints and the records of replays.
//!
//! A checkpoint may name an erased event as the last one processed. The erasure clears that name and keeps the position
//! of the checkpoint. It does not change texts of users or of replays. Its answer says which of them name the entity,
//! and how to remove them.

use domain::{
    Checkpoint, Entity, StorageFailure,
    ports::engine::{Guard, IdState, SpaceKind, Transaction},
};

use crate::{
    Store,
    retry::OptimisticRetry,
    rows::{named, to_json},
};

/// The number of replay records to search, newest first.
const MOST_REPLAYS: usize = 10_000;
/// The most records or checkpoints that the answer names.
const MOST_NAMED: usize = 20;
/// The shortest id, in bytes, that the search finds as a word. A shorter id would match in almost any text, so it is
/// found only as a whole string.
const SHORTEST_WORD: usize = 3;

impl Store {
    /// Clears erased events from checkpoints. Returns sentences for people about other texts that name the entity.
    pub(super) async fn forget_mentions(&self, entity: &Entity) -> Result<Vec<String>, StorageFailure> {
        let mut checkpoints = Vec::new();
        for checkpoint in self.checkpoints().await? {
            let checkpoint = self.forget_last_event(checkpoint).await?;
            let metadata = serde_json::Value::Object(checkpoint.metadata);
            let texts = [&checkpoint.name, &checkpoint.last_processed_event_id];
            if is_named_in(&metadata, &entity.id) || texts.iter().any(|text| is_word_of(text, &entity.id)) {
                checkpoints.push(checkpoint.name);
            }
        }
        let mut replays = Vec::new();
        for record in self.first().newest_replays(MOST_REPLAYS).await? {
            if [&record.plan, &record.progress].iter().any(|text| is_named_in_json(text, &entity.id)) {
                replays.push(record.id);
            }
        }
        let mut remains = Vec::new();
        if !checkpoints.is_empty() {
            let names = some_of(&checkpoints);
            remains.push(format!(
                "checkpoints that name it in their name, metadata or last event ({names}; `event-replay checkpoints delete \
                 NAME` removes one)"
            ));
        }
        if !replays.is_empty() {
            let ids = some_of(&replays);
            remains.push(format!(
                "records of replays whose filter or report names it ({ids}; `event-replay replays delete ID` removes one \
                 that is over)"
            ));
        }
        Ok(remains)
    }

    /// Clears the last event of a checkpoint if that event was erased. Returns the checkpoint as it is afterwards.
    async fn forget_last_event(&self, mut checkpoint: Checkpoint) -> Result<Checkpoint, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let id = checkpoint.last_processed_event_id.clone();
            let states = self.in_all(|partition| partition.locate_one(&id)).await?;
            if !states.contains(&Some(IdState::Erased)) {
                return Ok(checkpoint);
            }
            let forgotten = Checkpoint { last_processed_event_id: String::new(), ..checkpoint.clone() };
            let row = named(SpaceKind::Checkpoint, &checkpoint.name);
            let mut transaction = Transaction::durable().even_when_full();
            transaction.erases = true;
            transaction.guard(Guard::Is(row.clone(), to_json(&checkpoint)?)).put(row, to_json(&forgotten)?);
            if self.first().is_committed(&transaction).await? {
                return Ok(forgotten);
            }
            // Another caller replaced or deleted the checkpoint.
            match self.checkpoints().await?.into_iter().find(|now| now.name == checkpoint.name) {
                Some(now) => checkpoint = now,
                None => return Ok(forgotten),
            }
            retry.again().await?;
        }
    }
}

fn some_of(names: &[String]) -> String {
    let shown = names.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MOST_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn is_named_in_json(text: &str, id: &str) -> bool {
    match serde_json::from_str(text) {
        Ok(value) => is_named_in(&value, id),
        Err(_) => is_word_of(text, id),
    }
}

fn is_named_in(value: &serde_json::Value, id: &str) -> bool {
    match value {
        serde_json::Value::String(text) => is_word_of(text, id),
        serde_json::Value::Number(number) => number.to_string() == id,
        serde_json::Value::Array(values) => values.iter().any(|value| is_named_in(value, id)),
        serde_json::Value::Object(members) => {
            members.iter().any(|(name, value)| is_word_of(name, id) || is_named_in(value, id))
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) => false,
    }
}

/// Returns whether a text equals an id, or contains it as a word.
fn is_word_of(text: &str, id: &str) -> bool {
    if id.is_empty() || text == id {
        return text == id && !id.is_empty();
    }
    let is_part = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    id.len() >= SHORTEST_WORD
        && text.match_indices(id).any(|(at, found)| {
            let (before, after) = (text.get(..at), text.get(at + found.len()..));
            let before = before.and_then(|before| before.chars().next_back());
            let after = after.and_then(|after| after.chars().next());
            !is_part(before) && !is_part(after)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_as_a_word_and_not_within_one() {
        for (text, id, expected) in [
            ("user-124", "user-124", true),
            ("asked for by user-124.", "user-124", true),
            ("user-1245", "user-124", false),
            ("xuser-124", "user-124", false),
            ("data.user == \"u7x\"", "u7x", true),
            ("1 of 1", "1", false),
            ("1", "1", true),
            ("", "", false),
            ("naïve-é", "é", false),
        ] {
            assert_eq!(is_word_of(text, id), expected, "{text:?} {id:?}");
        }
        let json = r#"{"filter":{"entities":{"user":["user-123","user-124"]}}}"#;
        assert!(is_named_in_json(json, "user-124") && !is_named_in_json(json, "user-125"));
    }
}
