//! The span of a running replay: `replay`, a [`tracing`] span with the target `event_replay`.
//!
//! A replay continues the trace of the task that runs it, such as the trace of an HTTP request. Without such a trace,
//! the replay begins a trace of its own. Its deliveries to groups may run in other processes. They begin traces of
//! their own, and name the replay in their field `replay_id`.

use trace_context::{TARGET, TraceParent, current, is_recorded, record, within};
use tracing::{Instrument as _, Span, field::Empty};

use crate::{
    record::{Destination, WrittenPlan},
    report::ReplayStatus,
};

/// The description of a replay in its span.
pub(crate) struct ReplaySpan<'a> {
    pub(crate) id: &'a str,
    /// The name of the target, or the names of the groups.
    pub(crate) target: String,
    /// The number of events of the plan.
    pub(crate) events: u64,
}

impl<'a> ReplaySpan<'a> {
    /// Describes a replay by its written plan.
    pub(crate) fn of(id: &'a str, plan: &WrittenPlan) -> Self {
        let target = match &plan.to {
            Destination::Target(name) => name.clone(),
            Destination::Groups(groups) => {
                let names: Vec<&str> = groups.iter().map(|group| group.spec.name.as_str()).collect();
                names.join(",")
            }
        };
        Self { id, target, events: plan.total_events }
    }

    /// Runs the work of one runner within the span. Records the outcome that `outcome` returns for the result.
    pub(crate) async fn around<T>(
        self,
        work: impl Future<Output = T>,
        outcome: impl FnOnce(&T) -> &'static str,
    ) -> T {
        let parent = current();
        if parent.is_none() && !is_recorded() {
            return work.await;
        }
        let span = self.open(parent);
        let own = parent.map_or_else(TraceParent::root, TraceParent::child);
        record(&span, own);
        let done = within(own, work).instrument(span.clone()).await;
        span.record("outcome", outcome(&done));
        done
    }

    fn open(&self, parent: Option<TraceParent>) -> Span {
        let span = tracing::info_span!(
            target: TARGET,
            "replay",
            replay_id = self.id,
            target = %self.target,
            events = self.events,
            outcome = Empty,
            trace_id = Empty,
            span_id = Empty,
            parent_span_id = Empty,
        );
        if let Some(parent) = parent.filter(|_| !span.is_disabled()) {
            span.record("parent_span_id", parent.span_id());
        }
        span
    }
}

/// The outcome in the span of a runner that gives the replay to another runner.
pub(crate) const LEFT: &str = "left";

/// Returns the outcome in the span of a finished replay.
pub(crate) fn outcome_of(status: ReplayStatus) -> &'static str {
    match status {
        ReplayStatus::Completed => "completed",
        ReplayStatus::Cancelled => "cancelled",
        ReplayStatus::Failed => "failed",
    }
}
