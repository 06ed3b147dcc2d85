//! The number of series that go to the recorder alone is limited, because event types come from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use event_replay_stats::{MAX_LABELS, OTHER, delivery, expired};
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
        for n in 0..MAX_LABELS + 50 {
            delivery("g", &format!("type.{n}"), "handled", Duration::ZERO);
            expired("g", &format!("type.{n}"));
        }
        // A known type keeps its series.
        delivery("other-group", "type.7", "handled", Duration::ZERO);
    });
    let types = types.0.lock().unwrap();
    assert_eq!(types.len(), MAX_LABELS + 1);
    assert!(types.contains("type.7") && types.contains(OTHER));
}
