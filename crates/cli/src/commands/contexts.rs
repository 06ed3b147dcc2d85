//! `context`: manages names of stores. One of them is in use.

use clap::{Args, Subcommand};
use event_replay::Contexts;
use serde::Serialize;

use crate::{
    args::Format,
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        style::Tone,
        table::{Cell, Table, fixed, text},
    },
};

/// Switch between stores by name
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// Give a store a name
    Add(AddArgs),
    /// Use the store of this name from now on
    Use(UseArgs),
    /// Show all contexts and which one is in use
    List(ListArgs),
    /// Forget a name; the store stays
    Remove(RemoveArgs),
    /// Use the context that was in use before
    #[command(name = "-")]
    Previous(PreviousArgs),
}

/// Give a store a name
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay context add prod redis://events.internal
  event-replay context add local sqlite:events.db

A password is refused: set REDIS_PASSWORD, or redis.password_file in the settings file.")]
pub(crate) struct AddArgs {
    /// Its name.
    #[arg(value_name = "NAME")]
    name: String,
    /// The address of the store, as --store takes it.
    #[arg(value_name = "STORE")]
    address: String,
}

/// Use the store of this name from now on
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay context use prod
  event-replay context use -

--store, --context and EVENT_REPLAY_STORE win over the context in use.")]
pub(crate) struct UseArgs {
    /// Its name; `-` is the context before.
    #[arg(value_name = "NAME", allow_hyphen_values = true, add = complete::contexts())]
    name: String,
}

/// Show all contexts and which one is in use
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay context list
  event-replay context list --output json")]
pub(crate) struct ListArgs {}

/// Forget a name; the store stays
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay context remove local")]
pub(crate) struct RemoveArgs {
    /// Its name.
    #[arg(value_name = "NAME", add = complete::contexts())]
    name: String,
}

/// Use the context that was in use before
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay context -")]
pub(crate) struct PreviousArgs {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Row<'a> {
    name: &'a str,
    store: &'a str,
    current: bool,
}

pub(crate) fn run(command: &ContextCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut contexts = Contexts::load()?;
    match command {
        ContextCommand::Add(AddArgs { name, address }) => {
            let here = std::env::current_dir()
                .map_err(|error| CliError::failed(format!("the working folder cannot be read: {error}")))?;
            contexts.add(name, address, &here)?;
            contexts.save()?;
            let store = &contexts.get(name)?.store;
            done(
                cx,
                name,
                store,
                contexts.current.as_ref() == Some(name),
                &format!("added context {name}: {store}"),
            )?;
        }
        ContextCommand::Use(UseArgs { name }) => switch(&mut contexts, name, cx)?,
        ContextCommand::Previous(PreviousArgs {}) => switch(&mut contexts, "-", cx)?,
        ContextCommand::Remove(RemoveArgs { name }) => {
            let store = contexts.get(name)?.store.clone();
            contexts.remove(name)?;
            contexts.save()?;
            done(cx, name, &store, false, &format!("removed context {name}"))?;
        }
        ContextCommand::List(ListArgs {}) => list(&contexts, cx)?,
    }
    Ok(Exit::Ok)
}

fn switch(contexts: &mut Contexts, name: &str, cx: &mut Context<'_>) -> Result<(), CliError> {
    let name = contexts.switch(name)?;
    contexts.save()?;
    let store = &contexts.get(&name)?.store;
    done(cx, &name, store, true, &format!("using context {name}: {store}"))?;
    let overriding = ["EVENT_REPLAY_STORE", "REDIS_URL", "REDIS_HOST", "REDIS_PORT"]
        .into_iter()
        .find(|variable| std::env::var_os(variable).is_some_and(|value| !value.is_empty()));
    if let Some(variable) = overriding {
        cx.printer.warn(&format!("{variable} is set and wins over the context"));
    }
    Ok(())
}

fn done(
    cx: &mut Context<'_>,
    name: &str,
    store: &str,
    current: bool,
    sentence: &str,
) -> Result<(), CliError> {
    match cx.printer.format() {
        Format::Table => cx.printer.line(sentence),
        Format::Json | Format::Ndjson => cx.printer.json(&Row { name, store, current }),
    }
}

fn list(contexts: &Contexts, cx: &mut Context<'_>) -> Result<(), CliError> {
    let is_current = |name: &String| contexts.current.as_ref() == Some(name);
    if cx.printer.format() != Format::Table {
        let rows: Vec<Row<'_>> = contexts
            .contexts
            .iter()
            .map(|(name, named)| Row { name, store: &named.store, current: is_current(name) })
            .collect();
        return cx.printer.json_rows(&rows);
    }
    if contexts.contexts.is_empty() {
        cx.printer.say("there are no contexts; `event-replay context add NAME STORE` adds one");
        return Ok(());
    }
    let mut table = Table::new([fixed("name"), text("store"), fixed("in use")]);
    for (name, named) in &contexts.contexts {
        let used = if is_current(name) { Cell::state("yes", Tone::Good) } else { Cell::new("") };
        table.row([Cell::new(name), Cell::new(&named.store), used]);
    }
    cx.printer.table(&table)
}
