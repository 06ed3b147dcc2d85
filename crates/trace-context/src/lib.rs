//! The W3C trace context in the metadata of events, and the place in a trace at which a task works.
//!
//! An event that is published within a trace names the trace in `metadata.traceparent`. The bus and replays record
//! [`tracing`] spans with the target [`TARGET`]. Such a span has the ids of its place as the fields `trace_id` and
//! `span_id`. A span within another has the field `parent_span_id`.

use std::{cell::OnceCell, fmt, str::FromStr};

use domain::Event;
use serde::Deserialize;
use thiserror::Error;
use tracing::{Level, Span};

/// The target of the spans.
pub const TARGET: &str = "event_replay";

tokio::task_local! {
    static CURRENT: Place;
}

/// The place at which a task works.
enum Place {
    Known(TraceParent),
    /// The place of the delivery of an event. It is found when it is first needed, because to find it reads the whole
    /// event.
    Delivery {
        event: Event,
        is_live: bool,
        found: OnceCell<Option<TraceParent>>,
    },
}

impl Place {
    fn trace(&self) -> Option<TraceParent> {
        match self {
            Self::Known(trace) => Some(*trace),
            Self::Delivery { event, is_live, found } => *found.get_or_init(|| {
                let carried = TraceParent::of(event)?;
                Some(if *is_live { carried.child() } else { carried.new_root() })
            }),
        }
    }
}

/// A place in a trace, in the form of the W3C header `traceparent`.
///
/// ```
/// use event_replay_trace_context::TraceParent;
/// let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace: TraceParent = text.parse()?;
/// assert_eq!(trace.to_string(), text);
/// assert_eq!(trace.child().trace_id(), trace.trace_id());
/// # Ok::<(), event_replay_trace_context::NoTraceParent>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// The text is not a valid trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "this is not a W3C traceparent of version 00: expected 00-TRACE-SPAN-FLAGS, in lower-case hexadecimal digits"
)]
pub struct NoTraceParent;

impl TraceParent {
    /// The metadata member that contains the trace context.
    pub const MEMBER: &'static str = "traceparent";
    /// The flag of a trace that is recorded.
    const SAMPLED: u8 = 1;

    /// Returns the root of a new trace that is recorded.
    pub fn root() -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), flags: Self::SAMPLED }
    }

    /// Returns a new child place in the same trace.
    pub fn child(self) -> Self {
        Self { span_id: fastrand::u64(1..), ..self }
    }

    /// Returns the trace context of an event, if it has one. An invalid trace context counts as none.
    pub fn of(event: &Event) -> Option<Self> {
        #[derive(Deserialize)]
        struct Carrier {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            traceparent: String,
        }
        // Most events have no trace context and need no parsing.
        if !event.json().contains(Self::MEMBER) {
            return None;
        }
        let carrier: Carrier = serde_json::from_str(event.json()).ok()?;
        carrier.metadata.traceparent.parse().ok()
    }

    /// Returns the id of the trace as 32 hexadecimal digits.
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// Returns the id of the span as 16 hexadecimal digits.
    pub fn span_id(self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// Returns the root of a new trace with the recording flag of this trace.
    pub fn new_root(self) -> Self {
        Self { flags: self.flags, ..Self::root() }
    }

    /// Returns whether the trace is recorded.
    pub fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let mut parts = text.split('-');
        let mut part = |digits: usize| -> Result<u128, NoTraceParent> {
            let part = parts.next().filter(|part| part.len() == digits).ok_or(NoTraceParent)?;
            let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if !part.bytes().all(is_digit) {
                return Err(NoTraceParent);
            }
            u128::from_str_radix(part, 16).map_err(|_| NoTraceParent)
        };
        let (version, trace_id, span_id, flags) = (part(2)?, part(32)?, part(16)?, part(2)?);
        if version != 0 || trace_id == 0 || span_id == 0 || parts.next().is_some() {
            return Err(NoTraceParent);
        }
        Ok(Self { trace_id, span_id: span_id as u64, flags: flags as u8 })
    }
}

/// Returns the place in a trace at which this task works. Within a handler it is the place of the delivery. Otherwise
/// it is the place given to [`within`].
pub fn current() -> Option<TraceParent> {
    CURRENT.try_with(Place::trace).ok().flatten()
}

/// Runs `work` at a place in a trace, such as the place of an HTTP request. Events published by `work` belong to the
/// trace.
pub async fn within<F: Future>(trace: TraceParent, work: F) -> F::Output {
    CURRENT.scope(Place::Known(trace), work).await
}

/// Runs `work` at the place of a delivery whose span is not recorded. A live delivery continues the trace of its event.
/// Any other delivery has a new trace. If the event has no trace context, the delivery has no place.
pub async fn within_delivery<F: Future>(event: Event, is_live: bool, work: F) -> F::Output {
    CURRENT.scope(Place::Delivery { event, is_live, found: OnceCell::new() }, work).await
}

/// Returns whether a subscriber records the spans.
pub fn is_recorded() -> bool {
    tracing::span_enabled!(target: TARGET, Level::INFO)
}

/// Records the ids of a place in the fields `trace_id` and `span_id` of its span. Without a subscriber nothing is
/// formatted.
pub fn record(span: &Span, trace: TraceParent) {
    if !span.is_disabled() {
        span.record("trace_id", trace.trace_id());
        span.record("span_id", trace.span_id());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_trace_context_is_refused() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(NoTraceParent), "{text}");
        }
    }

    fn event(metadata: &str) -> Event {
        let json = format!(
            r#"{{"id":"e","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{metadata}}}"#
        );
        let document = domain::Document::parse(json.as_bytes(), &domain::Limits::default()).unwrap();
        document.into_event().unwrap()
    }

    #[tokio::test]
    async fn a_live_delivery_continues_the_trace_of_its_event_and_a_replay_begins_one() {
        let carried = TraceParent::root();
        let traced = event(&format!(r#"{{"traceparent":"{carried}"}}"#));
        let twice = async { (current().unwrap(), current().unwrap()) };
        let (live, again) = within_delivery(traced.clone(), true, twice).await;
        assert_eq!((live.trace_id(), live), (carried.trace_id(), again));
        assert_ne!(live.span_id(), carried.span_id());
        let replay = within_delivery(traced, false, async { current().unwrap() }).await;
        assert_ne!(replay.trace_id(), carried.trace_id());
        assert_eq!(within_delivery(event("{}"), true, async { current() }).await, None);
        assert_eq!(current(), None);
    }

    #[test]
    fn a_new_trace_is_written_as_it_is_read() {
        let root = TraceParent::root();
        assert_eq!(root.to_string().parse(), Ok(root));
        assert!(root.is_sampled());
        let unsampled: TraceParent =
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00".parse().unwrap();
        assert!(!unsampled.child().is_sampled());
        assert_ne!(unsampled.child(), unsampled);
    }
}
