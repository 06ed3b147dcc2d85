//! `dead-letters show`: prints single dead letters in full.

use clap::Args;
use domain::{DeadLetter, DeadLetterState};
use event_replay::{
    Access,
    app::{
        dead_letters::whole_ids,
        documents::{DeadLetterDocument, DeadLetterList},
    },
};

use super::printed::state_cell;
use crate::{
    args::{Format, filter, time},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        pretty::pretty,
        table::{Cell, Table, fixed, wrapped},
    },
};

/// Show single dead letters in full, with their event and their history
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters show 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e
  event-replay dead-letters show 0198f2c4-7a10-7e22-9c5d-3f1b2a4c5d6e --output json")]
pub(crate) struct ShowArgs {
    /// Ids of dead letters, or unique prefixes of them.
    #[arg(value_name = "ID", required = true, value_parser = filter::name, add = complete::dead_letters())]
    ids: Vec<String>,
}

pub(super) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let ids = whole_ids(&stores, &args.ids).await?;
    let found = stores.dead_letters_by_id(&ids).await?;
    let groups = stores.groups().await?;
    stores.close().await;
    let printed: Vec<DeadLetterDocument<'_>> = found.iter().map(DeadLetterDocument::of).collect();
    match cx.printer.format() {
        Format::Json => cx.printer.json(&DeadLetterList { dead_letters: printed })?,
        Format::Ndjson => printed.iter().try_for_each(|letter| cx.printer.json(letter))?,
        Format::Table => {
            for letter in &found {
                let has_group = groups.iter().any(|group| group.spec.name == letter.group);
                print(letter, has_group, cx)?;
            }
        }
    }
    cx.printer.flush()?;
    unknown(&ids, &found)
}

/// Returns an error that names the ids without a dead letter, if there are any.
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
    table.row([Cell::new("state"), state_cell(letter.state)]);
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
    if let Some(edit) = &letter.edit {
        let reason = edit
            .reason
            .as_deref()
            .map_or_else(String::new, |reason| format!(": {}", escape::short(reason, 200)));
        let at = time::to_milliseconds(edit.at);
        table.row([
            "edited",
            &format!(
                "{at} by {}{reason}; a redrive sends the second event below",
                escape::short(&edit.by, 60)
            ),
        ]);
    }
    if letter.parked {
        table.row(["parked", "later events of its key wait"]);
    }
    table.row(["made", &time::to_milliseconds(letter.created_at)]);
    table.row(["changed", &time::to_milliseconds(letter.updated_at)]);
    cx.printer.table(&table)?;
    cx.printer.raw(b"\n")?;
    let mut history = Table::new([fixed("failed at"), wrapped("error")]);
    for failure in &letter.history {
        let mut at = time::to_milliseconds(failure.at);
        for error in &failure.errors {
            // Causes follow below their error. Their rows have no time.
            history.row([std::mem::take(&mut at).as_str(), error]);
        }
    }
    cx.printer.table(&history)?;
    cx.printer.raw(b"\n")?;
    let mut text = Vec::new();
    targets::write_event(&letter.event, &mut text);
    cx.printer.raw(pretty(&String::from_utf8_lossy(&text), 0).as_bytes())?;
    cx.printer.raw(b"\n")?;
    if let Some(edit) = &letter.edit {
        let mut text = Vec::new();
        targets::write_event(&edit.event, &mut text);
        cx.printer.raw(b"\n")?;
        cx.printer.raw(pretty(&String::from_utf8_lossy(&text), 0).as_bytes())?;
        cx.printer.raw(b"\n")?;
    }
    cx.printer.say(&next(letter, has_group));
    Ok(())
}

/// Returns advice on the next action.
fn next(letter: &DeadLetter, has_group: bool) -> String {
    let (id, group) = (&letter.id, &letter.group);
    match letter.state {
        DeadLetterState::Open if !has_group => format!(
            "group {group} was deleted: create the group again, or close it with \
             `event-replay dead-letters discard {id} --reason TEXT`"
        ),
        DeadLetterState::Open => format!(
            "next: fix the cause, then `event-replay dead-letters redrive {id}`; all with the same cause: \
             `redrive --fingerprint {}`; if it needs no handling: `discard {id} --reason TEXT`",
            letter.fingerprint
        ),
        DeadLetterState::Redriving => format!(
            "it was sent to group {group} again; `event-replay groups show {group}` shows whether the \
             group has consumers"
        ),
        DeadLetterState::Handled => "it was handled after a redrive: nothing is left to do".to_owned(),
        DeadLetterState::Discarded => {
            "it was closed without handling; `event-replay replay --event-id …` can still send its event"
                .to_owned()
        }
    }
}
