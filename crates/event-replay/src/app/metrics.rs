//! Metrics of a store and its users. One reading covers every process that uses the store.
//!
//! # Constraints
//! Labels are types, groups, states and outcomes, never ids. A label of one metric has at most [`MOST_VALUES`] values.
//! Further values are added up under `(other)`. Every known counter has a series from the beginning, at 0, because a
//! rate over a series that begins at 1 misses its first event. Times are timestamps, not ages. The value is 0 if there
//! is no time.

mod counters;
mod gauges;
mod text;

use self::counters::Counted;
use super::error::AppError;
use crate::{handle::StoreHandle, settings::Settings};

/// The largest number of label values with their own series.
pub const MOST_VALUES: usize = 50;
/// The label of the remaining values.
pub const OTHER: &str = "(other)";

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The value only rises.
    Counter,
    /// The value rises and falls.
    Gauge,
}

/// A metric and its series.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The name.
    pub name: &'static str,
    /// The kind.
    pub kind: Kind,
    /// The meaning, in one sentence.
    pub help: &'static str,
    /// The series.
    pub series: Vec<Series>,
}

/// One value of a metric and its labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// The labels.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

impl Metric {
    fn new(name: &'static str, kind: Kind, help: &'static str, series: Vec<Series>) -> Self {
        Self { name, kind, help, series }
    }

    fn one(name: &'static str, kind: Kind, help: &'static str, value: f64) -> Self {
        Self::new(name, kind, help, vec![Series { labels: vec![], value }])
    }
}

/// Reads all metrics. If the store fails, the result has only the build information and the value 0 for
/// `event_replay_store_up`.
pub async fn metrics(store: &StoreHandle, settings: &Settings) -> Vec<Metric> {
    let up = |value| {
        let help = "Whether the store answers: 1 or 0.";
        Metric::one("event_replay_store_up", Kind::Gauge, help, value)
    };
    let mut all = vec![build_info(settings)];
    match of_store(store, settings).await {
        Ok(metrics) => {
            all.push(up(1.0));
            all.extend(metrics);
        }
        Err(error) => {
            tracing::warn!(%error, "the store could not be measured");
            all.push(up(0.0));
        }
    }
    all
}

async fn of_store(store: &StoreHandle, settings: &Settings) -> Result<Vec<Metric>, AppError> {
    let samples = store.stats(None).await?;
    let groups: Vec<String> = store.groups().await?.into_iter().map(|record| record.spec.name).collect();
    let types: Vec<String> = counters::types(&samples);
    let mut all = Counted::new(&samples, &groups, &types).metrics();
    all.extend(gauges::metrics(store, settings).await?);
    Ok(all)
}

fn build_info(settings: &Settings) -> Metric {
    let kind = if settings.store.is_redis() { "redis" } else { "file" };
    let labels = vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("store", kind.to_owned())];
    let help = "The program that answers; always 1.";
    Metric::new("event_replay_build_info", Kind::Gauge, help, vec![Series { labels, value: 1.0 }])
}

/// Returns the metrics in the text format of Prometheus, version 0.0.4.
pub fn prometheus(metrics: &[Metric]) -> String {
    text::write(metrics)
}
