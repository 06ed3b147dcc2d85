//! Verification of dead letters: each has its event and stands in every index, and no index names one that is not there.

use std::collections::BTreeSet;

use domain::{DeadLetterState, StorageFailure, ports::VerifyReport};
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    dead_letter_rows::{self as rows, Record},
    failure::shape,
    group_rows::answers,
    store::RedisStore,
    verify_looks::{Fields, Found, Look, look_twice, or_damage},
};

/// Records, or names in an index, that one read brings.
const AT_ONCE: usize = 200;
/// Events that one read brings: they may be big.
const EVENTS_AT_ONCE: usize = 20;

/// What an index says.
enum Named {
    /// The event that is kept for a letter.
    Event(String),
    /// A field of the index by place.
    At { field: String, id: String },
    /// A name in the list of all letters.
    Listed(String),
    /// A name in the list of a group and state.
    In { group: String, state: DeadLetterState, member: String },
}

/// Adds what is found to a report.
pub(crate) async fn check(store: &RedisStore, report: &mut VerifyReport) -> Result<(), StorageFailure> {
    let checked = check_letters(store, report).await;
    or_damage(checked, report)?;
    let checked = check_indexes(store, report).await;
    or_damage(checked, report)
}

/// Each record, and the groups that there are records of.
async fn check_letters(store: &RedisStore, report: &mut VerifyReport) -> Result<(), StorageFailure> {
    let mut groups = BTreeSet::new();
    let mut records = Fields::of(rows::records_key(store.keys()), AT_ONCE);
    while let Some(page) = records.next(store).await? {
        let read = |(id, text): &(String, Vec<u8>)| Record::read(id, text.clone()).ok();
        groups.extend(page.iter().filter_map(read).map(|record| record.row.group));
        let ids: Vec<String> = page.into_iter().map(|(id, _)| id).collect();
        look_twice(store, &ids, |store, id| Box::pin(letter(store, id)), report).await?;
    }
    let groups: Vec<String> = groups.into_iter().collect();
    look_twice(store, &groups, |store, group| Box::pin(group_of_letters(store, group)), report).await
}

async fn check_indexes(store: &RedisStore, report: &mut VerifyReport) -> Result<(), StorageFailure> {
    let keys = store.keys();
    let mut events = Fields::of(rows::events_key(keys), EVENTS_AT_ONCE);
    while let Some(page) = events.next(store).await? {
        let page: Vec<Named> = page.into_iter().map(|(id, _)| Named::Event(id)).collect();
        look_twice(store, &page, look_at_named, report).await?;
    }
    let mut places = Fields::of(rows::at_key(keys), AT_ONCE);
    while let Some(page) = places.next(store).await? {
        let named =
            |(field, id): (String, Vec<u8>)| Named::At { field, id: String::from_utf8_lossy(&id).into() };
        let page: Vec<Named> = page.into_iter().map(named).collect();
        look_twice(store, &page, look_at_named, report).await?;
    }
    check_list(store, &rows::order_key(keys), Named::Listed, report).await?;
    for group in store.groups_with_letters().await? {
        for (state, _) in rows::STATES {
            let named = |member| Named::In { group: group.clone(), state, member };
            check_list(store, &rows::state_key(keys, &group, state), named, report).await?;
        }
    }
    Ok(())
}

/// Each name in a list.
async fn check_list(
    store: &RedisStore,
    key: &str,
    named: impl Fn(String) -> Named,
    report: &mut VerifyReport,
) -> Result<(), StorageFailure> {
    let mut from = "-".to_owned();
    loop {
        let mut command = cmd("ZRANGE");
        command.arg(key).arg(&from).arg("+").arg("BYLEX").arg("LIMIT").arg(0).arg(AT_ONCE);
        let page: Vec<String> = FromRedisValue::from_redis_value(store.link().read(&command).await?)
            .map_err(|_| shape("dead letters"))?;
        let Some(last) = page.last() else { return Ok(()) };
        from = format!("({last}");
        let page: Vec<Named> = page.into_iter().map(&named).collect();
        look_twice(store, &page, look_at_named, report).await?;
    }
}

/// What is wrong with a letter: what it lacks.
async fn letter(store: &RedisStore, id: &String) -> Result<Vec<Found>, StorageFailure> {
    let record = match store.letter_records(std::slice::from_ref(id)).await {
        Ok(mut records) => records.pop().flatten(),
        Err(StorageFailure::Corrupt(detail)) => return Ok(vec![(None, detail)]),
        Err(failure) => return Err(failure),
    };
    // It was removed since the walk met it.
    let Some(Record { row, .. }) = record else { return Ok(Vec::new()) };
    let (keys, member, at) = (store.keys(), row.member(id), rows::at_field(&row.group, row.position()));
    let mut pipeline = Pipeline::with_capacity(4);
    pipeline.cmd("HEXISTS").arg(rows::events_key(keys)).arg(id);
    pipeline.cmd("HGET").arg(rows::at_key(keys)).arg(at);
    pipeline.cmd("ZSCORE").arg(rows::order_key(keys)).arg(&member);
    pipeline.cmd("ZSCORE").arg(rows::state_key(keys, &row.group, row.state)).arg(&member);
    let [event, at, listed, in_state] = answers(store.link().read_all(&pipeline).await?)?;
    let (group, state) = (&row.group, rows::state_name(row.state));
    let mut found = Vec::new();
    let mut add = |detail: String| found.push((Some(row.position()), detail));
    if event == Value::Int(0) {
        add(format!("the dead letter {id} has no event"));
    }
    if at != Value::BulkString(id.as_bytes().to_vec()) {
        add(format!("the dead letter {id} is not found by the place of its event"));
    }
    if listed == Value::Nil {
        add(format!("the dead letter {id} is not on the list of all"));
    }
    if in_state == Value::Nil {
        add(format!("the dead letter {id} is not on the list of the group {group:?} and the state {state}"));
    }
    Ok(found)
}

/// What is wrong with a group that has letters.
async fn group_of_letters(store: &RedisStore, group: &String) -> Result<Vec<Found>, StorageFailure> {
    if store.groups_with_letters().await?.contains(group) {
        return Ok(Vec::new());
    }
    Ok(vec![(None, format!("the group {group:?} has dead letters, and is not on the list of those that do"))])
}

fn look_at_named<'a>(store: &'a RedisStore, named: &'a Named) -> Look<'a> {
    Box::pin(look_at(store, named))
}

/// What is wrong with what an index says: what it leads to.
async fn look_at(store: &RedisStore, named: &Named) -> Result<Vec<Found>, StorageFailure> {
    let keys = store.keys();
    let nothing = Ok(Vec::new());
    let (id, still_named) = match named {
        Named::Event(id) => return event(store, id).await,
        Named::At { field, id } => {
            let mut command = cmd("HGET");
            command.arg(rows::at_key(keys)).arg(field);
            (id.as_str(), command)
        }
        Named::Listed(member) | Named::In { member, .. } => {
            let key = match named {
                Named::In { group, state, .. } => rows::state_key(keys, group, *state),
                _ => rows::order_key(keys),
            };
            let Some((_, id)) = rows::of_member(member) else {
                return Ok(vec![(None, format!("an entry of {key} is not ours"))]);
            };
            let mut command = cmd("ZSCORE");
            command.arg(key).arg(member);
            (id, command)
        }
    };
    let record = match store.letter_records(&[id.to_owned()]).await {
        Ok(mut records) => records.pop().flatten(),
        // Reported as such.
        Err(StorageFailure::Corrupt(_)) => return nothing,
        Err(failure) => return Err(failure),
    };
    let agrees = |Record { row, .. }: &Record| match named {
        Named::Event(_) => true,
        Named::At { field, .. } => rows::at_field(&row.group, row.position()) == *field,
        Named::Listed(member) => row.member(id) == *member,
        Named::In { group, state, member } => {
            row.group == *group && row.state == *state && row.member(id) == *member
        }
    };
    if record.as_ref().is_some_and(agrees) || store.link().read(&still_named).await? == Value::Nil {
        return nothing;
    }
    let leads_to = if record.is_some() { "where it does not belong" } else { "which is not there" };
    let names = match named {
        Named::At { field, .. } => format!("the index of dead letters names {id} at {field:?}"),
        Named::In { group, state, .. } => {
            let state = rows::state_name(*state);
            format!("the list of dead letters of the group {group:?} and the state {state} names {id}")
        }
        _ => format!("the list of all dead letters names {id}"),
    };
    Ok(vec![(None, format!("{names}, {leads_to}"))])
}

/// What is wrong with the event that is kept for a letter.
async fn event(store: &RedisStore, id: &String) -> Result<Vec<Found>, StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("HGET").arg(rows::events_key(store.keys())).arg(id);
    pipeline.cmd("HGET").arg(rows::records_key(store.keys())).arg(id);
    let [text, record] = answers(store.link().read_all(&pipeline).await?)?;
    let Value::BulkString(text) = text else { return Ok(Vec::new()) };
    let Value::BulkString(record) = record else {
        return Ok(vec![(None, format!("an event is kept for the dead letter {id}, which is not there"))]);
    };
    let position = Record::read(id, record).ok().map(|record| record.row.position());
    Ok(match rows::event(id, &text) {
        Err(StorageFailure::Corrupt(detail)) => vec![(position, detail)],
        _ => Vec::new(),
    })
}
