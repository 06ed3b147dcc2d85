//! A consumer of the events. It folds published JSON into a read model, and knows only the wire format.

use std::{
    collections::{BTreeMap, HashSet},
    hash::{BuildHasher as _, RandomState},
};

use jiff::{Timestamp, tz::Offset};
use serde_json::Value;

use crate::read_model::{ReadModel, UserProgress};

/// Folds events into a [`ReadModel`], each id once, in any order. Remembers 16 bytes of every id.
///
/// ```
/// use event_replay_generator::{Generator, Projection, Settings, Validity};
/// let mut generator = Generator::new(Settings::demo(500));
/// let mut projection = Projection::new();
/// for event in generator.by_ref().filter(|event| event.validity == Validity::Valid) {
///     projection.apply(&serde_json::from_str(&event.json).unwrap());
/// }
/// assert!(generator.expectation().diff(projection.read_model()).is_empty());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Projection {
    seen: HashSet<u128>,
    hashers: (RandomState, RandomState),
    model: ReadModel,
}

impl Projection {
    /// Creates an empty read model.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a published event. Returns false and changes nothing if the event was applied before or has no id.
    pub fn apply(&mut self, event: &Value) -> bool {
        let Some(id) = event["id"].as_str() else { return false };
        // The two hashes use different keys. Among a billion ids, two ids collide once in 10^20 runs.
        let digest =
            (u128::from(self.hashers.0.hash_one(id)) << 64) | u128::from(self.hashers.1.hash_one(id));
        if !self.seen.insert(digest) {
            return false;
        }
        self.fold(event);
        true
    }

    /// Applies an event without remembering its id. For consumers that detect duplicates by position, so that memory
    /// does not grow with the number of events. [`Projection::events`] does not count the event.
    pub fn fold(&mut self, event: &Value) {
        self.count(event);
        self.progress(event);
    }

    /// The current read model.
    pub fn read_model(&self) -> &ReadModel {
        &self.model
    }

    /// The number of events that were applied and remembered.
    pub fn events(&self) -> u64 {
        self.seen.len() as u64
    }

    fn count(&mut self, event: &Value) {
        let day = event["timestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(at) = day {
            let day = Offset::UTC.to_datetime(at).date().to_string();
            *self.model.by_day.entry(day).or_default() += 1;
        }
        for (member, counts) in [("type", &mut self.model.by_type), ("source", &mut self.model.by_source)] {
            if let Some(name) = event[member].as_str() {
                *entry(counts, name) += 1;
            }
        }
        if let Some(user) = event["userId"].as_str().or(event["targetUserId"].as_str()) {
            self.user(user).events += 1;
        }
    }

    fn progress(&mut self, event: &Value) {
        let data = &event["data"];
        let (user, course) = (text(event, "userId"), text(event, "courseId"));
        match text(event, "type") {
            "course.enrolled" => {
                self.user(user).enrolments += 1;
                entry(&mut self.model.courses, course).enrolments += 1;
            }
            "course.completed" => {
                self.user(user).completions += 1;
                entry(&mut self.model.courses, course).completions += 1;
            }
            "path.completed" => self.user(user).paths_completed += 1,
            "subscription.created" => self.user(user).active_subscriptions += 1,
            "user.subscription.updated" if text(data, "status") == "cancelled" => {
                self.user(user).active_subscriptions -= 1;
            }
            "lab.session.completed" => {
                self.user(user).lab_minutes += data["sessionDuration"].as_i64().unwrap_or_default();
            }
            "payment.processed" if text(data, "status") == "succeeded" => {
                let cents = (data["amount"].as_f64().unwrap_or_default() * 100.0).round() as i64;
                *entry(&mut self.model.revenue_cents, text(data, "currency")) += cents;
            }
            "system.error" => *entry(&mut self.model.errors, text(data, "originalEvent")) += 1,
            _ => {}
        }
    }

    fn user(&mut self, id: &str) -> &mut UserProgress {
        entry(&mut self.model.users, id)
    }
}

fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_default()
}

fn entry<'a, T: Default>(map: &'a mut BTreeMap<String, T>, key: &str) -> &'a mut T {
    map.entry(key.to_owned()).or_default()
}
