//! One step of the story: a title, what there is to say, and how long it took.

use std::time::{Duration, Instant};

use event_replay::text::plural::grouped;

/// Where a step's time stands, in characters.
const TIME_COLUMN: usize = 72;

/// A step under way.
pub(super) struct Step {
    title: &'static str,
    lines: Vec<String>,
    began: Instant,
}

impl Step {
    /// Begins a step; its time runs from here.
    pub(super) fn begin(title: &'static str) -> Self {
        Self { title, lines: Vec::new(), began: Instant::now() }
    }

    /// Something to be said.
    pub(super) fn say(&mut self, line: impl Into<String>) {
        self.lines.push(format!("   {}", line.into()));
    }

    /// An example of what was said before.
    pub(super) fn example(&mut self, line: impl Into<String>) {
        self.lines.push(format!("     {}", line.into()));
    }

    /// Ends it: title, time, and its lines with the number and time in front.
    pub(super) fn end(self, number: usize) -> (&'static str, Duration, Vec<String>) {
        let took = self.began.elapsed();
        let heading = format!("{number}. {}", self.title);
        let mut lines = vec![format!("{heading:<TIME_COLUMN$}{:>9}", seconds(took))];
        lines.extend(self.lines);
        (self.title, took, lines)
    }
}

/// A time as a person reads it.
pub(super) fn seconds(time: Duration) -> String {
    match time.as_millis() {
        0 => format!("{:.1} ms", time.as_secs_f64() * 1000.0),
        ms @ 1..1000 => format!("{ms} ms"),
        _ => format!("{:.2} s", time.as_secs_f64()),
    }
}

/// A number with a comma between its thousands.
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
