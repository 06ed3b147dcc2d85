//! `dead-letters show`: single dead letters, in full.

use clap::Args;
use domain::{DeadLetter, DeadLetterState};
use event_replay::Access;
use serde::Serialize;

use super::printed::{Printed, state};
use crate::{
    args::{Format, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, pretty::pretty, table::Table},
};

/// Show single dead letters in full, with their event and their history
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters show 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e
  event-replay dead-letters show 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e --output json")]
pub(crate) struct ShowArgs {
    /// Ids of dead letters, as `dead-letters list` shows them.
    #[arg(value_name = "ID", required = true, value_parser = filter::name)]
    ids: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Letters<'a> {
    dead_letters: Vec<Printed<'a>>,
}

pub(super) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let found = stores.dead_letters_by_id(&args.ids).await?;
    let groups = stores.groups().await?;
    stores.close().await;
    let printed: Vec<Printed<'_>> = found.iter().map(Printed::of).collect();
    match cx.printer.format() {
        Format::Json => cx.printer.json(&Letters { dead_letters: printed })?,
        Format::Ndjson => printed.iter().try_for_each(|letter| cx.printer.json(letter))?,
        Format::Table => {
            for letter in &found {
                let has_group = groups.iter().any(|group| group.spec.name == letter.group);
                print(letter, has_group, cx)?;
            }
        }
    }
    cx.printer.flush()?;
    unknown(&args.ids, &found)
}

/// Ids of which there is no letter.
pub(super) fn unknown(ids: &[String], found: &[DeadLetter]) -> Result<Exit, CliError> {
    let missing: Vec<String> = ids
        .iter()
        .filter(|id| !found.iter().any(|letter| letter.id == **id))
        .map(|id| format!("{:?}", escape::line(id)))
        .collect();
    match missing.is_empty() {
        true => Ok(Exit::Ok),
        false => Err(CliError::failed(format!("no dead letter has the id {}", missing.join(" or ")))
            .hint("`event-replay dead-letters list --state all` shows them; closed ones go after a month")),
    }
}

fn print(letter: &DeadLetter, has_group: bool, cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::pairs();
    table.row(["dead letter", &letter.id]);
    table.row(["group", &letter.group]);
    table.row(["state", state(letter.state)]);
    if let Some(reason) = &letter.reason {
        table.row(["reason", reason]);
    }
    table.row(["event", letter.event.id()]);
    table.row(["type", letter.event.event_type()]);
    table.row(["position", &letter.position.to_string()]);
    table.row(["attempts", &letter.attempts.to_string()]);
    table.row(["fingerprint", &letter.fingerprint]);
    if let Some(replay) = &letter.replay_id {
        table.row(["replay", replay]);
    }
    if letter.parked {
        table.row(["parked", "later events of its key wait behind it"]);
    }
    table.row(["made", &letter.created_at.to_string()]);
    table.row(["changed", &letter.updated_at.to_string()]);
    cx.printer.table(table)?;
    cx.printer.raw(b"\n")?;
    let mut history = Table::new(&["failed at", "error"]);
    for failure in &letter.history {
        let mut at = failure.at.to_string();
        for error in &failure.errors {
            // Causes follow below their error, under no time of their own.
            history.row([std::mem::take(&mut at).as_str(), error]);
        }
    }
    cx.printer.table(history)?;
    cx.printer.raw(b"\n")?;
    let mut text = Vec::new();
    targets::write_event(&letter.event, &mut text);
    cx.printer.raw(pretty(&String::from_utf8_lossy(&text), 0).as_bytes())?;
    cx.printer.raw(b"\n")?;
    cx.printer.say(&next(letter, has_group));
    Ok(())
}

/// What to do next.
fn next(letter: &DeadLetter, has_group: bool) -> String {
    let (id, group) = (&letter.id, &letter.group);
    match letter.state {
        DeadLetterState::Open if !has_group => format!(
            "group {group} was deleted, so nobody can handle it: make the group again, or close it with \
             `event-replay dead-letters discard {id} --reason TEXT`"
        ),
        DeadLetterState::Open => format!(
            "next: mend what failed, then `event-replay dead-letters redrive {id}`; all that failed alike: \
             `redrive --fingerprint {}`; if it is not to be handled: `discard {id} --reason TEXT`",
            letter.fingerprint
        ),
        DeadLetterState::Redriving => format!(
            "it is on its way to group {group} again; `event-replay groups show {group}` says whether a \
             consumer is alive"
        ),
        DeadLetterState::Handled => "a redrive was handled: nothing is left to do".to_owned(),
        DeadLetterState::Discarded => {
            "it was closed unhandled; `event-replay replay --event-id …` can still send its event".to_owned()
        }
    }
}
