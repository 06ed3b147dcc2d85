//! Upcasting: transforms stored events to later versions of their types, one version after the other.
//!
//! # Design
//! An upcaster transforms the events of one type from one version to the next. [`Upcasters`] chains them: from 1.0 to
//! 1.1 to 2.0. A set is checked when it is built, so every chain ends. The result of a chain is admitted like a
//! published event. It gets the ordering key and the delivery options of the stored event.

mod builder;
mod error;
mod numbers;

use std::{
    borrow::Cow,
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use serde_json::Value;

pub use builder::UpcastersBuilder;
pub use error::{UpcastError, UpcastersError};

use crate::{
    error::panic_message,
    event::{Document, Event, Limits},
    ports::EventUpcaster,
    stored::StoredEvent,
};

/// Returns a stored event as a handler or a target gets it. An event without an upcaster is not copied.
///
/// # Errors
/// Returns [`UpcastError`] when an upcaster fails.
pub fn upcast_stored<'e>(
    upcaster: &dyn EventUpcaster,
    stored: &'e StoredEvent,
) -> Result<Cow<'e, StoredEvent>, UpcastError> {
    if upcaster.target(stored.event.event_type(), stored.event.version()).is_none() {
        return Ok(Cow::Borrowed(stored));
    }
    let event = upcaster.upcast(&stored.event)?;
    Ok(Cow::Owned(StoredEvent { event, ..stored.clone() }))
}

/// The members that an upcaster must not change. They identify the event.
pub const KEPT_MEMBERS: [&str; 3] = ["id", "type", "timestamp"];

/// The limits of an upcast event. A publisher may have had higher limits than this process, so they are wide.
const LIMITS: Limits = Limits {
    max_event_bytes: 1 << 30,
    max_depth: 128,
    max_name_bytes: 1 << 30,
    max_ahead: std::time::Duration::MAX,
};

/// Transforms a whole event.
type Transform = dyn Fn(Value) -> Result<Value, String> + Send + Sync;

/// An upcaster, and the end of its chain.
#[derive(Clone)]
struct Step {
    to: String,
    /// The version at the end of the chain.
    target: String,
    transform: Arc<Transform>,
}

/// A checked set of upcasters. It implements [`EventUpcaster`].
///
/// ```
/// use event_replay_domain::{Document, Limits, Upcasters, ports::EventUpcaster};
/// use serde_json::{Value, json};
///
/// let upcasters = Upcasters::builder()
///     .data("order.placed", "1.0", "2.0", |data: Value| -> Result<Value, String> {
///         let cents = data["cents"].as_u64().ok_or("the amount has no cents")?;
///         Ok(json!({ "amount": { "cents": cents, "currency": "EUR" } }))
///     })
///     .build()?;
/// let json = br#"{"id":"e1","type":"order.placed","version":"1.0","timestamp":"2024-01-15T10:30:00Z",
///                 "source":"shop","metadata":{},"data":{"cents":500}}"#;
/// let stored = Document::parse(json, &Limits::default()).unwrap().into_event().unwrap();
/// let event = upcasters.upcast(&stored)?;
/// assert_eq!((event.id(), event.version()), ("e1", "2.0"));
/// assert_eq!(event.value()?["data"]["amount"]["cents"], 500);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Upcasters {
    /// The upcasters by event type and by the version that they take.
    types: HashMap<String, HashMap<String, Step>>,
}

impl Upcasters {
    /// Returns an empty builder.
    pub fn builder() -> UpcastersBuilder {
        UpcastersBuilder::default()
    }

    /// Returns whether the set has no upcaster.
    pub fn is_empty(&self) -> bool {
        self.types.is_empty()
    }

    fn step(&self, event_type: &str, version: &str) -> Option<&Step> {
        self.types.get(event_type)?.get(version)
    }
}

impl EventUpcaster for Upcasters {
    fn target(&self, event_type: &str, version: &str) -> Option<&str> {
        self.step(event_type, version).map(|step| step.target.as_str())
    }

    fn upcast(&self, event: &Event) -> Result<Event, UpcastError> {
        let Some(mut step) = self.step(event.event_type(), event.version()) else { return Ok(event.clone()) };
        let mut from = event.version();
        let mut document = parsed(event).map_err(|reason| UpcastError::new(event, from, &step.to, reason))?;
        loop {
            document = step
                .apply(from, document)
                .map_err(|reason| UpcastError::new(event, from, &step.to, reason))?;
            let Some(next) = self.step(event.event_type(), &step.to) else { break };
            (from, step) = (step.to.as_str(), next);
        }
        admitted(event, &document).map_err(|reason| UpcastError::new(event, from, &step.to, reason))
    }
}

impl Step {
    /// Transforms an event of the version `from`, and checks that it is still the same event.
    fn apply(&self, from: &str, document: Value) -> Result<Value, String> {
        let kept = KEPT_MEMBERS.map(|name| document.get(name).cloned());
        let transformed = catch_unwind(AssertUnwindSafe(|| (self.transform)(document)))
            .unwrap_or_else(|panic| Err(format!("the upcaster panicked: {}", panic_message(&*panic))))?;
        let Value::Object(mut members) = transformed else {
            return Err("the result is not a JSON object".to_owned());
        };
        for (name, before) in KEPT_MEMBERS.iter().zip(kept) {
            if members.get(*name) != before.as_ref() {
                return Err(format!(
                    "an upcaster cannot change the member {name:?}, which identifies the event"
                ));
            }
        }
        match members.get("version").and_then(Value::as_str) {
            Some(version) if version == from || version == self.to => {}
            _ => return Err(format!("the result has another version than {:?}", self.to)),
        }
        members.insert("version".to_owned(), self.to.clone().into());
        Ok(Value::Object(members))
    }
}

fn parsed(event: &Event) -> Result<Value, String> {
    match numbers::first_too_long(event.json()) {
        Some(number) => Err(format!("the number {number} has more digits than 64 bits can hold")),
        None => event.value().map_err(|error| error.to_string()),
    }
}

/// Reads the result of a chain as an event, with the ordering key and the delivery options of the stored event.
fn admitted(stored: &Event, document: &Value) -> Result<Event, String> {
    let invalid = |what: String| format!("the result is not a valid event: {what}");
    let parsed = Document::parse(document.to_string().as_bytes(), &LIMITS)
        .map_err(|violation| invalid(violation.to_string()))?;
    let event = parsed.into_event().map_err(|violations| {
        let said: Vec<String> = violations.iter().map(ToString::to_string).collect();
        invalid(said.join("; "))
    })?;
    Ok(event.with_key_of(stored).with_options(stored.options()))
}

impl fmt::Debug for Upcasters {
    /// Lists the types with the versions that are upcast.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions = |steps: &HashMap<String, Step>| {
            let mut versions: Vec<String> =
                steps.iter().map(|(from, step)| format!("{from} to {}", step.to)).collect();
            versions.sort();
            versions
        };
        f.debug_map().entries(self.types.iter().map(|(name, steps)| (name, versions(steps)))).finish()
    }
}
