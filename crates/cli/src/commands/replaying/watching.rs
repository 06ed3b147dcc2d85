//! The display of a running replay: its progress, and whether it is paused.

use replay::{ReplayProgress, ReplayWatcher};
use tokio::sync::watch;

use crate::{context::Context, output::bar::Bar};

/// Updates a progress bar, and signals pauses of the replay.
pub(super) struct BarWatcher {
    bar: Bar,
    rests: watch::Sender<bool>,
}

/// The receiver of pauses and resumptions.
pub(super) struct Rests(watch::Receiver<bool>);

impl BarWatcher {
    pub(super) fn new(bar: &Bar) -> (Self, Rests) {
        let (rests, rested) = watch::channel(false);
        (Self { bar: bar.clone(), rests }, Rests(rested))
    }
}

impl ReplayWatcher for BarWatcher {
    fn progressed(&self, progress: ReplayProgress) {
        self.bar.at(progress.done());
    }

    fn rests(&self, is_paused: bool) {
        self.bar.paused(is_paused, "replaying");
        self.rests.send_replace(is_paused);
    }
}

impl Rests {
    /// Waits until the replay pauses or resumes. Returns whether the replay is paused. Cancel-safe.
    pub(super) async fn changed(&mut self) -> bool {
        match self.0.changed().await {
            Ok(()) => *self.0.borrow_and_update(),
            Err(_) => std::future::pending().await,
        }
    }
}

/// Prints that a replay is paused or resumed.
pub(super) fn say_rest(rests: bool, bar: &Bar, cx: &Context<'_>) {
    let said = match rests {
        true => "paused; `event-replay replays resume` continues it",
        false => "resumed",
    };
    bar.handle().suspend(|| cx.printer.say(said));
}
