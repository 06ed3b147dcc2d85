//! The report of a comparison, for people.

use event_replay::app::compare::{Comparison, EventDifferences, PerTarget};

use crate::{
    context::Context,
    errors::CliError,
    output::{
        change,
        plural::{count, grouped, of},
        table::{Cell, Table, number, text},
    },
};

/// Prints the differing events, then the counts.
pub(super) fn print(report: &Comparison, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.printer.page();
    for event in &report.differences {
        print_event(event, cx)?;
    }
    let Comparison { compared, equal, different, .. } = report;
    cx.printer.line(&format!(
        "compared {}: {} equal, {} different",
        count(*compared, "event"),
        grouped(*equal),
        grouped(*different)
    ))?;
    let PerTarget { old, new } = report.failed;
    if old + new > 0 {
        cx.printer.line(&format!("failed: {} at OLD, {} at NEW", grouped(old), grouped(new)))?;
    }
    let PerTarget { old, new } = report.unanswered;
    if old + new > 0 {
        cx.printer.line(&format!("without an answer: {} by OLD, {} by NEW", grouped(old), grouped(new)))?;
    }
    if !report.by_pointer.is_empty() {
        let mut table = Table::new([text("pointer"), number("events that differ")]);
        for (pointer, events) in &report.by_pointer {
            table.row([Cell::new(pointer), Cell::count(*events)]);
        }
        cx.printer.table(&table)?;
    }
    if report.differences_truncated {
        let listed = count(report.differences.len() as u64, "differing event");
        cx.printer
            .say(&format!("{listed} of {} listed; --max-differences N lists more", grouped(*different)));
    }
    Ok(())
}

fn print_event(event: &EventDifferences, cx: &mut Context<'_>) -> Result<(), CliError> {
    let EventDifferences { event_id, event_type, position, differences, total_differences } = event;
    cx.printer.line(&format!("{event_id} ({event_type}) at {position}"))?;
    for found in differences {
        let line = change::line(&found.pointer, found.old.as_ref(), found.new.as_ref())?;
        cx.printer.styled(&format!("  {line}\n"))?;
    }
    match total_differences.saturating_sub(differences.len() as u64) {
        0 => Ok(()),
        more => cx.printer.line(&format!("  and {}", of(more, "more difference", "more differences"))),
    }
}
