//! `checkpoint`: marks a position in the log.

use clap::Args;
use event_replay::{Access, app};
use replay::NewCheckpoint;
use serde_json::{Map, Value, error::Category};

use super::checkpoints;
use crate::{
    args::{Format, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::plural::grouped,
};

/// Mark a position in the log, to recover from later
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay checkpoint \"pre-migration-v2\" \"event-456789\" \\
      --metadata '{\"version\": \"2.0.0\", \"reason\": \"pre-migration\"}'
  event-replay checkpoint nightly --replace

The mark is the place of the last event that was processed: `recover` replays what comes after it.")]
pub(crate) struct CheckpointArgs {
    /// Its name, unique among the store's checkpoints.
    #[arg(value_name = "NAME", value_parser = filter::name)]
    name: String,
    /// The last event that was processed [default: the newest in the store].
    #[arg(value_name = "EVENT-ID", value_parser = filter::name)]
    event: Option<String>,
    /// A note: a JSON object.
    #[arg(long, value_name = "JSON", value_parser = metadata)]
    metadata: Option<Map<String, Value>>,
    /// Move the checkpoint of this name here, if there is one.
    #[arg(long)]
    replace: bool,
    /// Keep what comes after it from retention.
    #[arg(long)]
    hold: bool,
}

fn metadata(text: &str) -> Result<Map<String, Value>, String> {
    const FORM: &str = "metadata is a JSON object, such as '{\"reason\": \"migration\"}'";
    serde_json::from_str(text).map_err(|error| match error.classify() {
        Category::Data => format!("{FORM}, and this is no object"),
        Category::Eof => format!("{FORM}, and this ends too early"),
        _ => format!("{FORM}, and this is not JSON: {error}"),
    })
}

pub(crate) async fn run(args: CheckpointArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let new = NewCheckpoint {
        name: args.name,
        last_processed_event_id: args.event,
        metadata: args.metadata.unwrap_or_default(),
        replace: args.replace,
        hold: args.hold,
    };
    let made = app::checkpoints::create(&stores, &cx.actor, new).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&made)?,
        Format::Table => {
            cx.printer.line(&format!(
                "checkpoint {} marks event {}; events at or before it: {}",
                made.name,
                made.last_processed_event_id,
                grouped(made.event_count)
            ))?;
            checkpoints::print_one(&made, cx)?;
        }
    }
    Ok(Exit::Ok)
}
