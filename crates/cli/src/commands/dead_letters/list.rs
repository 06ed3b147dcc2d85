//! `dead-letters list`: lists dead letters one by one, or grouped by fingerprint.

use clap::{Args, ValueEnum};
use domain::{DeadLetter, ports::DeadLetterQuery};
use event_replay::{
    Access, StoreHandle,
    app::{
        dead_letters::{FailureGroup, LetterPages, check_group, failure_groups, newest_error, prefixes},
        documents::{DeadLetterDocument, DeadLetterPage},
    },
};

use super::{
    printed::state_cell,
    select::{SelectArgs, StateArg, states},
};
use crate::{
    args::{self, Format, filter},
    commands::repeating::WatchArgs,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::count,
        table::{Cell, Table, fixed, id, number, text},
    },
};

/// Show dead letters, the oldest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters list
  event-replay dead-letters list --by fingerprint
  event-replay dead-letters list --group mail --type 'user.*' --from 2h
  event-replay dead-letters list --fingerprint 1f0c9a2b3d4e --state all --output ndjson")]
pub(crate) struct ListArgs {
    /// In these states [default: open and redriving].
    #[arg(long = "state", value_name = "STATE", value_enum)]
    states: Vec<StateArg>,
    /// At most this many dead letters.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", value_parser = args::number::limit, allow_hyphen_values = true)]
    limit: u64,
    /// Continue after a page: its `nextCursor`.
    #[arg(long, value_name = "ID", value_parser = filter::name, conflicts_with = "by")]
    after: Option<String>,
    /// Count them by cause, the most frequent first.
    #[arg(long, value_name = "WHAT", value_enum)]
    by: Option<By>,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    select: SelectArgs,
}

/// The property by which dead letters are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Group, type, and error text without ids and numbers.
    Fingerprint,
}

pub(super) async fn run(args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut query = args.select.query(states(&args.states))?;
    query.after.clone_from(&args.after);
    let stores = cx.open(Access::Read).await?;
    check_group(&stores, query.group.as_deref()).await?;
    let exit =
        args.watch.run(cx, async |cx| show(args.by, query.clone(), args.limit, &stores, cx).await).await;
    stores.close().await;
    exit
}

async fn show(
    by: Option<By>,
    query: DeadLetterQuery,
    limit: u64,
    stores: &StoreHandle,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    match by {
        Some(By::Fingerprint) => {
            let alike = failure_groups(stores, query).await?;
            print_alike(alike, limit, cx)?;
        }
        None => list(LetterPages::new(query, Some(limit)), stores, cx).await?,
    }
    Ok(Exit::Ok)
}

async fn list(mut letters: LetterPages, stores: &StoreHandle, cx: &mut Context<'_>) -> Result<(), CliError> {
    // The limit bounds the length of the list. JSON output needs the cursor of the next page, which is known last.
    let mut found = vec![];
    while let Some(page) = letters.page(stores).await? {
        match cx.printer.format() {
            Format::Ndjson => {
                page.iter().try_for_each(|letter| cx.printer.json(&DeadLetterDocument::of(letter)))?;
            }
            Format::Table | Format::Json => found.extend(page),
        }
    }
    let next = letters.next(stores).await?;
    match cx.printer.format() {
        Format::Ndjson => Ok(()),
        Format::Json => {
            let dead_letters = found.iter().map(DeadLetterDocument::of).collect();
            cx.printer.json(&DeadLetterPage { dead_letters, next_cursor: next.as_deref() })
        }
        Format::Table => {
            let prefixes = prefixes(stores, &found).await?;
            print_table(&found, &prefixes, next.as_deref(), cx)
        }
    }
}

fn print_table(
    found: &[DeadLetter],
    prefixes: &[String],
    next: Option<&str>,
    cx: &mut Context<'_>,
) -> Result<(), CliError> {
    if found.is_empty() {
        cx.printer.say("no dead letter matches");
        return Ok(());
    }
    let mut table = Table::new([
        id("id"),
        text("group"),
        fixed("state"),
        fixed("made"),
        text("event").optional(2),
        text("type"),
        number("attempts").optional(1),
        fixed("fingerprint").optional(3),
        text("error"),
    ]);
    for (letter, prefix) in found.iter().zip(prefixes) {
        table.row([
            Cell::id(&letter.id, prefix),
            Cell::new(&letter.group),
            state_cell(letter.state),
            Cell::time(letter.created_at, cx.printer.now()),
            Cell::new(letter.event.id()),
            Cell::new(letter.event.event_type()),
            Cell::count(letter.attempts.into()),
            Cell::new(&letter.fingerprint),
            Cell::new(newest_error(letter)),
        ]);
    }
    cx.printer.table(&table)?;
    if let Some(next) = next {
        cx.printer.say(&format!("there are more: --after {next}, or --by fingerprint"));
    }
    Ok(())
}

fn print_alike(mut alike: Vec<FailureGroup>, limit: u64, cx: &mut Context<'_>) -> Result<(), CliError> {
    let (kinds, letters) = (alike.len() as u64, alike.iter().map(|alike| alike.count).sum());
    alike.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    if cx.printer.format() != Format::Table {
        return cx.printer.json_rows(&alike);
    }
    if alike.is_empty() {
        cx.printer.say("no dead letter matches");
        return Ok(());
    }
    let mut table = Table::new([
        number("count"),
        text("group"),
        text("type"),
        fixed("fingerprint"),
        fixed("newest"),
        fixed("example").optional(1),
        text("newest error"),
    ]);
    for row in &alike {
        table.row([
            Cell::count(row.count),
            Cell::new(&row.group),
            Cell::new(&row.event_type),
            Cell::new(&row.fingerprint),
            Cell::time(row.newest_at, cx.printer.now()),
            Cell::new(&row.example),
            Cell::new(&row.newest_error),
        ]);
    }
    cx.printer.table(&table)?;
    cx.printer.say(&format!("{} with {}", count(letters, "dead letter"), count(kinds, "fingerprint")));
    Ok(())
}
