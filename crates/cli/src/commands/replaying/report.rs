//! The result of a run, for people and for programs.

use replay::{ReplayReport, ReplayStatus};

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::{self, count, grouped},
        table::{Table, number, text},
    },
};

/// Errors that a table shows at most.
const SHOWN: usize = 20;

/// The output stream of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Onto {
    /// The report is the result of the command.
    Stdout,
    /// Stdout carries the events.
    Stderr,
}

/// Prints a report in the output format.
pub(super) fn print_report(report: &ReplayReport, onto: Onto, cx: &mut Context<'_>) -> Result<(), CliError> {
    match (cx.printer.format(), onto) {
        (Format::Table, _) => {}
        (_, Onto::Stdout) => return cx.printer.json(report),
        (_, Onto::Stderr) => return cx.printer.say_json(report),
    }
    let status = match report.status {
        ReplayStatus::Completed => "completed",
        ReplayStatus::Cancelled => "cancelled",
        _ => "failed",
    };
    let line = format!(
        "{status}: {} of {} replayed, {} failed, {} skipped, in {} ms (replay {})",
        grouped(report.successful_replays),
        count(report.total_events, "event"),
        grouped(report.failed_replays),
        grouped(report.skipped_events),
        grouped(report.duration_ms),
        report.replay_id
    );
    match onto {
        Onto::Stdout => cx.printer.line(&line)?,
        Onto::Stderr => cx.printer.say(&line),
    }
    if !report.groups.is_empty() {
        let mut table = Table::new([text("group"), number("handled"), number("failed"), number("skipped")]);
        for group in &report.groups {
            let deleted = if group.deleted { " (deleted)" } else { "" };
            table.row([
                format!("{}{deleted}", group.name),
                grouped(group.handled),
                grouped(group.failed),
                grouped(group.skipped),
            ]);
        }
        print_table(&table, onto, cx)?;
    }
    if !report.errors.is_empty() {
        let mut table = Table::new([text("event"), text("type"), text("error")]);
        for error in report.errors.iter().take(SHOWN) {
            table.row([&error.event_id, &error.event_type, &error.error]);
        }
        print_table(&table, onto, cx)?;
    }
    say_what_is_odd(report, cx);
    Ok(())
}

fn print_table(table: &Table, onto: Onto, cx: &mut Context<'_>) -> Result<(), CliError> {
    match onto {
        Onto::Stdout => cx.printer.table(table),
        Onto::Stderr => {
            cx.printer.say_table(table);
            Ok(())
        }
    }
}

fn say_what_is_odd(report: &ReplayReport, cx: &Context<'_>) {
    if report.missing > 0 || !report.gaps.is_empty() {
        cx.printer.warn(&format!(
            "{} erased or trimmed after the plan was made",
            plural::of(report.missing, "event was", "events were")
        ));
    }
    if report.uncounted > 0 {
        cx.printer.warn(&format!(
            "{} sent without raising its replay count",
            plural::of(report.uncounted, "event was", "events were")
        ));
    }
    if let Some(ended) = &report.ended {
        let early = match report.remaining {
            0 => "it ended early".to_owned(),
            remaining => {
                format!("it ended early, {}", plural::of(remaining, "event remains", "events remain"))
            }
        };
        cx.printer.warn(&format!("{early}: {ended}"));
    }
    if !report.groups.is_empty() && report.failed_replays > 0 {
        cx.printer.say(
            "permanently failed deliveries are dead letters: `event-replay dead-letters list` shows them, \
             `dead-letters redrive` sends them again",
        );
    }
}

/// Returns the exit code for a report.
pub(super) fn exit_of(report: &ReplayReport) -> Exit {
    match report.status {
        ReplayStatus::Completed if report.is_clean() => Exit::Ok,
        ReplayStatus::Completed => Exit::DoneWithFailures,
        _ => Exit::Failed,
    }
}
