//! `show`: single events, in full.

use clap::Args;
use domain::StoredEvent;
use event_replay::Access;

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
  event-replay show event-456789 event-456790 --output ndjson")]
pub(crate) struct ShowArgs {
    /// Event ids.
    #[arg(value_name = "ID", required = true, value_parser = filter::name)]
    ids: Vec<String>,
}

pub(crate) async fn run(args: ShowArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let found = stores.get(&args.ids).await?;
    let texts = found.iter().map(text).collect::<Vec<_>>();
    match cx.printer.format() {
        Format::Table => {
            for text in &texts {
                cx.printer.raw(pretty(text, 0).as_bytes())?;
                cx.printer.raw(b"\n")?;
            }
        }
        Format::Ndjson => {
            for text in &texts {
                cx.printer.raw(text.as_bytes())?;
                cx.printer.raw(b"\n")?;
            }
        }
        Format::Json => cx.printer.raw(format!("{{\"events\":[{}]}}\n", texts.join(",")).as_bytes())?,
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

fn text(stored: &StoredEvent) -> String {
    let mut line = Vec::new();
    targets::write_stored(stored, &mut line);
    // The writer writes what it got from texts.
    String::from_utf8(line).unwrap_or_default()
}
