//! Counters by minute, name and label, in partition 0. Each minute is a separate space. An index lists the minutes.

use async_trait::async_trait;
use domain::{
    StorageFailure, Tally,
    ports::{
        StatSample, StatsStore,
        engine::{
            Guard, Read, RowId, Space, SpaceKind, Transaction,
            rows::{KeyReader, Part, key},
        },
    },
};

use crate::{
    Store,
    retry::OptimisticRetry,
    rows::{Rows, STATS, corrupt, counter, number},
};

/// The minute that collects the counters of all folded minutes.
const FOLDED: i64 = 0;
/// The most minutes of one read or fold.
const MINUTES_AT_ONCE: usize = 500;
const COUNT: &str = "count";
const SUM: &str = "sum";

/// Encodes a minute for a key, so that minutes before 1970 sort before later minutes.
fn ordered(minute: i64) -> u64 {
    (minute as u64) ^ (1 << 63)
}

fn minute_key(minute: i64) -> Vec<u8> {
    key(&[Part::Number(ordered(minute))])
}

fn minute_of(key: &[u8]) -> Result<i64, StorageFailure> {
    let number = KeyReader::new(key).number().ok_or_else(|| corrupt("a minute of counters"))?;
    Ok((number ^ (1 << 63)) as i64)
}

fn space_of(minute: i64) -> Space {
    Space::within(SpaceKind::Stat, minute_key(minute))
}

fn row_of(minute: i64, name: &str, label: &str, what: &str) -> RowId {
    space_of(minute).row(key(&[Part::Text(name), Part::Text(label), Part::Text(what)]))
}

/// Adds a sample to its counter.
fn add(transaction: &mut Transaction, sample: &StatSample) {
    let clamped = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    transaction.list(RowId::of(SpaceKind::StatMinute, minute_key(sample.minute)));
    for (what, amount) in [(COUNT, sample.count), (SUM, sample.sum)] {
        transaction.add(row_of(sample.minute, &sample.name, &sample.label, what), clamped(amount));
    }
}

/// Decodes the samples of a minute, sorted by name and label.
fn samples(minute: i64, rows: Rows) -> Result<Vec<StatSample>, StorageFailure> {
    let mut samples: Vec<StatSample> = Vec::new();
    for (key, value) in rows {
        let mut reader = KeyReader::new(&key);
        let (Some(name), Some(label), Some(what)) = (reader.text(), reader.text(), reader.text()) else {
            return Err(corrupt("the key of a counter"));
        };
        let amount = number(Some(&value))?;
        // The count and the sum of a counter are adjacent rows.
        let is_known = samples.last().is_some_and(|last| (&last.name, &last.label) == (&name, &label));
        if !is_known {
            samples.push(StatSample { minute, name, label, count: 0, sum: 0 });
        }
        if let Some(last) = samples.last_mut() {
            match what.as_str() {
                COUNT => last.count = amount,
                _ => last.sum = amount,
            }
        }
    }
    Ok(samples)
}

impl Store {
    /// Returns the minutes between two bounds (both exclusive), at most one page. None means no bound.
    async fn minutes(&self, after: Option<i64>, before: Option<i64>) -> Result<Vec<i64>, StorageFailure> {
        let read = Read::Range {
            space: Space::of(SpaceKind::StatMinute),
            after: after.map(minute_key),
            before: before.map(minute_key),
            reverse: false,
            limit: MINUTES_AT_ONCE,
        };
        let rows = self.first().get(&[read]).await?.range();
        rows.iter().map(|(key, _)| minute_of(key)).collect()
    }

    /// Returns the samples of minutes, in the order of the minutes.
    async fn samples_of(&self, minutes: &[i64]) -> Result<Vec<StatSample>, StorageFailure> {
        let mut found = self.first().all_of(minutes.iter().copied().map(space_of)).await?;
        let mut all = Vec::new();
        for minute in minutes {
            all.extend(samples(*minute, found.range())?);
        }
        Ok(all)
    }
}

#[async_trait]
impl StatsStore for Store {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StorageFailure> {
        if samples.is_empty() {
            return Ok(());
        }
        let mut transaction = Transaction::new();
        transaction.add(counter(STATS), 1);
        for sample in samples {
            add(&mut transaction, sample);
        }
        self.first().commit_one(&transaction).await?;
        Ok(())
    }

    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StorageFailure> {
        let mut after = since_minute.and_then(|minute| minute.checked_sub(1));
        let mut found = Vec::new();
        loop {
            let minutes = self.minutes(after, None).await?;
            let Some(last) = minutes.last() else { return Ok(found) };
            after = Some(*last);
            found.extend(self.samples_of(&minutes).await?);
        }
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let version = self.first().row(counter(STATS)).await?;
            let mut minutes = self.minutes(None, Some(before_minute)).await?;
            minutes.retain(|minute| *minute != FOLDED);
            if minutes.is_empty() {
                return Ok(());
            }
            let mut transaction = Transaction::new();
            // The guard refuses the fold if another caller added samples or folded meanwhile. The loop then decides
            // again.
            transaction.guard(Guard::still(counter(STATS), version.as_deref())).add(counter(STATS), 1);
            for sample in self.samples_of(&minutes).await? {
                add(&mut transaction, &StatSample { minute: FOLDED, ..sample });
            }
            for minute in minutes {
                transaction.clear(space_of(minute));
                transaction.delete(RowId::of(SpaceKind::StatMinute, minute_key(minute)));
            }
            if !self.first().is_committed(&transaction).await? {
                retry.again().await?;
            }
        }
    }

    async fn event_counts(&self) -> Result<Option<Tally>, StorageFailure> {
        self.tally().await
    }
}
