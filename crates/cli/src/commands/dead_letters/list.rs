//! `dead-letters list`: one by one, or by what they have in common.

use clap::{Args, ValueEnum};
use domain::DeadLetter;
use event_replay::{
    Access, StoreHandle,
    app::dead_letters::{FailureGroup, LetterPages, check_group, failure_groups, newest_error},
};
use serde::Serialize;

use super::{
    printed::{Printed, state},
    select::{SelectArgs, StateArg, states},
};
use crate::{
    args::{Format, filter, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, plural::count, table::Table},
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
    #[arg(long, value_name = "N", default_value = "20", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
    /// Go on after this dead letter: the `nextCursor` that a page gave.
    #[arg(long, value_name = "ID", value_parser = filter::name, conflicts_with = "by")]
    after: Option<String>,
    /// Count those that failed alike, the most frequent first.
    #[arg(long, value_name = "WHAT", value_enum)]
    by: Option<By>,
    #[command(flatten)]
    select: SelectArgs,
}

/// What dead letters are counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Their group, their type, and what the error says without its ids and numbers.
    Fingerprint,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<'a> {
    dead_letters: Vec<Printed<'a>>,
    next_cursor: Option<&'a str>,
}

pub(super) async fn run(args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut query = args.select.query(states(&args.states))?;
    query.after.clone_from(&args.after);
    let stores = cx.open(Access::Read).await?;
    check_group(&stores, query.group.as_deref()).await?;
    match args.by {
        Some(By::Fingerprint) => {
            let alike = failure_groups(&stores, query).await?;
            print_alike(alike, args.limit, cx)?;
        }
        None => list(LetterPages::new(query, Some(args.limit)), &stores, cx).await?,
    }
    stores.close().await;
    Ok(Exit::Ok)
}

async fn list(mut letters: LetterPages, stores: &StoreHandle, cx: &mut Context<'_>) -> Result<(), CliError> {
    // A list is as long as its limit says, and JSON wants its end last.
    let mut found = vec![];
    while let Some(page) = letters.page(stores).await? {
        match cx.printer.format() {
            Format::Ndjson => page.iter().try_for_each(|letter| cx.printer.json(&Printed::of(letter)))?,
            Format::Table | Format::Json => found.extend(page),
        }
    }
    let next = letters.next(stores).await?;
    match cx.printer.format() {
        Format::Ndjson => Ok(()),
        Format::Json => {
            let dead_letters = found.iter().map(Printed::of).collect();
            cx.printer.json(&List { dead_letters, next_cursor: next.as_deref() })
        }
        Format::Table => print_table(&found, next.as_deref(), cx),
    }
}

fn print_table(found: &[DeadLetter], next: Option<&str>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if found.is_empty() {
        cx.printer.say("no dead letter matches");
        return Ok(());
    }
    let mut table =
        Table::new(&["id", "group", "state", "event", "type", "attempts", "fingerprint", "error"]);
    table.right(5);
    for letter in found {
        table.row([
            letter.id.as_str(),
            &letter.group,
            state(letter.state),
            &escape::short(letter.event.id(), 40),
            &escape::short(letter.event.event_type(), 40),
            &letter.attempts.to_string(),
            &letter.fingerprint,
            &escape::short(newest_error(letter), 80),
        ]);
    }
    cx.printer.table(table)?;
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
    let mut table = Table::new(&["count", "group", "type", "fingerprint", "example", "newest error"]);
    table.right(0);
    for row in &alike {
        table.row([
            row.count.to_string().as_str(),
            &row.group,
            &row.event_type,
            &row.fingerprint,
            &row.example,
            &escape::short(&row.newest_error, 80),
        ]);
    }
    cx.printer.table(table)?;
    cx.printer.say(&format!("{} that failed in {}", count(letters, "dead letter"), count(kinds, "way")));
    Ok(())
}
