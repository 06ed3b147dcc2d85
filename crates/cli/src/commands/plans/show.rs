//! `plans show`: prints one kept plan, or its events page by page.

use clap::Args;
use domain::{Cursor, ports::Order};
use event_replay::{
    Access, StoreHandle,
    app::{
        clock,
        plans::{self, KeptPlan, KeptPlanDocument, PlanState},
    },
};

use super::list::state_cell;
use crate::{
    args::{Format, filter, number, time},
    commands::{
        list::EventWriter,
        replaying::{exit_of_plan, print_counted},
        walk::Walk,
    },
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        table::{self, Cell, Table, text},
    },
};

/// Show one kept plan, or its events
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay plans show 0198f2
  event-replay plans show 0198f2 --events --limit 100
  event-replay plans show 0198f2 --events --output ndjson --limit 1000000 > events.ndjson

--events shows exactly the events that the plan sends, in the order in which it sends them. Events
that were erased or trimmed since are left out.")]
pub(crate) struct ShowArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::plans())]
    plan: String,
    /// Show its events, the oldest first.
    #[arg(long)]
    events: bool,
    /// With --events: at most this many.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
    /// With --events: continue after a page, its `nextCursor`.
    #[arg(long, value_name = "CURSOR", requires = "events")]
    after: Option<Cursor>,
}

pub(super) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let kept = plans::find(&stores, &args.plan).await?;
    if args.events {
        return events(stores, &kept, &args, cx).await;
    }
    stores.close().await;
    print_kept(&kept, cx)
}

async fn events(
    stores: StoreHandle,
    kept: &KeptPlan,
    args: &ShowArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let mut writer = EventWriter::new(cx.printer.format());
    cx.printer.page();
    let mut corrupt = 0;
    let mut next = None;
    // A plan without events has no end.
    if let Some(end) = kept.plan.end() {
        let filter = (*kept.plan.filter).clone();
        let after = args.after.clone().or_else(|| kept.plan.after.clone());
        let mut walk = Walk::new(stores.ports().clone(), filter, Order::OldestFirst, Some(args.limit))
            .after(after)
            .until(Some(end.clone()));
        while let Some(page) = walk.page(cx.printer).await? {
            writer.page(&page.events, cx)?;
        }
        corrupt = walk.corrupt();
        next = walk.next_cursor().cloned();
    }
    writer.finish(next.as_ref(), cx)?;
    stores.close().await;
    Ok(if corrupt > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

/// Prints a kept plan: the output of a dry run, and the data that is kept with it.
pub(in crate::commands) fn print_kept(kept: &KeptPlan, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let now = clock().now();
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&KeptPlanDocument::of(kept, now))?,
        Format::Table => print(kept, PlanState::of(&kept.record, now), cx)?,
    }
    Ok(exit_of_plan(&kept.plan))
}

fn print(kept: &KeptPlan, state: PlanState, cx: &mut Context<'_>) -> Result<(), CliError> {
    let KeptPlan { record, plan, run } = kept;
    let who = |by: &str, at| format!("{} by {}", time::to_milliseconds(at), escape::short(by, 60));
    let mut table = Table::pairs();
    table.row(["plan", &record.id]);
    table.row([Cell::new("state"), state_cell(state)]);
    table.row(["made", &who(&record.created_by, record.created_at)]);
    table.row(["expires", &time::to_milliseconds(record.expires_at)]);
    table.row(["to", &escape::short(&run.to(), 120)]);
    if let Some(reason) = &record.approval_reason {
        table.row(["needs approval", &escape::line(reason)]);
    }
    if let Some(approval) = &record.approval {
        table.row(["approved", &who(&approval.by, approval.at)]);
    }
    if let Some(applied) = &record.applied {
        table.row(["applied", &who(&applied.by, applied.at)]);
    }
    let estimate = run.estimate(plan.total_events);
    if !estimate.is_zero() {
        let seconds = std::time::Duration::from_secs(estimate.as_secs_f64().ceil() as u64);
        table.row(["takes at least", &humantime::format_duration(seconds).to_string()]);
    }
    cx.printer.table(&table)?;
    cx.printer.raw(b"\n")?;
    print_counted(plan, cx)?;
    if !run.groups.is_empty() {
        let mut groups = Table::new([
            text("group"),
            table::number("consumers"),
            table::number("lag"),
            table::number("would take"),
        ]);
        for group in &run.groups {
            groups.row([
                Cell::new(escape::short(&group.name, 60)),
                Cell::count(group.consumers as u64),
                Cell::count(group.lag),
                Cell::count(group.would_take),
            ]);
        }
        cx.printer.raw(b"\n")?;
        cx.printer.table(&groups)?;
    }
    Ok(())
}
