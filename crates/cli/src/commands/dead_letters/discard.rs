//! `dead-letters discard`: close dead letters that are not to be handled.

use std::collections::BTreeMap;

use clap::Args;
use domain::{DeadLetterState, stats};
use replay::redrive::{DiscardReport, Letters, Redriver};
use serde::Serialize;

use super::select::{ChosenArgs, count_matching};
use crate::{
    args::Format,
    commands::{Context, counting},
    errors::CliError,
    exit::Exit,
    output::{
        confirm::{LOOK_FIRST, confirm},
        plural::count,
    },
    store::{Access, Stores},
};

/// Close dead letters unhandled, with a reason
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters discard 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e --reason 'refunded by hand'
  event-replay dead-letters discard --fingerprint 1f0c9a2b3d4e --reason 'test data' --dry-run
  event-replay dead-letters discard --group mail --to 2024-01-31T23:59:59Z --reason 'too late' --yes

The events stay in the log. Where a key is parked behind a dead letter, it goes on. Closed dead
letters are shown with `list --state discarded` and go after a month. Exits 3 if an id is
unknown.")]
pub(crate) struct DiscardArgs {
    /// Why: kept with each dead letter.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    reason: String,
    /// Say how many would be closed, and close none.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask. Dead letters that are named by their ids are closed without a question.
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    chosen: ChosenArgs,
}

fn reason(text: &str) -> Result<String, String> {
    match text.trim().is_empty() {
        true => Err("say why, for whoever finds it closed".to_owned()),
        false => Ok(text.to_owned()),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Printed {
    dry_run: bool,
    #[serde(flatten)]
    report: DiscardReport,
}

pub(super) async fn run(args: DiscardArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let states = vec![DeadLetterState::Open];
    let letters = args.chosen.letters(states.clone(), "discard")?;
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = Stores::open(&cx.settings, access).await?;
    if args.dry_run {
        let requested = count_matching(&stores, letters, &states).await?;
        stores.close().await;
        let report = DiscardReport { requested, ..DiscardReport::default() };
        print(&Printed { dry_run: true, report }, cx)?;
        return Ok(Exit::Ok);
    }
    if let Letters::Matching(query) = &letters {
        let matching = count_matching(&stores, Letters::Matching(query.clone()), &states).await?;
        if matching > 0 {
            confirm(&format!("close {} unhandled", count(matching, "dead letter")), args.yes, LOOK_FIRST)?;
        }
    }
    let before = discarded(&stores).await?;
    let redriver = Redriver::new(stores.dead_letters.clone(), stores.groups.clone());
    let report = redriver.discard(letters, &args.reason).await?;
    drop(redriver);
    count_closed(&before, &stores).await?;
    stores.close().await;
    let exit = if report.unknown > 0 { Exit::DoneWithFailures } else { Exit::Ok };
    print(&Printed { dry_run: false, report }, cx)?;
    Ok(exit)
}

/// How many dead letters each group has that were discarded.
async fn discarded(stores: &Stores) -> Result<BTreeMap<String, u64>, CliError> {
    let counts = stores.dead_letters.count_dead_letters().await?;
    let discarded = counts.into_iter().filter(|count| count.state == DeadLetterState::Discarded);
    Ok(discarded.map(|count| (count.group, count.count)).collect())
}

/// What was closed counts against what was dead-lettered.
async fn count_closed(before: &BTreeMap<String, u64>, stores: &Stores) -> Result<(), CliError> {
    let meter = counting::meter();
    for (group, after) in discarded(stores).await? {
        let closed = after.saturating_sub(before.get(&group).copied().unwrap_or(0));
        if closed > 0 {
            meter.count(stats::DEAD_LETTERS_CLOSED, &group, closed);
        }
    }
    counting::keep(&meter, stores).await;
    Ok(())
}

fn print(printed: &Printed, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(printed);
    }
    let report = &printed.report;
    if printed.dry_run {
        return cx.printer.line(&format!("would discard {}", count(report.requested, "dead letter")));
    }
    let mut line = format!("discarded {}", count(report.discarded, "dead letter"));
    if report.unchanged > 0 {
        line.push_str(&format!(", {} on the way or closed before", report.unchanged));
    }
    if report.unknown > 0 {
        line.push_str(&format!(", {} unknown", report.unknown));
    }
    cx.printer.line(&line)
}
