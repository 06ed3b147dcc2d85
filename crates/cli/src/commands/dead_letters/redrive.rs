//! `dead-letters redrive`: sends dead letters to their group again, and waits for the result.

use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use event_replay::{
    Access, StoreHandle,
    app::{dead_letters, documents::RedrivePreview},
};
use replay::{
    Cancel,
    redrive::{Letters, RedriveReport},
};
use tokio::sync::mpsc;

use super::select::ChosenArgs;
use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        plural::{self, count},
        table::{Table, fixed, text},
    },
};

/// Errors that a table shows at most.
const SHOWN: usize = 20;

/// Redrive dead letters: send them to their group again, and wait
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters redrive 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e
  event-replay dead-letters redrive --fingerprint 1f0c9a2b3d4e --limit 1
  event-replay dead-letters redrive --group mail --type user.registered
  event-replay dead-letters redrive --all --detach

Only open dead letters are sent, each once, so a second run adds none. It waits until each has
succeeded or failed again, which needs a consumer of its group. Ctrl-C stops waiting; what was
sent stays sent. Exits 3 if any failed again.")]
pub(crate) struct RedriveArgs {
    /// Do not wait: print how many were sent.
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    /// Print how many would be sent, and send none.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    chosen: ChosenArgs,
}

pub(super) async fn run(args: RedriveArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let letters = args.chosen.letters("redrive")?;
    if args.dry_run {
        let stores = cx.open(Access::Read).await?;
        let letters = dead_letters::check_chosen(&stores, letters).await?;
        let requested = dead_letters::count_open(&stores, &letters).await?;
        stores.close().await;
        match cx.printer.format() {
            Format::Json | Format::Ndjson => cx.printer.json(&RedrivePreview { dry_run: true, requested })?,
            Format::Table => {
                cx.printer.line(&format!("would redrive {}", count(requested, "dead letter")))?;
            }
        }
        return Ok(Exit::Ok);
    }
    let stores = cx.open(Access::Write).await?;
    let letters = dead_letters::check_chosen(&stores, letters).await?;
    let report = wait(&stores, letters, &args, cx).await?;
    stores.close().await;
    print(&report, args.detach, cx)?;
    Ok(exit_of(&report, args.detach))
}

/// Redrives dead letters. Warns at once about groups without consumers, because waiting for those groups may never end.
async fn wait(
    stores: &StoreHandle,
    letters: Letters,
    args: &RedriveArgs,
    cx: &Context<'_>,
) -> Result<RedriveReport, CliError> {
    let cancel = Cancel::default();
    let interrupted = tokio::spawn({
        let cancel = cancel.clone();
        async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                cancel.cancel();
            }
        }
    });
    let bar = cx.printer.bar("redriving", Some(0));
    let (tell, mut told) = mpsc::unbounded_channel::<String>();
    let watcher = {
        let (bar, said) = (bar.handle(), AtomicUsize::new(0));
        move |report: &RedriveReport| {
            bar.set_length(report.requested);
            bar.set_position(report.requested - report.remaining);
            let names = &report.groups_without_consumers;
            for name in names.iter().skip(said.swap(names.len(), Ordering::Relaxed)) {
                // The receiver lives as long as the redrive.
                let _ = tell.send(name.clone());
            }
        }
    };
    let outcome = {
        let redrive = dead_letters::redrive(stores, &cx.actor, letters, !args.detach, &watcher, &cancel);
        tokio::pin!(redrive);
        loop {
            tokio::select! {
                biased;
                Some(name) = told.recv() => warn_of(&name, args.detach, cx),
                outcome = &mut redrive => break outcome,
            }
        }
    };
    while let Ok(name) = told.try_recv() {
        warn_of(&name, args.detach, cx);
    }
    interrupted.abort();
    bar.clear();
    Ok(outcome?)
}

fn warn_of(group: &str, detach: bool, cx: &Context<'_>) {
    let name = escape::line(group);
    let then = match detach {
        true => "they wait until one connects",
        false => "waiting for one; Ctrl-C stops waiting, and they stay sent",
    };
    cx.printer.warn(&format!("group {name} has no consumers: {then}"));
}

fn exit_of(report: &RedriveReport, detach: bool) -> Exit {
    match report {
        _ if report.failed_again + report.unknown + report.no_group > 0 => Exit::DoneWithFailures,
        _ if report.remaining > 0 && !detach => Exit::Failed,
        _ => Exit::Ok,
    }
}

fn print(report: &RedriveReport, detach: bool, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(report);
    }
    let asked = count(report.requested, "dead letter");
    let mut line = match detach {
        true => format!("{} of {asked} sent", report.remaining),
        false => format!("{asked}: {} succeeded, {} failed again", report.handled, report.failed_again),
    };
    let mut add = |number: u64, what: &str| {
        if number > 0 {
            line.push_str(&format!(", {number} {what}"));
        }
    };
    add(report.unchanged, "already sent or closed");
    add(report.unknown, "unknown");
    add(report.no_group, "of a group that was deleted (discard them)");
    if !detach {
        add(report.remaining, "not handled yet");
    }
    cx.printer.line(&line)?;
    if report.errors.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([fixed("dead letter"), text("event"), text("error")]);
    for error in report.errors.iter().take(SHOWN) {
        table.row([&error.dead_letter_id, &error.event_id, &error.error]);
    }
    cx.printer.table(&table)?;
    let more = report.failed_again.saturating_sub(SHOWN as u64);
    if more > 0 {
        let more = plural::of(more, "more failed again", "more failed again");
        cx.printer.say(&format!("and {more}; `dead-letters list --by fingerprint` shows why"));
    }
    Ok(())
}
