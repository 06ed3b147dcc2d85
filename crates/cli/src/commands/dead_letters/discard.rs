//! `dead-letters discard`: closes dead letters without handling them.

use clap::Args;
use event_replay::{
    Access,
    app::{dead_letters, documents::DiscardDocument},
};
use replay::redrive::DiscardReport;

use super::select::ChosenArgs;
use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        confirm::{COUNT_FIRST, confirm},
        plural::count,
    },
};

/// Close dead letters without handling, with a reason
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters discard 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e --reason 'refunded by hand'
  event-replay dead-letters discard --fingerprint 1f0c9a2b3d4e --reason 'test data' --dry-run
  event-replay dead-letters discard --group mail --to 2024-01-31T23:59:59Z --reason 'too late' --yes

The events stay in the log. A key that is parked behind a dead letter continues. `list --state
discarded` shows closed dead letters for a month. Exits 3 if an id is unknown.")]
pub(crate) struct DiscardArgs {
    /// Print how many would be closed, and close none.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask. Dead letters that are named by their ids are closed without a question.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    chosen: ChosenArgs,
}

pub(super) async fn run(args: DiscardArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let letters = args.chosen.letters("discard")?;
    let Some(reason) = cx.actor.reason.clone() else {
        let said = CliError::usage("say why: the reason is kept with each dead letter");
        return Err(said.hint("add --reason 'refunded by hand'"));
    };
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = cx.open(access).await?;
    let letters = dead_letters::check_chosen(&stores, letters).await?;
    if args.dry_run {
        let requested = dead_letters::count_open(&stores, &letters).await?;
        stores.close().await;
        let report = DiscardReport { requested, ..DiscardReport::default() };
        print(&DiscardDocument { dry_run: true, report }, cx)?;
        return Ok(Exit::Ok);
    }
    if let Some(confirmation) = dead_letters::confirmation(&stores, &letters).await? {
        confirm(&confirmation, &cx.settings, args.yes, COUNT_FIRST)?;
    }
    let report = dead_letters::discard(&stores, &cx.actor, letters, &reason).await?;
    stores.close().await;
    let exit = if report.unknown > 0 { Exit::DoneWithFailures } else { Exit::Ok };
    print(&DiscardDocument { dry_run: false, report }, cx)?;
    Ok(exit)
}

fn print(printed: &DiscardDocument, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(printed);
    }
    let report = &printed.report;
    if printed.dry_run {
        return cx.printer.line(&format!("would discard {}", count(report.requested, "dead letter")));
    }
    let mut line = format!("discarded {}", count(report.discarded, "dead letter"));
    if report.unchanged > 0 {
        line.push_str(&format!(", {} already sent or closed", report.unchanged));
    }
    if report.unknown > 0 {
        line.push_str(&format!(", {} unknown", report.unknown));
    }
    cx.printer.line(&line)
}
