//! Verification of the schedule: each entry leads to an event that waits there and can be read.

use domain::{StorageFailure, ports::VerifyReport};
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    failure::shape,
    group_rows::answers,
    schedule::{Member, decode},
    store::RedisStore,
    verify_looks::{Found, look_twice, or_damage},
    write::text,
};

/// Entries that one read brings.
const AT_ONCE: usize = 100;

/// Adds what is found to a report.
pub(crate) async fn check(store: &RedisStore, report: &mut VerifyReport) -> Result<(), StorageFailure> {
    let checked = check_entries(store, report).await;
    or_damage(checked, report)
}

async fn check_entries(store: &RedisStore, report: &mut VerifyReport) -> Result<(), StorageFailure> {
    let mut from = "-".to_owned();
    loop {
        let mut command = cmd("ZRANGEBYLEX");
        command.arg(store.schedule_key()).arg(&from).arg("+").arg("LIMIT").arg(0).arg(AT_ONCE);
        let page: Vec<String> = FromRedisValue::from_redis_value(store.link().read(&command).await?)
            .map_err(|_| shape("the schedule"))?;
        let Some(last) = page.last() else { return Ok(()) };
        from = format!("({last}");
        look_twice(store, &page, |store, entry| Box::pin(look_at(store, entry)), report).await?;
    }
}

/// What is wrong with an entry.
async fn look_at(store: &RedisStore, entry: &String) -> Result<Vec<Found>, StorageFailure> {
    let member = match Member::read(entry.clone()) {
        Ok(member) => member,
        Err(failure) => return Ok(vec![(None, failure.to_string())]),
    };
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("HMGET").arg(store.waiting_key(member.id())).arg(&["place", "at", "head", "event"][..]);
    pipeline.cmd("ZSCORE").arg(store.schedule_key()).arg(entry);
    let [fields, listed] = answers(store.link().read_all(&pipeline).await?)?;
    if listed == Value::Nil {
        return Ok(Vec::new());
    }
    let id = member.id().to_owned();
    let place = match &fields {
        Value::Array(values) => values.first().and_then(text),
        _ => None,
    };
    let detail = match place {
        None => format!("the schedule names the event {id:?}, which does not wait"),
        Some(place) if place != member.place() => {
            format!("the schedule names the event {id:?} at a place that is not its own")
        }
        Some(_) => match decode(member, fields) {
            Ok(Some(waiting)) if waiting.scheduled.event.id() != id => {
                format!("what waits as the event {id:?} is another")
            }
            Ok(_) => return Ok(Vec::new()),
            Err(StorageFailure::Corrupt(detail)) => detail,
            Err(failure) => return Err(failure),
        },
    };
    Ok(vec![(None, detail)])
}

/// What is wrong with an event that waits, by its id: nothing but the schedule would ever take it out.
pub(crate) async fn waits_unnamed(store: &RedisStore, id: &String) -> Result<Vec<Found>, StorageFailure> {
    let key = store.waiting_key(id);
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("HGET").arg(&key).arg("place").cmd("EXISTS").arg(&key);
    let [place, exists] = answers(store.link().read_all(&pipeline).await?)?;
    if exists == Value::Int(0) {
        return Ok(Vec::new());
    }
    let mut command = cmd("ZSCORE");
    command.arg(store.schedule_key()).arg(format!("{}{id}", text(&place).unwrap_or_default()));
    if store.link().read(&command).await? != Value::Nil {
        return Ok(Vec::new());
    }
    Ok(vec![(None, format!("the event {id:?} waits, and the schedule does not name it"))])
}
