//! Counters over time: a hash for each minute.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{StatSample, StatsStore, StatsStoreError},
};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{failure::shape, partition::Partition, tries::Tries, write::text};

/// The minute that everything is folded into.
const FOLDED: i64 = 0;
/// Minutes that one round trip reads, and that one call folds: neither should hold the server up.
const MINUTES_READ_AT_ONCE: usize = 100;
const MINUTES_FOLDED_AT_ONCE: usize = 20;
/// The field of the state that counts what changes several minutes at once.
const CHANGES: &str = "changes";

/// A count or a sum: its field is a letter, and name and label as a JSON array.
fn field(kind: char, name: &str, label: &str) -> String {
    format!("{kind}{}", serde_json::json!([name, label]))
}

/// What there is of a minute: name and label, count and sum.
type Minute = BTreeMap<(String, String), (u64, u64)>;

fn minute_of(answer: Value) -> Result<Minute, StorageFailure> {
    let fields: Vec<(String, u64)> =
        FromRedisValue::from_redis_value(answer).map_err(|_| shape("the counters of a minute"))?;
    let mut minute = Minute::new();
    for (field, value) in fields {
        let damaged = || StorageFailure::Corrupt(format!("there is no counter {field:?}"));
        let (kind, key) = field.split_at_checked(1).ok_or_else(damaged)?;
        let counter = minute.entry(serde_json::from_str(key).map_err(|_| damaged())?).or_default();
        match kind {
            "c" => counter.0 = value,
            "s" => counter.1 = value,
            _ => return Err(damaged()),
        }
    }
    Ok(minute)
}

impl Partition {
    fn minutes_key(&self) -> String {
        self.keys().named("minutes")
    }

    fn minute_key(&self, minute: i64) -> String {
        self.keys().named(&format!("stats:{minute}"))
    }

    async fn count_samples(&self, samples: &[StatSample]) -> Result<(), StorageFailure> {
        let mut minutes: BTreeMap<i64, BTreeMap<String, u64>> = BTreeMap::new();
        for sample in samples {
            let fields = minutes.entry(sample.minute).or_default();
            for (kind, delta) in [('c', sample.count), ('s', sample.sum)] {
                let sum = fields.entry(field(kind, &sample.name, &sample.label)).or_default();
                *sum = sum.saturating_add(delta);
            }
        }
        if minutes.is_empty() {
            return Ok(());
        }
        let mut keys = vec![self.keys().meta(), self.minutes_key()];
        let mut args = Vec::new();
        for (minute, fields) in minutes {
            keys.push(self.minute_key(minute));
            args.extend([minute.to_string(), fields.len().to_string()]);
            args.extend(fields.into_iter().flat_map(|(field, delta)| [field, delta.to_string()]));
        }
        self.link().call("count", &keys, &args).await.map(drop)
    }

    /// The minutes that there are, in order, and what was changed of several at once so far.
    async fn minutes(&self) -> Result<(Vec<i64>, u64), StorageFailure> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("HGET").arg(self.keys().meta()).arg(CHANGES);
        pipeline.cmd("ZRANGE").arg(self.minutes_key()).arg(0).arg(-1);
        let mut answers = self.link().read_all(&pipeline).await?.into_iter();
        let changes = changes_in(answers.next().as_ref())?;
        let minutes: Vec<i64> = match answers.next().map(FromRedisValue::from_redis_value) {
            Some(Ok(minutes)) => minutes,
            _ => return Err(shape("the minutes of counters")),
        };
        Ok((minutes, changes))
    }

    /// All counters from a minute on; none where they were changed in between.
    async fn read_samples(&self, since: Option<i64>) -> Result<Option<Vec<StatSample>>, StorageFailure> {
        let (minutes, before) = self.minutes().await?;
        let since = since.unwrap_or(i64::MIN);
        let mut minutes: Vec<i64> = minutes.into_iter().filter(|minute| *minute >= since).collect();
        minutes.sort_unstable();
        let mut samples = Vec::new();
        for some in minutes.chunks(MINUTES_READ_AT_ONCE) {
            let mut pipeline = Pipeline::new();
            for minute in some {
                pipeline.cmd("HGETALL").arg(self.minute_key(*minute));
            }
            // Asked last: what was changed before is seen, what is changed later concerns nobody.
            pipeline.cmd("HGET").arg(self.keys().meta()).arg(CHANGES);
            let mut answers = self.link().read_all(&pipeline).await?;
            if changes_in(answers.pop().as_ref())? != before {
                return Ok(None);
            }
            for (minute, answer) in some.iter().zip(answers) {
                let counters = minute_of(answer)?.into_iter();
                samples.extend(counters.map(|((name, label), (count, sum))| StatSample {
                    minute: *minute,
                    name,
                    label,
                    count,
                    sum,
                }));
            }
        }
        Ok(Some(samples))
    }

    async fn fold_minutes(&self, before: i64) -> Result<(), StorageFailure> {
        let (minutes, _) = self.minutes().await?;
        let older: Vec<i64> =
            minutes.into_iter().filter(|minute| *minute < before && *minute != FOLDED).collect();
        for some in older.chunks(MINUTES_FOLDED_AT_ONCE) {
            let mut keys = vec![self.keys().meta(), self.minutes_key(), self.minute_key(FOLDED)];
            keys.extend(some.iter().map(|minute| self.minute_key(*minute)));
            self.link().call("fold", &keys, some).await?;
        }
        Ok(())
    }
}

fn changes_in(answer: Option<&Value>) -> Result<u64, StorageFailure> {
    match answer {
        Some(Value::Nil) => Ok(0),
        Some(value) => {
            text(value).and_then(|text| text.parse().ok()).ok_or_else(|| shape("the state of counters"))
        }
        None => Err(shape("the state of counters")),
    }
}

#[async_trait]
impl StatsStore for Partition {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StatsStoreError> {
        Ok(self.count_samples(samples).await?)
    }

    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StatsStoreError> {
        let mut tries = Tries::new();
        loop {
            if let Some(samples) = self.read_samples(since_minute).await? {
                return Ok(samples);
            }
            tries.again().await?;
        }
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StatsStoreError> {
        Ok(self.fold_minutes(before_minute).await?)
    }
}
