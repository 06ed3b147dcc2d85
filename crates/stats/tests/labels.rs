//! The number of series that go to the recorder alone is limited, because event types come from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use event_replay_stats::{Deliveries, MAX_LABELS, OTHER};
use jiff::Timestamp;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

/// The types of all registered series.
#[derive(Clone, Default)]
struct Types(Arc<Mutex<BTreeSet<String>>>);

impl Types {
    fn note(&self, key: &Key) {
        let of_type = key.labels().find(|label| label.key() == "type").expect("a label");
        self.0.lock().unwrap().insert(of_type.value().to_owned());
    }
}

impl Recorder for Types {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.note(key);
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.note(key);
        Histogram::noop()
    }
}

#[test]
fn a_process_has_a_limited_number_of_types() {
    let types = Types::default();
    metrics::with_local_recorder(&types, || {
        let (now, deliveries) = (Timestamp::now(), Deliveries::new("g"));
        for n in 0..MAX_LABELS + 50 {
            deliveries.attempt(&format!("type.{n}"), "handled", now, Duration::ZERO);
            deliveries.expired(&format!("type.{n}"), now);
        }
        // A known type keeps its series.
        Deliveries::new("other-group").attempt("type.7", "handled", now, Duration::ZERO);
    });
    let types = types.0.lock().unwrap();
    assert_eq!(types.len(), MAX_LABELS + 1);
    assert!(types.contains("type.7") && types.contains(OTHER));
}

/// A process may install its recorder after its first deliveries.
#[test]
fn a_recorder_that_is_installed_late_gets_the_counts_after_a_minute() {
    let (now, deliveries) = (Timestamp::now(), Deliveries::new("late"));
    deliveries.attempt("type.1", "handled", now, Duration::ZERO);
    let types = Types::default();
    metrics::with_local_recorder(&types, || {
        deliveries.attempt("type.1", "handled", now + Duration::from_secs(59), Duration::ZERO);
        assert!(types.0.lock().unwrap().is_empty());
        deliveries.attempt("type.1", "handled", now + Duration::from_secs(61), Duration::ZERO);
    });
    assert_eq!(types.0.lock().unwrap().len(), 1);
}
