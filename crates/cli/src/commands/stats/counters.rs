//! The display of the counters of every process that uses the store.

use event_replay::app::stats::{Counters, DeadLetterCounts};

use crate::{
    context::Context,
    errors::CliError,
    output::{
        plural::grouped,
        table::{Table, fixed, number as column, text},
    },
};

/// Prints the counters as tables. Prints nothing if all counters are zero.
pub(super) fn print(
    recent: &Counters,
    all: &Counters,
    letters: &DeadLetterCounts,
    cx: &mut Context<'_>,
) -> Result<(), CliError> {
    if all.is_empty() && *letters == DeadLetterCounts::default() {
        return Ok(());
    }
    let mut table = Table::new([fixed("counted"), column("last 15 min"), column("in all")]);
    let mut number = |name: &str, one: u64, both: u64| {
        if both > 0 {
            table.row([name, &grouped(one), &grouped(both)]);
        }
    };
    number("admitted", recent.admitted, all.admitted);
    number("rejected", recent.rejected, all.rejected);
    number("appended", recent.appended, all.appended);
    number("append failed", recent.append_failed, all.append_failed);
    number("delivered", recent.delivered, all.delivered);
    number("handled", recent.handled, all.handled);
    number("failed attempts", recent.failed_attempts, all.failed_attempts);
    number("retried", recent.retried, all.retried);
    number("dead-lettered", recent.dead_lettered, all.dead_lettered);
    number("dead letters closed", recent.dead_letters_closed, all.dead_letters_closed);
    number("dropped", recent.dropped, all.dropped);
    number("expired", recent.expired, all.expired);
    number("replays handled", recent.replay_handled, all.replay_handled);
    number("replays failed", recent.replay_failed, all.replay_failed);
    number("replays skipped", recent.replay_skipped, all.replay_skipped);
    let mut rate = |name: &str, one: Option<f64>, both: Option<f64>| {
        if both.is_some() {
            table.row([name, &percent(one), &percent(both)]);
        }
    };
    rate("validation failures", recent.validation_failure_rate, all.validation_failure_rate);
    rate("append success", recent.append_success_rate, all.append_success_rate);
    rate("replay success", recent.replay_success_rate, all.replay_success_rate);
    cx.printer.raw(b"\n")?;
    cx.printer.table(&table)?;
    print_times(recent, all, cx)?;
    if *letters == DeadLetterCounts::default() {
        return Ok(());
    }
    cx.printer.raw(b"\n")?;
    cx.printer.line(&format!(
        "dead letters now: {} open, {} redriving, {} handled, {} discarded",
        grouped(letters.open),
        grouped(letters.redriving),
        grouped(letters.handled),
        grouped(letters.discarded)
    ))
}

fn print_times(recent: &Counters, all: &Counters, cx: &mut Context<'_>) -> Result<(), CliError> {
    if all.processing_time.is_empty() {
        return Ok(());
    }
    let columns =
        [text("handlers' time by type"), column("attempts"), column("average"), column("last 15 min")];
    let mut table = Table::new(columns);
    for time in &all.processing_time {
        let lately = recent.processing_time.iter().find(|other| other.event_type == time.event_type);
        table.row([
            time.event_type.clone(),
            grouped(time.count),
            milliseconds(time.average_ms),
            lately.map_or_else(|| "-".to_owned(), |time| milliseconds(time.average_ms)),
        ]);
    }
    cx.printer.raw(b"\n")?;
    cx.printer.table(&table)
}

fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{:.2} %", rate * 100.0))
}

fn milliseconds(average: f64) -> String {
    format!("{average:.1} ms")
}
