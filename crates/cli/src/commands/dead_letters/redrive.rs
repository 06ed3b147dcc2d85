//! `dead-letters redrive`: send dead letters to their group again, and wait.

use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use event_replay::{Access, app::dead_letters};
use replay::{
    Cancel,
    redrive::{Letters, RedriveReport, Redriver},
};
use serde::Serialize;
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
        table::Table,
    },
};

/// Errors that a person is shown.
const SHOWN: usize = 20;

/// Send dead letters to their group again, and wait
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters redrive 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e
  event-replay dead-letters redrive --fingerprint 1f0c9a2b3d4e --limit 1
  event-replay dead-letters redrive --group mail --type user.registered
  event-replay dead-letters redrive --all --detach

Only open dead letters are sent, each once, so a second run adds none. It waits until each was
handled or is back, which takes a consumer of its group; Ctrl-C stops waiting and takes nothing
back. Exits 3 if any is back.")]
pub(crate) struct RedriveArgs {
    /// Do not wait: say how many are on their way.
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
    /// Say how many would be sent, and send none.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    chosen: ChosenArgs,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Would {
    dry_run: bool,
    requested: u64,
}

pub(super) async fn run(args: RedriveArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let letters = args.chosen.letters("redrive")?;
    if args.dry_run {
        let stores = cx.open(Access::Read).await?;
        dead_letters::check_chosen(&stores, &letters).await?;
        let requested = dead_letters::count_open(&stores, &letters).await?;
        stores.close().await;
        match cx.printer.format() {
            Format::Json | Format::Ndjson => cx.printer.json(&Would { dry_run: true, requested })?,
            Format::Table => {
                cx.printer.line(&format!("would redrive {}", count(requested, "dead letter")))?;
            }
        }
        return Ok(Exit::Ok);
    }
    let stores = cx.open(Access::Write).await?;
    dead_letters::check_chosen(&stores, &letters).await?;
    let redriver = dead_letters::redriver(&stores);
    let report = wait(&redriver, letters, &args, cx).await?;
    drop(redriver);
    stores.close().await;
    print(&report, args.detach, cx)?;
    Ok(exit_of(&report, args.detach))
}

/// Redrives, and says at once which groups nobody consumes: waiting for them alone would never end.
async fn wait(
    redriver: &Redriver,
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
                // The receiver lives as long as the redrive does.
                let _ = tell.send(name.clone());
            }
        }
    };
    let outcome = {
        let redrive = redriver.redrive(letters, !args.detach, &watcher, &cancel);
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
        true => "they stay on their way until one comes",
        false => "waiting for one; Ctrl-C stops waiting, and they stay on their way",
    };
    cx.printer.warn(&format!("no consumer of group {name} is alive: {then}"));
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
        true => format!("{} of {asked} on the way", report.remaining),
        false => format!("{asked}: {} handled, {} back", report.handled, report.failed_again),
    };
    let mut add = |number: u64, what: &str| {
        if number > 0 {
            line.push_str(&format!(", {number} {what}"));
        }
    };
    add(report.unchanged, "on the way or closed before");
    add(report.unknown, "unknown");
    add(report.no_group, "of a group that was deleted (discard them)");
    if !detach {
        add(report.remaining, "still on the way");
    }
    cx.printer.line(&line)?;
    if report.errors.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["dead letter", "event", "error"]);
    for error in report.errors.iter().take(SHOWN) {
        let (event, said) = (escape::short(&error.event_id, 40), escape::short(&error.error, 100));
        table.row([error.dead_letter_id.as_str(), &event, &said]);
    }
    cx.printer.table(table)?;
    let more = report.failed_again.saturating_sub(SHOWN as u64);
    if more > 0 {
        let more = plural::of(more, "more is back", "more are back");
        cx.printer.say(&format!("and {more}; `dead-letters list --by fingerprint` shows why"));
    }
    Ok(())
}
