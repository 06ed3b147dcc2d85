//! `dead-letters list`: one by one, or by what they have in common.

use std::collections::BTreeMap;

use clap::{Args, ValueEnum};
use domain::DeadLetter;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    printed::{Printed, newest_error, state},
    select::{Letters, SelectArgs, StateArg, states},
};
use crate::{
    args::{Format, filter, number},
    commands::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, plural::count, table::Table},
    store::{Access, Stores},
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

/// Dead letters of a group that failed alike.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alike {
    fingerprint: String,
    group: String,
    event_type: String,
    count: u64,
    newest_error: String,
    newest_at: Timestamp,
    example: String,
}

pub(super) async fn run(args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut query = args.select.query(states(&args.states))?;
    query.after.clone_from(&args.after);
    let stores = Stores::open(&cx.settings, Access::Read).await?;
    match args.by {
        Some(By::Fingerprint) => {
            let alike = alike(Letters::new(query, None), &stores).await?;
            print_alike(alike, args.limit, cx)?;
        }
        None => list(Letters::new(query, Some(args.limit)), &stores, cx).await?,
    }
    stores.close().await;
    Ok(Exit::Ok)
}

async fn list(mut letters: Letters, stores: &Stores, cx: &mut Context<'_>) -> Result<(), CliError> {
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

/// Memory is bounded by how many ways to fail there are, not by how many letters.
async fn alike(mut letters: Letters, stores: &Stores) -> Result<Vec<Alike>, CliError> {
    let mut found: BTreeMap<(String, String), Alike> = BTreeMap::new();
    while let Some(page) = letters.page(stores).await? {
        for letter in page {
            let newest_at = letter.last_failure().map_or(letter.updated_at, |failure| failure.at);
            let key = (letter.group.clone(), letter.fingerprint.clone());
            let entry = found.entry(key).or_insert_with(|| Alike {
                fingerprint: letter.fingerprint.clone(),
                group: letter.group.clone(),
                event_type: letter.event.event_type().to_owned(),
                count: 0,
                newest_error: String::new(),
                newest_at: Timestamp::MIN,
                example: letter.id.clone(),
            });
            entry.count += 1;
            if newest_at >= entry.newest_at {
                entry.newest_at = newest_at;
                entry.newest_error = newest_error(&letter).to_owned();
                entry.example = letter.id;
            }
        }
    }
    let mut all: Vec<Alike> = found.into_values().collect();
    // Stable: those of equal count stay in the order of group and fingerprint.
    all.sort_by_key(|alike| std::cmp::Reverse(alike.count));
    Ok(all)
}

fn print_alike(mut alike: Vec<Alike>, limit: u64, cx: &mut Context<'_>) -> Result<(), CliError> {
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
