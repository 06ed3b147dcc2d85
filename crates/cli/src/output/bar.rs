//! Progress of long work, on stderr and only where somebody watches.

use std::{sync::Arc, time::Duration};

use domain::ports::event_store::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar, or nothing where nobody watches.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar. Without a total it counts.
    pub(crate) fn new(visible: bool, doing: &'static str, total: Option<u64>) -> Self {
        if !visible {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        let template = match total {
            Some(_) => "{msg} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
            None => "{msg} {spinner} {human_pos} {per_sec} {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(doing);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// Says how far the work is.
    pub(crate) fn at(&self, done: u64) {
        self.0.set_position(done);
    }

    /// Takes the bar off the terminal.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }

    /// A handle to move it with.
    pub(crate) fn handle(&self) -> ProgressBar {
        self.0.clone()
    }

    /// A callback for long calls of the store.
    pub(crate) fn callback(&self) -> Progress {
        let bar = self.0.clone();
        Arc::new(move |done, total| {
            if bar.length() != Some(total) {
                bar.set_length(total);
            }
            bar.set_position(done);
        })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
