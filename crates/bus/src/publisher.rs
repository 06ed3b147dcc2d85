//! Publishing one event: admit it, then append it.

use std::{collections::HashSet, fmt, sync::Arc};

use domain::{
    Document, Event, Position, Retry, Violation,
    event::parse_timestamp,
    ports::{AppendOutcome, Atomicity, Clock, EventStore, EventStoreError, EventValidator, Verdict},
};
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use crate::{
    append::append,
    settings::{PublishSettings, UnknownTypes},
};

/// Admits events and appends them to the log.
pub struct Publisher {
    store: Arc<dyn EventStore>,
    validator: Arc<dyn EventValidator>,
    clock: Arc<dyn Clock>,
    settings: PublishSettings,
}

/// Why an event was not admitted: everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("the event is not valid: {}", sentences(.violations))]
pub struct Rejection {
    /// The id it claims, as far as it can be told.
    pub event_id: Option<String>,
    /// The type it claims, as far as it can be told.
    pub event_type: Option<String>,
    /// All violations, sorted by pointer.
    pub violations: Vec<Violation>,
}

/// Most violations that a rejection's sentence spells out; [`Rejection::violations`] has them all.
const SPELLED_OUT: usize = 5;

fn sentences(violations: &[Violation]) -> String {
    let mut said: Vec<String> = violations.iter().take(SPELLED_OUT).map(Violation::to_string).collect();
    if let Some(more) = violations.len().checked_sub(SPELLED_OUT).filter(|more| *more > 0) {
        said.push(format!("and {more} more"));
    }
    said.join("; ")
}

/// What became of a published event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It was stored now.
    Stored(Position),
    /// The same content was stored before under its id, by another publisher or by an earlier try of this call whose
    /// answer was lost. Nothing changed.
    AlreadyStored(Position),
}

impl Published {
    /// Where the log has the event.
    pub fn position(self) -> Position {
        match self {
            Self::Stored(position) | Self::AlreadyStored(position) => position,
        }
    }
}

/// Why an event was not published.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PublishError {
    /// It was not admitted.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Other content is stored under its id.
    #[error("event {id:?} is stored already with other content, at {position}; publish under another id")]
    Conflict {
        /// The event's id.
        id: String,
        /// Where the other content is.
        position: Position,
    },
    /// The event of this id was erased on request and may not come back.
    #[error("event {id:?} was erased on request; its id is refused for good")]
    Erased {
        /// The event's id.
        id: String,
    },
    /// The store failed, also after it was tried again where that could help.
    #[error(transparent)]
    Store(#[from] EventStoreError),
}

impl PublishError {
    /// Whether repeating the call can help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::Store(error) => error.retry(),
            _ => Retry::Never,
        }
    }

    /// A short stable name, for programs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Rejected(_) => "rejected",
            Self::Conflict { .. } => "conflict",
            Self::Erased { .. } => "erased",
            Self::Store(error) => error.kind(),
        }
    }
}

impl Publisher {
    /// A publisher into `store`.
    pub fn new(
        store: Arc<dyn EventStore>,
        validator: Arc<dyn EventValidator>,
        clock: Arc<dyn Clock>,
        settings: PublishSettings,
    ) -> Self {
        Self { store, validator, clock, settings }
    }

    /// Its settings.
    pub fn settings(&self) -> &PublishSettings {
        &self.settings
    }

    /// The store it appends to.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store
    }

    /// Checks bytes that claim to be an event and settles its ordering key. Stores nothing.
    ///
    /// # Errors
    /// Everything that is wrong with it: what breaks the envelope and the limits, and what breaks its type's schema.
    /// Where both say the same of one place, the envelope's sentence is given.
    pub fn admit(&self, json: &[u8]) -> Result<Event, Rejection> {
        let document = Document::parse(json, &self.settings.limits).map_err(|violation| Rejection {
            event_id: None,
            event_type: None,
            violations: vec![violation],
        })?;
        let mut violations = document.event().err().map(<[Violation]>::to_vec).unwrap_or_default();
        violations.extend(self.too_far_ahead(&document));
        if self.settings.validation {
            add_unsaid(&mut violations, self.schema_violations(&document));
        }
        if !violations.is_empty() {
            violations.sort();
            return Err(rejection(&document, violations));
        }
        let names = (document.event_id().map(str::to_owned), document.event_type().map(str::to_owned));
        let event = document.into_event().map_err(|violations| {
            let (event_id, event_type) = names;
            Rejection { event_id, event_type, violations }
        })?;
        let member = self.validator.ordering_member(event.event_type(), event.version());
        let key = self.settings.ordering.resolve(&event, member);
        Ok(event.with_key_source(key))
    }

    /// Publishes one event: admits it, then appends it. After a fault that passes by itself, and after a lost answer,
    /// the same bytes are appended again, a bounded number of times.
    ///
    /// # Errors
    /// When the event is not admitted, its id is taken or erased, or the store fails for good.
    pub async fn publish(&self, json: &[u8]) -> Result<Published, PublishError> {
        let event = self.admit(json)?;
        let batch = [event];
        let outcomes = append(&*self.store, &batch, Atomicity::Each, &self.settings.retry).await?;
        let [event] = batch;
        match outcomes.as_slice() {
            [AppendOutcome::Stored(position)] => Ok(Published::Stored(*position)),
            [AppendOutcome::AlreadyStored(position)] => Ok(Published::AlreadyStored(*position)),
            [AppendOutcome::Conflict(position)] => {
                Err(PublishError::Conflict { id: event.id().to_owned(), position: *position })
            }
            [AppendOutcome::Erased] => Err(PublishError::Erased { id: event.id().to_owned() }),
            other => Err(unexpected(1, other.len()).into()),
        }
    }

    fn too_far_ahead(&self, document: &Document) -> Option<Violation> {
        let timestamp = match document.event() {
            Ok(event) => event.timestamp(),
            // Something else is wrong with it too: all is said at once.
            Err(_) => parse_timestamp(document.value().get("timestamp")?.as_str()?).ok()?,
        };
        let max_ahead = self.settings.limits.max_ahead;
        let ahead = SignedDuration::try_from(max_ahead).unwrap_or(SignedDuration::MAX);
        let latest = self.clock.now().checked_add(ahead).unwrap_or(Timestamp::MAX);
        (timestamp > latest).then(|| {
            let allowed = max_ahead.as_secs();
            let message = format!("{timestamp} lies more than {allowed} seconds ahead of the clock");
            Violation::new("/timestamp", "limit", message)
        })
    }

    fn schema_violations(&self, document: &Document) -> Vec<Violation> {
        match self.validator.validate(document.value()) {
            Verdict::Valid => Vec::new(),
            Verdict::Invalid(violations) => violations,
            Verdict::NoSchema => match (self.settings.unknown_types, document.event_type()) {
                (UnknownTypes::Refuse, Some(event_type)) if !event_type.is_empty() => {
                    vec![Violation::no_schema(event_type)]
                }
                // A missing or empty type is the envelope's to report.
                _ => Vec::new(),
            },
        }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// Adds what is not said yet of the same place by the same rule. An event may break a rule in very many places.
fn add_unsaid(violations: &mut Vec<Violation>, more: Vec<Violation>) {
    let mut said: HashSet<_> = violations.iter().map(|v| (v.pointer.clone(), v.rule.clone())).collect();
    violations.extend(more.into_iter().filter(|v| said.insert((v.pointer.clone(), v.rule.clone()))));
}

fn rejection(document: &Document, violations: Vec<Violation>) -> Rejection {
    Rejection {
        event_id: document.event_id().map(str::to_owned),
        event_type: document.event_type().map(str::to_owned),
        violations,
    }
}

/// A store that answers for another number of events than it was given.
pub(crate) fn unexpected(asked: usize, answered: usize) -> EventStoreError {
    let detail = format!("it answered {answered} outcomes to a batch of {asked}");
    domain::StorageFailure::Other(detail).into()
}
