//! `plans list`: lists kept plans.

use clap::Args;
use event_replay::{
    Access,
    app::{
        clock,
        plans::{self, PlanState},
    },
};

use crate::{
    args::{self, Format},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        style::Tone,
        table::{Cell, Table, fixed, id, number, text},
    },
};

/// Show kept plans, the newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay plans list
  event-replay plans list --limit 5 --output json")]
pub(crate) struct ListArgs {
    /// At most this many plans.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", value_parser = args::number::limit, allow_hyphen_values = true)]
    limit: u64,
}

pub(super) async fn run(args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let mut kept = plans::list(&stores).await?;
    stores.close().await;
    let prefixes = plans::prefixes(&kept);
    kept.truncate(usize::try_from(args.limit).unwrap_or(usize::MAX));
    let rows = plans::rows(&kept, clock().now());
    cx.printer.page();
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json_rows(&rows)?,
        Format::Table if rows.is_empty() => cx.printer.say("there are no kept plans"),
        Format::Table => {
            let mut table = Table::new([
                id("id"),
                fixed("state"),
                fixed("made"),
                text("by"),
                number("events"),
                text("to"),
                fixed("expires"),
            ]);
            let now = cx.printer.now();
            for (row, prefix) in rows.iter().zip(&prefixes) {
                table.row([
                    Cell::id(row.id, prefix),
                    state_cell(row.state),
                    Cell::time(row.created_at, now),
                    Cell::new(escape::short(row.created_by, 40)),
                    Cell::count(row.total_events),
                    Cell::new(escape::short(row.to, 60)),
                    Cell::time(row.expires_at, now),
                ]);
            }
            cx.printer.table(&table)?;
        }
    }
    Ok(Exit::Ok)
}

/// Returns a table cell for a state, with its colour.
pub(super) fn state_cell(state: PlanState) -> Cell {
    let tone = match state {
        PlanState::Ready => Tone::Good,
        PlanState::AwaitingApproval => Tone::Warn,
        PlanState::Expired => Tone::Quiet,
    };
    Cell::state(state.name(), tone)
}
