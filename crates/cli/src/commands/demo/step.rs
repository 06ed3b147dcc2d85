//! One step of the story: a title, its lines, and its duration.

use std::time::{Duration, Instant};

use event_replay::text::plural::grouped;

/// The column of a step's duration, in characters.
const TIME_COLUMN: usize = 72;

/// A step that is running.
pub(super) struct Step {
    title: &'static str,
    lines: Vec<String>,
    began: Instant,
}

impl Step {
    /// Begins a step and its duration.
    pub(super) fn begin(title: &'static str) -> Self {
        Self { title, lines: Vec::new(), began: Instant::now() }
    }

    /// Adds a line.
    pub(super) fn say(&mut self, line: impl Into<String>) {
        self.lines.push(format!("   {}", line.into()));
    }

    /// Adds an example for the line before, with a deeper indentation.
    pub(super) fn example(&mut self, line: impl Into<String>) {
        self.lines.push(format!("     {}", line.into()));
    }

    /// Ends the step. Returns the title, the duration, and the lines after a heading with the number and the duration.
    pub(super) fn end(self, number: usize) -> (&'static str, Duration, Vec<String>) {
        let took = self.began.elapsed();
        let heading = format!("{number}. {}", self.title);
        let mut lines = vec![format!("{heading:<TIME_COLUMN$}{:>9}", seconds(took))];
        lines.extend(self.lines);
        (self.title, took, lines)
    }
}

/// Formats a duration in the unit that reads best.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_millis() {
        0 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        ms @ 1..1000 => format!("{ms} ms"),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

/// Formats a number with a comma between its thousands.
pub(super) fn counted(number: impl TryInto<u64>) -> String {
    grouped(number.try_into().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_unit_that_reads_best() {
        let texts = [300, 41_999, 1_250_000].map(|micros| seconds(Duration::from_micros(micros)));
        assert_eq!(texts, ["0.3 ms", "41 ms", "1.25 s"]);
    }
}
