//! `config show`: prints every setting and its origin.

use clap::{Args, Subcommand};
use event_replay::{Shown, app::frozen_settings};
use serde::Serialize;

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::table::{Table, fixed, text},
};

/// Show the settings
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Show every setting and where it came from
    Show(ShowArgs),
}

/// Show every setting and where it came from
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay config show
  event-replay config show --output json

A flag wins over the environment, the environment over event-replay.toml, and that over the default.
Settings that are frozen when a store is created are shown as the store has them, if it answers.")]
pub(crate) struct ShowArgs {}

#[derive(Serialize)]
struct Row<'a> {
    key: &'a str,
    value: Option<&'a str>,
    origin: &'a str,
}

/// Returns the settings to show. A setting that was frozen when the store was created has the value of the store. The
/// configured value does not replace it.
async fn settings(cx: &Context<'_>) -> Vec<Shown> {
    let mut shown = cx.settings.shown.clone();
    for frozen in frozen_settings(&cx.settings).await {
        let Some(setting) = shown.iter_mut().find(|setting| setting.key == frozen.key) else { continue };
        if setting.value.as_ref() == Some(&frozen.value) {
            continue;
        }
        setting.origin = match &setting.value {
            Some(value) => format!("the store, frozen when it was made; {} says {value}", setting.origin),
            None => "the store, frozen when it was made".to_owned(),
        };
        setting.value = Some(frozen.value);
    }
    shown
}

pub(crate) async fn run(command: &ConfigCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let ConfigCommand::Show(ShowArgs {}) = command;
    let shown = settings(cx).await;
    if cx.printer.format() == Format::Table {
        let mut table = Table::new([fixed("setting"), text("value"), text("from")]);
        for setting in &shown {
            table.row([&setting.key, setting.value.as_deref().unwrap_or("-"), &setting.origin]);
        }
        cx.printer.table(&table)?;
    } else {
        let rows: Vec<Row<'_>> = shown
            .iter()
            .map(|setting| Row {
                key: &setting.key,
                value: setting.value.as_deref(),
                origin: &setting.origin,
            })
            .collect();
        cx.printer.json_rows(&rows)?;
    }
    Ok(Exit::Ok)
}
