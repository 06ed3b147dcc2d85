//! Traces across services: the W3C trace context in the metadata of events.
//!
//! An event that is published within a trace names the trace in `metadata.traceparent`. A live delivery continues that
//! trace: its span is a child of the span that published the event. The deliveries of replays and redrives start new
//! traces. These traces link to the event's trace. So a recovery of today does not extend a trace of last year.
//!
//! The spans `publish` and `handle` are [`tracing`] spans with the target `event_replay`. They have the ids of the
//! trace as the fields `trace_id`, `span_id`, `parent_span_id` and `linked_trace_id`. The span `replay` is a span of
//! the crate of replays.

use domain::{Delivery, DeliveryOrigin, Event};
use trace_context::record;
pub(crate) use trace_context::within_delivery;
pub use trace_context::{NoTraceParent, TARGET, TraceParent, current, is_recorded, within};
use tracing::{Span, field::Empty};

/// The trace and the span of a delivery.
pub(crate) struct DeliveryTrace {
    /// The place at which the delivery's handlers run.
    pub(crate) own: TraceParent,
    pub(crate) span: Span,
}

impl DeliveryTrace {
    /// Returns the trace of a delivery, or `None` if spans are not recorded.
    pub(crate) fn of(delivery: &Delivery) -> Option<Self> {
        if !is_recorded() {
            return None;
        }
        let event = &delivery.stored.event;
        let carried = TraceParent::of(event);
        let span = tracing::info_span!(
            target: TARGET,
            "handle",
            group = %delivery.group,
            event_id = event.id(),
            event_type = event.event_type(),
            attempt = delivery.attempt,
            replay_id = Empty,
            dead_letter = Empty,
            outcome = Empty,
            trace_id = Empty,
            span_id = Empty,
            parent_span_id = Empty,
            linked_trace_id = Empty,
        );
        let own = match (&delivery.origin, carried) {
            (DeliveryOrigin::Live, Some(parent)) => {
                span.record("parent_span_id", parent.span_id());
                parent.child()
            }
            (DeliveryOrigin::Live, None) => TraceParent::root(),
            (DeliveryOrigin::Replay { replay_id }, carried) => {
                span.record("replay_id", replay_id.as_str());
                link(&span, carried)
            }
            (DeliveryOrigin::Redrive { dead_letter }, carried) => {
                span.record("dead_letter", dead_letter.as_str());
                link(&span, carried)
            }
        };
        record(&span, own);
        Some(Self { own, span })
    }
}

/// Returns a new trace that links to the event's trace. The new trace takes the recording flag of the event's trace.
fn link(span: &Span, carried: Option<TraceParent>) -> TraceParent {
    let Some(carried) = carried else { return TraceParent::root() };
    span.record("linked_trace_id", carried.trace_id());
    carried.new_root()
}

/// Returns the span of a publication.
pub(crate) fn publish_span(event: &Event) -> Span {
    let span = tracing::info_span!(
        target: TARGET,
        "publish",
        event_id = event.id(),
        event_type = event.event_type(),
        position = Empty,
        error = Empty,
        trace_id = Empty,
        span_id = Empty,
    );
    if !span.is_disabled()
        && let Some(carried) = TraceParent::of(event)
    {
        record(&span, carried);
    }
    span
}
