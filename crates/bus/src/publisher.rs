//! Publishes one event: admits the event, then appends it or puts it into the schedule.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

use domain::{
    DeliveryOptions, Document, Event, Expectation, Violation,
    event::parse_timestamp,
    ports::{Clock, EventStore, EventValidator, ScheduleStore, Verdict},
    stats::{ADMITTED, REJECTED},
    time::{checked_later, later},
};
use stats::Meter;
use tracing::Instrument;

use crate::{
    append::Appender,
    batcher::Batcher,
    error_scope,
    publish_error::{PublishError, Rejection},
    published::Published,
    schedule,
    settings::{PublishOptions, PublishSettings, SameEvent, UnknownTypes},
    trace::publish_span,
};

/// Admits events and appends them to the log.
pub struct Publisher {
    appender: Arc<Appender>,
    batcher: Batcher,
    schedule: Option<Arc<dyn ScheduleStore>>,
    validator: Arc<dyn EventValidator>,
    clock: Arc<dyn Clock>,
    settings: PublishSettings,
}

impl Publisher {
    /// Returns a publisher into `store`.
    pub fn new(
        store: Arc<dyn EventStore>,
        validator: Arc<dyn EventValidator>,
        clock: Arc<dyn Clock>,
        settings: PublishSettings,
    ) -> Self {
        let appender = Arc::new(Appender { store, policy: settings.retry, meter: None });
        let batcher = Batcher::new(Arc::clone(&appender));
        Self { appender, batcher, schedule: None, validator, clock, settings }
    }

    /// Returns the same publisher with a schedule, so that it can publish with a delay. A [`crate::SchedulePump`] on
    /// the same store must run in this process or in another, to append such events.
    #[must_use]
    pub fn with_schedule(self, schedule: Arc<dyn ScheduleStore>) -> Self {
        Self { schedule: Some(schedule), ..self }
    }

    /// Returns the same publisher with a meter, which counts admitted, rejected and appended events.
    #[must_use]
    pub fn with_meter(self, meter: Meter) -> Self {
        let (store, policy) = (Arc::clone(self.store()), self.settings.retry);
        let appender = Arc::new(Appender { store, policy, meter: Some(meter) });
        Self { batcher: Batcher::new(Arc::clone(&appender)), appender, ..self }
    }

    /// Returns the settings of the publisher.
    pub fn settings(&self) -> &PublishSettings {
        &self.settings
    }

    /// Returns the store to which the publisher appends.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.appender.store
    }

    pub(crate) fn appender(&self) -> &Arc<Appender> {
        &self.appender
    }

    /// Checks the bytes of an event and determines its ordering key. Stores nothing and counts nothing. Within
    /// [`crate::error_scope`], marks the event as reporting an error.
    ///
    /// # Errors
    /// Returns a [`Rejection`] with all violations of the envelope, of the limits and of the type's schema. If the
    /// envelope and the schema report the same rule at the same place, the message of the envelope is used.
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
        let event = event.with_key_source(key);
        let reports_error = error_scope::is_inside();
        let options = DeliveryOptions { reports_error, ..event.options() };
        Ok(event.with_options(options))
    }

    /// Counts an admission or a rejection.
    pub(crate) fn count<'e>(&self, admitted: Result<&'e Event, &'e Rejection>) {
        let Some(meter) = &self.appender.meter else { return };
        match admitted {
            Ok(event) => meter.count(ADMITTED, event.event_type(), 1),
            Err(rejection) => {
                let claimed = rejection.event_type.as_deref().unwrap_or_default();
                // The type of a rejected event may have any length.
                let is_name = claimed.len() <= self.settings.limits.max_name_bytes;
                meter.count(REJECTED, if is_name { claimed } else { "" }, 1);
            }
        }
    }

    /// Publishes one event: admits the event, then appends it. After a transient fault or a lost answer, the publisher
    /// appends the same bytes again, a bounded number of times.
    ///
    /// Events that are published concurrently share appends. They go into the log in the order of the calls. A dropped
    /// call may have published its event, and does not affect other calls.
    ///
    /// # Errors
    /// Returns a [`PublishError`] when the event is not admitted, when its id is taken or erased, or when the store
    /// fails permanently.
    pub async fn publish(&self, json: &[u8]) -> Result<Published, PublishError> {
        self.publish_with(json, &PublishOptions::default()).await
    }

    /// Publishes one event as [`Publisher::publish`] does, with delivery options. An event with a delay goes into the
    /// schedule. It gets its position in the log when its time comes.
    ///
    /// The options are not part of the event's content. If the same event is already stored or scheduled, the options
    /// change nothing. [`SameEvent`] defines which events are the same.
    ///
    /// An event with an expectation is appended only if the expectation holds. The store checks it in the step that
    /// appends. See [`Expectation`]. A repeated call finds its own event and answers *already stored*.
    ///
    /// # Errors
    /// Returns the errors of [`Publisher::publish`]. Returns an error when the expectation does not hold or cannot be
    /// checked. With a delay, returns an error when there is no schedule, when other content waits under the event's
    /// id, or when the due time is out of range.
    pub async fn publish_with(
        &self,
        json: &[u8],
        options: &PublishOptions,
    ) -> Result<Published, PublishError> {
        let admitted = self.admit(json);
        self.count(admitted.as_ref());
        let event = admitted?;
        let span = publish_span(&event);
        let published = self.publish_admitted(event, options).instrument(span.clone()).await;
        match &published {
            Ok(published) => {
                if let Some(position) = published.position() {
                    span.record("position", tracing::field::display(position));
                }
            }
            Err(error) => {
                span.record("error", error.kind());
            }
        }
        published
    }

    async fn publish_admitted(
        &self,
        event: Event,
        options: &PublishOptions,
    ) -> Result<Published, PublishError> {
        let PublishOptions { expecting, .. } = options;
        let &PublishOptions { priority, delay, expires_at, retries, same_event, .. } = options;
        let options = DeliveryOptions { priority, expires_at, retries, ..event.options() };
        let event = event.with_options(options);
        let published = match (delay.filter(|delay| !delay.is_zero()), expecting) {
            (None, None) => self.append(event.clone()).await,
            (None, Some(expectation)) => self.append_expecting(event.clone(), expectation).await,
            (Some(delay), None) => self.schedule(event.clone(), delay).await,
            (Some(_), Some(_)) => Err(PublishError::ExpectationWithDelay),
        };
        match (published, same_event) {
            (Err(conflict), SameEvent::ById) => self.published_before(&event, conflict).await,
            (published, _) => published,
        }
    }

    /// Returns the answer for a conflict if only the id decides. A stored event with the same type and ordering key
    /// answers *already stored*. Any other stored event remains a conflict. An event that waits for its time answers
    /// *already scheduled*, even if its type or key differ.
    async fn published_before(
        &self,
        event: &Event,
        conflict: PublishError,
    ) -> Result<Published, PublishError> {
        let position = match conflict {
            PublishError::Conflict { position, .. } => position,
            PublishError::ScheduleConflict { due: Some(due), .. } => {
                return Ok(Published::AlreadyScheduled { due });
            }
            PublishError::ScheduleConflict { due: None, .. } => {
                match self.store().get(&[event.id().to_owned()]).await?.first() {
                    Some(stored) => stored.position,
                    None => return Err(conflict),
                }
            }
            other => return Err(other),
        };
        let page = self.store().at(&[position]).await?;
        let is_another = page.events.first().is_some_and(|stored| {
            let first = &stored.event;
            first.event_type() != event.event_type() || first.ordering_key() != event.ordering_key()
        });
        if is_another {
            return Err(PublishError::Conflict { id: event.id().to_owned(), position });
        }
        Ok(Published::AlreadyStored(position))
    }

    async fn append(&self, event: Event) -> Result<Published, PublishError> {
        // The clone of an event copies no bytes.
        let outcome = self.batcher.append(event.clone()).await?;
        Published::from_append(event.id(), outcome)
    }

    /// Appends an event alone. Events that share an append share its outcome, and an expectation applies to one event.
    async fn append_expecting(
        &self,
        event: Event,
        expectation: &Expectation,
    ) -> Result<Published, PublishError> {
        let outcome = self.appender.expecting(&event, expectation).await?;
        Published::from_append(event.id(), outcome)
    }

    async fn schedule(&self, event: Event, delay: Duration) -> Result<Published, PublishError> {
        let schedule = self.schedule.as_deref().ok_or(PublishError::NoSchedule)?;
        let due = checked_later(self.clock.now(), delay).ok_or(PublishError::DelayTooLong(delay))?;
        let outcome = schedule::schedule(schedule, &event, due, self.settings.retry).await?;
        Published::from_schedule(event.id(), due, outcome)
    }

    fn too_far_ahead(&self, document: &Document) -> Option<Violation> {
        let timestamp = match document.event() {
            Ok(event) => event.timestamp(),
            // The envelope has other violations too. The rejection reports all violations together.
            Err(_) => parse_timestamp(document.value().get("timestamp")?.as_str()?).ok()?,
        };
        let max_ahead = self.settings.limits.max_ahead;
        (timestamp > later(self.clock.now(), max_ahead)).then(|| {
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
                // The envelope check reports a missing or empty type.
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

/// Adds the violations with a new combination of pointer and rule. One event may break a rule in very many places.
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
