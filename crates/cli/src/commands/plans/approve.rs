//! `plans approve`: allows one run of another operator's plan.

use clap::Args;
use event_replay::{
    Access,
    app::{
        clock,
        plans::{self, PlanRow},
    },
};

use crate::{
    args::{Format, filter},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::plural::count,
};

/// Approve another operator's plan, for one run
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay plans approve 0198f2 --reason 'checked with the billing team'

The settings plans.approval_above and plans.approval_targets say which replays need an approval.
Your own plans, expired plans, and plans that lost events since they were made are refused.")]
pub(crate) struct ApproveArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::plans())]
    plan: String,
    /// Approve it only if it has this hash.
    #[arg(long, value_name = "HASH")]
    hash: Option<String>,
}

pub(super) async fn run(args: ApproveArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let record = plans::approve(&stores, &cx.actor, &args.plan, args.hash.as_deref()).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&PlanRow::of(&record, clock().now()))?,
        Format::Table => {
            let events = count(record.total_events, "event");
            cx.printer.line(&format!("approved plan {}: {events} to {}", record.id, record.to))?;
            cx.printer.say(&format!("`event-replay replay --apply {}` runs it, once", record.id));
        }
    }
    Ok(Exit::Ok)
}
