//! The display of a running replay: its progress, and whether it is paused.

use replay::{AutoPause, ReplayProgress, ReplayWatcher};
use tokio::sync::watch;

use crate::{context::Context, output::bar::Bar};

/// Whether a replay is paused, and the reason where no operator asked for it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rest {
    is_paused: bool,
    reason: Option<AutoPause>,
}

/// Moves a bar, and reports when the replay is paused or resumed.
pub(super) struct BarWatcher {
    bar: Bar,
    rests: watch::Sender<Rest>,
}

/// The receiver of what a [`BarWatcher`] reports.
pub(super) struct Rests(watch::Receiver<Rest>);

impl BarWatcher {
    pub(super) fn new(bar: &Bar) -> (Self, Rests) {
        let (rests, rested) = watch::channel(Rest::default());
        (Self { bar: bar.clone(), rests }, Rests(rested))
    }
}

impl ReplayWatcher for BarWatcher {
    fn progressed(&self, progress: ReplayProgress) {
        self.bar.at(progress.done());
    }

    fn stopped(&self, reason: &AutoPause) {
        self.bar.paused(true, "replaying");
        self.rests.send_replace(Rest { is_paused: true, reason: Some(reason.clone()) });
    }

    fn rests(&self, is_paused: bool) {
        self.bar.paused(is_paused, "replaying");
        self.rests.send_if_modified(|rest| {
            let changes = rest.is_paused != is_paused;
            if changes {
                *rest = Rest { is_paused, reason: None };
            }
            changes
        });
    }
}

impl Rests {
    /// Waits until the replay is paused or resumed. Cancel-safe.
    pub(super) async fn changed(&mut self) -> Rest {
        match self.0.changed().await {
            Ok(()) => self.0.borrow_and_update().clone(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Reports that a replay is paused or resumed.
pub(super) fn say_rest(rest: &Rest, id: Option<&str>, bar: &Bar, cx: &Context<'_>) {
    let said = match rest {
        Rest { is_paused: false, .. } => "resumed".to_owned(),
        Rest { reason, .. } => {
            let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            let id = id.map(|id| format!(" {id}")).unwrap_or_default();
            format!("paused{reason}; `event-replay replays resume{id}` continues it")
        }
    };
    bar.handle().suspend(|| cx.printer.say(&said));
}
