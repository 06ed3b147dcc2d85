//! The result of a migration, as printed at its end.

use migrate::{Report, SchemaTally, StayedBehind};
use serde::Serialize;

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    output::{
        plural::{self, count},
        table::{Cell, Table, fixed, number, text},
    },
};

/// Rows of problems and of differences that a table shows at most.
const SHOWN: usize = 20;

#[derive(Serialize)]
struct Printed<'a> {
    from: &'a str,
    to: String,
    #[serde(flatten)]
    report: &'a Report,
}

pub(super) fn print(report: &Report, from: &str, cx: &mut Context<'_>) -> Result<(), CliError> {
    let to = cx.settings.store.to_string();
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&Printed { from, to, report }),
        Format::Table => {
            print_counts(report, from, &to, cx)?;
            print_problems(report, cx)?;
            print_differences(report, cx)?;
            conclude(report, cx);
            Ok(())
        }
    }
}

fn print_counts(report: &Report, from: &str, to: &str, cx: &mut Context<'_>) -> Result<(), CliError> {
    let (would, stored) =
        if report.dry_run { ("would migrate", "would store") } else { ("migrated", "stored") };
    cx.printer.line(&format!("{would} {from} to {to}"))?;
    let mut table = Table::pairs();
    let mut events = format!(
        "{stored} {}, already stored {}, rejected {}, conflicts {}",
        report.stored, report.already_stored, report.rejected, report.conflicts
    );
    if report.without_event > 0 {
        events.push_str(&format!(", listed without an event {}", report.without_event));
    }
    table.row(["events", &events]);
    let counts = report.replay_counts;
    let replayed = count(counts.replayed, "event");
    table.row(["replay counts", &format!("of {replayed}, {} raised", counts.raised)]);
    let marks = report.checkpoints;
    let checkpoints =
        format!("made {}, already there {}, rejected {}", marks.made, marks.already_there, marks.rejected);
    table.row(["checkpoints", &checkpoints]);
    if let Some(SchemaTally { added, already_there, conflicts, .. }) = report.schemas {
        table.row([
            "schemas",
            &format!("added {added}, already there {already_there}, conflicts {conflicts}"),
        ]);
    }
    cx.printer.table(&table)?;
    if report.indexes.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([fixed("index"), number("keys"), number("equal")]);
    for tally in &report.indexes {
        table.row([Cell::new(tally.index.name()), Cell::count(tally.keys), Cell::count(tally.equal)]);
    }
    cx.printer.table(&table)
}

fn print_problems(report: &Report, cx: &mut Context<'_>) -> Result<(), CliError> {
    if report.problems.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([fixed("what"), text("id"), text("reason"), text("detail")]);
    for problem in report.problems.iter().take(SHOWN) {
        table.row([problem.what, &problem.id, problem.reason, &problem.detail]);
    }
    cx.printer.table(&table)?;
    and_more(report.total_problems, "problem", Report::MAX_PROBLEMS, cx)
}

fn print_differences(report: &Report, cx: &mut Context<'_>) -> Result<(), CliError> {
    if report.differences.is_empty() {
        return Ok(());
    }
    let mut table =
        Table::new([fixed("index"), text("key"), number("source"), number("target"), text("why")]);
    for difference in report.differences.iter().take(SHOWN) {
        let key = if difference.key.is_empty() { "-" } else { &difference.key };
        table.row([
            Cell::new(difference.index.name()),
            Cell::new(key),
            Cell::count(difference.source),
            Cell::count(difference.target),
            Cell::new(difference.reason()),
        ]);
    }
    cx.printer.table(&table)?;
    and_more(report.total_differences, "difference", Report::MAX_DIFFERENCES, cx)
}

fn and_more(total: u64, thing: &str, listed: usize, cx: &mut Context<'_>) -> Result<(), CliError> {
    let more = total.saturating_sub(SHOWN as u64);
    if more > 0 {
        cx.printer.flush()?;
        let more = count(more, &format!("more {thing}"));
        cx.printer.say(&format!("and {more}; --output json lists the first {listed}"));
    }
    Ok(())
}

fn conclude(report: &Report, cx: &Context<'_>) {
    if report.without_index > 0 {
        let were = plural::of(report.without_index, "event was", "events were");
        cx.printer.say(&format!(
            "{were} in no index of time in the source, and taken in its place by its own time"
        ));
    }
    if let Some(StayedBehind { groups, dead_letters, scheduled }) = report.stays_behind {
        let waiting = if scheduled { ", events that wait for their time" } else { "" };
        let (groups, letters) = (count(groups, "consumer group"), count(dead_letters, "open dead letter"));
        cx.printer.warn(&format!("not migrated: {groups}, {letters}{waiting}"));
    }
    match (report.complete, report.dry_run, report.changes_anything()) {
        (false, ..) => cx.printer.warn("something was not taken, or counts differ: see above"),
        (true, true, _) => {}
        (true, false, true) => cx.printer.say("all of the source is in the target, and the counts show it"),
        (true, false, false) => {
            cx.printer.say("nothing was left to do: all of the source was in the target already");
        }
    }
}
