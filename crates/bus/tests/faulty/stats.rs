//! What a meter counted.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use domain::{
    StorageFailure,
    ports::{StatSample, StatsStore},
};
use stats::Meter;

/// Counts by name and label.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<(String, String), u64>>);

impl Counts {
    pub async fn of(meter: &Meter) -> Self {
        let counts = Self::default();
        meter.flush(&counts).await.unwrap();
        counts
    }

    pub fn by_label(&self, name: &str) -> Vec<(String, u64)> {
        let counts = self.0.lock().unwrap();
        let of_name = counts.iter().filter(|(key, _)| key.0 == name);
        of_name.map(|(key, count)| (key.1.clone(), *count)).collect()
    }
}

#[async_trait]
impl StatsStore for Counts {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StorageFailure> {
        let mut counts = self.0.lock().unwrap();
        for sample in samples {
            *counts.entry((sample.name.clone(), sample.label.clone())).or_default() += sample.count;
        }
        Ok(())
    }

    async fn stats(&self, _: Option<i64>) -> Result<Vec<StatSample>, StorageFailure> {
        Ok(Vec::new())
    }

    async fn fold_stats(&self, _: i64) -> Result<(), StorageFailure> {
        Ok(())
    }
}
