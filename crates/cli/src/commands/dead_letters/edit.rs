//! `dead-letters edit`: replaces the event that a redrive sends for a dead letter.

use std::{
    ffi::OsString,
    io::{IsTerminal as _, Read as _, Write as _},
    path::{Path, PathBuf},
};

use clap::Args;
use event_replay::{
    Access,
    app::{
        dead_letters,
        documents::{BulkEditDocument, EditedDocument},
        letter_edits::{self, BulkChange, EditChange},
    },
};
use replay::redrive::Letters;
use similar::{ChangeTag, TextDiff};

use super::select::ChosenArgs;
use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        plural::{count, grouped},
        pretty::pretty,
        table::{Cell, Table, fixed, text},
    },
};

/// Bytes that are read from a patch at most.
const LONGEST: u64 = 16 * 1024 * 1024;

/// Edit the event that a redrive sends
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters edit 0198f2c4 --patch fix.json --reason 'wrong currency'
  event-replay dead-letters edit 0198f2c4 --patch - --dry-run < fix.json
  event-replay dead-letters edit 0198f2c4
  event-replay dead-letters edit 0198f2c4 --undo
  event-replay dead-letters edit --fingerprint 1f0c9a2b3d4e --patch fix.json --dry-run

A patch is a JSON Patch (RFC 6902): [{\"op\":\"replace\",\"path\":\"/data/currency\",\"value\":\"EUR\"}].
Without one, $VISUAL or $EDITOR opens the event. The edited event is validated. Its id, type,
correlation id and entities cannot be changed. The log and the dead letter keep the original.
`dead-letters redrive` sends the edited event.

Several ids, or flags, edit many open dead letters, each by itself. One that has the edit already
is left as it is, so an interrupted command can be repeated. Exits 3 if an edit is refused or an
id is unknown.")]
pub(crate) struct EditArgs {
    /// Apply this JSON Patch (`-`: stdin).
    #[arg(long, value_name = "FILE", conflicts_with = "undo")]
    patch: Option<PathBuf>,
    /// Remove the edit: a redrive sends the event as it was published.
    #[arg(long)]
    undo: bool,
    /// Print what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    chosen: ChosenArgs,
}

pub(super) async fn run(args: EditArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match args.chosen.letters("edit")? {
        Letters::Ids(ids) if ids.len() == 1 => edit_one(&ids[0], &args, cx).await,
        letters => edit_many(letters, &args, cx).await,
    }
}

async fn edit_many(letters: Letters, args: &EditArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let change = match (&args.patch, args.undo) {
        (_, true) => BulkChange::Undo,
        (Some(file), false) => BulkChange::Patch(read(file)?),
        (None, false) => {
            return Err(CliError::usage("no patch was given; an editor edits one dead letter only")
                .hint("add --patch FILE, or --undo"));
        }
    };
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = cx.open(access).await?;
    let letters = dead_letters::check_chosen(&stores, letters).await?;
    let report =
        letter_edits::edit_all(&stores, &cx.actor, &cx.settings, letters, change, args.dry_run).await?;
    stores.close().await;
    let exit = if report.refused + report.unknown > 0 { Exit::DoneWithFailures } else { Exit::Ok };
    print(&BulkEditDocument { dry_run: args.dry_run, report }, cx)?;
    Ok(exit)
}

fn print(printed: &BulkEditDocument, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(printed);
    }
    let report = &printed.report;
    let mut table = Table::new([fixed("refused"), text("error")]);
    for refused in &report.refusals {
        table.row([Cell::new(&refused.dead_letter_id), Cell::new(&refused.error)]);
    }
    if !report.refusals.is_empty() {
        cx.printer.table(&table)?;
    }
    let verb = if printed.dry_run { "would edit" } else { "edited" };
    let mut line = format!("{verb} {}", count(report.edited, "dead letter"));
    for (number, what) in [
        (report.unchanged, "unchanged"),
        (report.not_open, "not open"),
        (report.refused, "refused"),
        (report.unknown, "unknown"),
    ] {
        if number > 0 {
            line.push_str(&format!(", {} {what}", grouped(number)));
        }
    }
    cx.printer.line(&line)
}

async fn edit_one(id: &str, args: &EditArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = cx.open(access).await?;
    let change = match (&args.patch, args.undo) {
        (_, true) => EditChange::Undo,
        (Some(file), false) => EditChange::Patch(read(file)?),
        (None, false) => {
            let editor = editor()?;
            let letter = letter_edits::find(&stores, id).await?;
            let text = pretty(letter.redriven_event().json(), 0);
            EditChange::Replacement(edited(&editor, &text).await?)
        }
    };
    let edited = letter_edits::edit(&stores, &cx.actor, &cx.settings, id, change, args.dry_run).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&EditedDocument::of(&edited, args.dry_run))?,
        Format::Table => {
            let after = edited.letter.redriven_event();
            let verb = if args.dry_run { "would edit" } else { "edited" };
            cx.printer.raw(diff(edited.before.json(), after.json()).as_bytes())?;
            cx.printer.line(&format!(
                "{verb} the event {} of dead letter {}",
                escape::line(after.id()),
                edited.letter.id
            ))?;
            if !args.dry_run {
                cx.printer.say(&format!("`event-replay dead-letters redrive {}` sends it", edited.letter.id));
            }
        }
    }
    Ok(Exit::Ok)
}

fn read(file: &Path) -> Result<String, CliError> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().lock().take(LONGEST).read_to_string(&mut text),
        false => std::fs::File::open(file).and_then(|file| file.take(LONGEST).read_to_string(&mut text)),
    };
    read.map_err(|error| {
        CliError::failed(format!("--patch {}: {error}", escape::line(&file.display().to_string())))
    })?;
    Ok(text)
}

/// Returns the command of the text editor from `VISUAL` or `EDITOR`. Requires a terminal.
fn editor() -> Result<OsString, CliError> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    match set("VISUAL").or_else(|| set("EDITOR")) {
        Some(editor) if std::io::stdin().is_terminal() => Ok(editor),
        _ => Err(CliError::usage("no patch was given, and there is no terminal with $VISUAL or $EDITOR")
            .hint("add --patch FILE")),
    }
}

/// Opens a text in the editor, and returns the edited text.
async fn edited(editor: &OsString, text: &str) -> Result<String, CliError> {
    let failed = |error: std::io::Error| CliError::failed(format!("the event cannot be edited: {error}"));
    let mut file = tempfile::Builder::new().prefix("event-").suffix(".json").tempfile().map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.flush()).map_err(failed)?;
    // The variable may contain flags, which the shell splits.
    let status = tokio::process::Command::new("sh")
        .arg("-c")
        .arg(format!("{} \"$1\"", editor.to_string_lossy()))
        .arg("sh")
        .arg(file.path())
        .status()
        .await
        .map_err(failed)?;
    if !status.success() {
        return Err(CliError::failed(format!("the editor ended with {status}; nothing was changed")));
    }
    std::fs::read_to_string(file.path()).map_err(failed)
}

/// Returns the lines that differ, with three lines of context. Members are sorted, so that their order makes no
/// difference.
fn diff(before: &str, after: &str) -> String {
    let sorted = |text: &str| match serde_json::from_str::<serde_json::Value>(text) {
        Ok(value) => pretty(&value.to_string(), 0),
        Err(_) => text.to_owned(),
    };
    let (before, after) = (sorted(before), sorted(after));
    let diff = TextDiff::from_lines(&before, &after);
    let mut text = String::new();
    for group in diff.grouped_ops(3) {
        for change in group.iter().flat_map(|operation| diff.iter_changes(operation)) {
            let sign = match change.tag() {
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
                ChangeTag::Equal => ' ',
            };
            text.push(sign);
            text.push_str(&escape::line(change.value().trim_end_matches('\n')));
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diff_shows_the_members_that_differ_and_not_their_order() {
        let before = r#"{"b":1,"a":{"x":"old","y":2}}"#;
        let after = r#"{"a":{"x":"new","y":2},"b":1}"#;
        assert_eq!(
            diff(before, after),
            " {\n   \"a\": {\n-    \"x\": \"old\",\n+    \"x\": \"new\",\n     \"y\": 2\n   },\n   \"b\": 1\n"
        );
        assert_eq!(diff(before, before), "");
    }
}
