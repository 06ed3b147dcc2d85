//! `show`: prints single events in full.

use clap::Args;
use event_replay::{
    Access,
    app::{
        documents::{event_list, event_with_facts},
        trace,
    },
};

use crate::{
    args::{Format, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, pretty::pretty},
};

/// Show single events in full
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay show event-456789
  event-replay show event-456789 event-456790 --output ndjson

Beside an event stand its cause and what it caused, what each group has done with it, and the
replays that have it in their plan. `event-replay trace` shows a whole correlation.")]
pub(crate) struct ShowArgs {
    /// Event ids.
    #[arg(value_name = "ID", required = true, value_parser = filter::name)]
    ids: Vec<String>,
}

pub(crate) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let found = stores.get(&args.ids).await?;
    let facts = trace::facts(&stores, &found).await?;
    let texts = found.iter().zip(&facts).map(|(stored, facts)| event_with_facts(stored, facts));
    match cx.printer.format() {
        Format::Table => {
            for text in texts {
                cx.printer.raw(pretty(&String::from_utf8_lossy(&text), 0).as_bytes())?;
                cx.printer.raw(b"\n")?;
            }
        }
        Format::Ndjson => {
            for text in texts {
                cx.printer.raw(&text)?;
                cx.printer.raw(b"\n")?;
            }
        }
        Format::Json => cx.printer.raw(&event_list(&found, &facts))?,
    }
    cx.printer.flush()?;
    stores.close().await;
    let missing: Vec<String> = args
        .ids
        .iter()
        .filter(|id| !found.iter().any(|stored| stored.event.id() == **id))
        .map(|id| format!("{:?}", escape::line(id)))
        .collect();
    match missing.is_empty() {
        true => Ok(Exit::Ok),
        false => Err(CliError::failed(format!("no event has the id {}", missing.join(" or ")))
            .hint("ids are compared byte for byte; an event that was erased or trimmed is not found either")),
    }
}
