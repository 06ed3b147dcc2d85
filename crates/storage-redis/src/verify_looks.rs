//! Verification beside others who write: what is met is looked at by itself, and what seems wrong is looked at again.

use std::pin::Pin;

use domain::{Position, StorageFailure, ports::VerifyReport};
use futures_util::future::try_join_all;
use redis::{FromRedisValue, cmd};

use crate::{failure::shape, store::RedisStore};

/// Something that is not as it must be, and where, if it is about an event.
pub(crate) type Found = (Option<Position>, String);

/// A look at one thing.
pub(crate) type Look<'a> = Pin<Box<dyn Future<Output = Result<Vec<Found>, StorageFailure>> + Send + 'a>>;

/// Looks at things, all in a few round trips, and reports what is wrong with them both times.
pub(crate) async fn look_twice<T: Sync>(
    store: &RedisStore,
    things: &[T],
    look: for<'a> fn(&'a RedisStore, &'a T) -> Look<'a>,
    report: &mut VerifyReport,
) -> Result<(), StorageFailure> {
    let looks = try_join_all(things.iter().map(|thing| look(store, thing))).await?;
    for (thing, found) in things.iter().zip(looks).filter(|(_, found)| !found.is_empty()) {
        // What another changed between two answers was no fault.
        let again = look(store, thing).await?;
        for (position, detail) in found.into_iter().filter(|one| again.contains(one)) {
            report.add(position, detail);
        }
    }
    Ok(())
}

/// What cannot be read is a finding; a server that cannot be asked is a failure.
pub(crate) fn or_damage(
    checked: Result<(), StorageFailure>,
    report: &mut VerifyReport,
) -> Result<(), StorageFailure> {
    match checked {
        Err(StorageFailure::Corrupt(detail)) => {
            report.add(None, detail);
            Ok(())
        }
        other => other,
    }
}

/// A field of a hash and its value.
type Field = (Vec<u8>, Vec<u8>);

/// A walk over the fields of a hash. One that changes meanwhile may be met twice; one that is there all the time is met.
pub(crate) struct Fields {
    key: String,
    at_once: usize,
    /// Where it goes on; none once it is over.
    place: Option<u64>,
}

impl Fields {
    /// So many fields, about, are brought by one read.
    pub(crate) fn of(key: String, at_once: usize) -> Self {
        Self { key, at_once, place: Some(0) }
    }

    /// The next fields with their values, perhaps none; none at all when all were met.
    pub(crate) async fn next(
        &mut self,
        store: &RedisStore,
    ) -> Result<Option<Vec<(String, Vec<u8>)>>, StorageFailure> {
        let Some(place) = self.place else { return Ok(None) };
        let mut command = cmd("HSCAN");
        command.arg(&self.key).arg(place).arg("COUNT").arg(self.at_once);
        let (next, found): (u64, Vec<Field>) =
            FromRedisValue::from_redis_value(store.link().read(&command).await?)
                .map_err(|_| shape("the fields of a hash"))?;
        self.place = (next != 0).then_some(next);
        let text = |(field, value): Field| match String::from_utf8(field) {
            Ok(field) => Ok((field, value)),
            Err(_) => Err(StorageFailure::Corrupt(format!("a field of {} is not ours", self.key))),
        };
        found.into_iter().map(text).collect::<Result<_, _>>().map(Some)
    }
}
