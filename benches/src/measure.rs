//! Measures two implementations in turn, so that a drift of the machine's speed affects both.

use std::time::{Duration, Instant};

use anyhow::Result;
use comfy_table::{Table, presets::UTF8_FULL_CONDENSED};

/// The rows measured so far.
pub(crate) struct Bench {
    words: Vec<String>,
    rounds: usize,
    rows: Vec<Vec<String>>,
}

/// The target of a row.
pub(crate) enum Target {
    /// At least this many times the rate of the yardstick.
    Ratio(f64),
    /// At least this many operations per second.
    Rate(f64),
    /// At most this time per operation.
    Each(Duration),
    /// No target. The row is for comparison.
    None,
}

impl Bench {
    pub(crate) fn new(words: Vec<String>, rounds: usize) -> Self {
        Self { words, rounds: rounds.max(1), rows: Vec::new() }
    }

    pub(crate) fn wants(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds
    }

    /// Runs the yardstick and Event Replay in turn. Each closure does `operations` operations, and returns the time.
    pub(crate) fn row(
        &mut self,
        name: &str,
        yardstick_name: &str,
        operations: u64,
        target: &Target,
        mut yardstick: impl FnMut() -> Result<Duration>,
        mut ours: impl FnMut() -> Result<Duration>,
    ) -> Result<()> {
        if !self.wants(name) {
            return Ok(());
        }
        let (mut theirs_rates, mut our_rates, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.rounds {
            let rate = |took: Duration| operations as f64 / took.as_secs_f64();
            let (theirs, our) = (rate(yardstick()?), rate(ours()?));
            theirs_rates.push(theirs);
            our_rates.push(our);
            ratios.push(our / theirs);
        }
        let (theirs, our, ratio) = (median(&mut theirs_rates), median(&mut our_rates), median(&mut ratios));
        let (wanted, met) = match target {
            Target::Ratio(least) => (format!("≥ {least} ×"), Some(ratio >= *least)),
            Target::Rate(least) => (format!("≥ {}/s", thousands(*least)), Some(our >= *least)),
            Target::Each(most) => (format!("≤ {most:?}"), Some(1.0 / our <= most.as_secs_f64())),
            Target::None => ("–".to_owned(), None),
        };
        let verdict = match met {
            Some(true) => "met",
            Some(false) => "missed",
            None => "",
        };
        let each = |rate: f64| format!("{}/s ({:.2} µs)", thousands(rate), 1e6 / rate);
        let spread = format!("{ratio:.2} ({:.2}–{:.2})", ratios[0], ratios[ratios.len() - 1]);
        eprintln_row(name, &spread);
        self.rows.push(vec![
            name.to_owned(),
            each(our),
            yardstick_name.to_owned(),
            each(theirs),
            spread,
            wanted,
            verdict.to_owned(),
        ]);
        Ok(())
    }

    /// Adds a row without a ratio of rates: the measurements of Event Replay and of the yardstick, as text.
    pub(crate) fn figures(&mut self, name: &str, ours: &str, yardstick_name: &str, yardstick: &str) {
        eprintln_row(name, ours);
        let cells = [name, ours, yardstick_name, yardstick, "–", "–", ""];
        self.rows.push(cells.map(str::to_owned).to_vec());
    }

    pub(crate) fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "work",
            "ours (median)",
            "yardstick",
            "yardstick (median)",
            "ratio: median (least–most)",
            "target",
            "",
        ]);
        table.add_rows(&self.rows);
        table
    }
}

#[allow(clippy::print_stderr, reason = "progress of a long run")]
fn eprintln_row(name: &str, spread: &str) {
    eprintln!("{name}: {spread}");
}

/// Returns the middle value, and sorts the input.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Returns the time of a piece of work.
pub(crate) fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let begun = Instant::now();
    work()?;
    Ok(begun.elapsed())
}
