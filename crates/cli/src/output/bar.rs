//! Progress of long work, on stderr and only on a terminal: done, total, rate, and time left.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::ports::event_store::ProgressCallback;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// A progress bar. A hidden bar draws nothing.
#[derive(Clone)]
pub(crate) struct Bar {
    bar: ProgressBar,
    is_paused: Arc<AtomicBool>,
}

impl Bar {
    /// Creates a bar. Without a total, the bar is a counter.
    pub(crate) fn new(visible: bool, doing: &'static str, total: Option<u64>) -> Self {
        let is_paused = Arc::new(AtomicBool::new(false));
        if !visible {
            return Self { bar: ProgressBar::hidden(), is_paused };
        }
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(10));
        let template = match total {
            Some(_) => "{msg} {wide_bar} {human_pos} of {human_len}{speed}",
            None => "{msg} {spinner} {human_pos}{speed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            let (paused, has_total) = (Arc::clone(&is_paused), total.is_some());
            let speed = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let text = match paused.load(Ordering::Relaxed) {
                    true => String::new(),
                    false => speed(state.per_sec(), has_total.then(|| state.eta())),
                };
                // A progress bar that cannot be drawn is no error.
                let _ = out.write_str(&text);
            };
            bar.set_style(style.with_key("speed", speed));
        }
        bar.set_message(doing);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, is_paused }
    }

    /// Sets the progress.
    pub(crate) fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// Marks the work as paused or continued. A paused bar shows no rate and no time left.
    pub(crate) fn paused(&self, is_paused: bool, doing: &'static str) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
        self.bar.set_message(if is_paused { "paused" } else { doing });
        if !is_paused {
            // The rate must not include the pause.
            self.bar.reset_eta();
        }
    }

    /// Removes the bar from the terminal.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Returns a handle that updates the bar.
    pub(crate) fn handle(&self) -> ProgressBar {
        self.bar.clone()
    }

    /// Returns a progress callback for long calls of the store.
    pub(crate) fn callback(&self) -> ProgressCallback {
        let bar = self.bar.clone();
        Arc::new(move |done, total| {
            if bar.length() != Some(total) {
                bar.set_length(total);
            }
            bar.set_position(done);
        })
    }
}

/// Formats a rate and the time left: `, 1,200/s, 3 min 20 s left`.
fn speed(per_second: f64, left: Option<Duration>) -> String {
    if !per_second.is_finite() || per_second <= 0.0 {
        return String::new();
    }
    let rate = rate(per_second);
    match left {
        Some(left) => format!(", {rate}/s, {} left", event_replay::text::time::span(left)),
        None => format!(", {rate}/s"),
    }
}

/// Formats a number with two significant digits: `0.35`, `4.8`, `48`, `1,200`.
fn rate(per_second: f64) -> String {
    let digits = per_second.log10().floor();
    let unit = 10f64.powf(digits - 1.0);
    let rounded = (per_second / unit).round() * unit;
    match digits {
        digits if digits >= 1.0 => super::plural::grouped(rounded.round() as u64),
        digits => format!("{rounded:.*}", (1.0 - digits) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_two_digits() {
        let rates = [0.0347, 0.35, 4.83, 48.2, 483.0, 1234.5678, 98_765.4].map(rate);
        assert_eq!(rates, ["0.035", "0.35", "4.8", "48", "480", "1,200", "99,000"]);
        assert_eq!(speed(48.2, Some(Duration::from_secs(200))), ", 48/s, 3 min 20 s left");
        assert_eq!((speed(0.0, None), speed(f64::NAN, None)), (String::new(), String::new()));
    }
}
