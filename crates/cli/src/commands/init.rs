//! `init`: creates an empty store.

use clap::Args;
use event_replay::{app::creation::create_store, partitions};
use serde::Serialize;

use crate::{args::Format, context::Context, errors::CliError, exit::Exit, output::plural::count};

/// Create an empty store
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay init
  event-replay init --store sqlite:events.db
  event-replay init --store redis://localhost?namespace=orders
  event-replay init --store redis://localhost --partitions 16")]
pub(crate) struct InitArgs {
    /// Number of partitions: 1, 2, 4, 8, 16, 32 or 64; it never changes. On Redis only
    #[arg(long, value_name = "N", value_parser = partitions)]
    partitions: Option<u16>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made {
    store: String,
    namespace: String,
    created: bool,
    events: u64,
    partitions: usize,
}

pub(crate) async fn run(args: InitArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let made = create_store(&mut cx.settings, args.partitions).await?;
    let (info, created) = (made.info, made.created);
    let partitions = info.head.sequences.len();
    let made = Made {
        store: cx.settings.store.to_string(),
        namespace: info.namespace,
        created,
        events: info.events,
        partitions,
    };
    let divided = match partitions {
        1 => String::new(),
        several => format!(" in {several} partitions"),
    };
    match cx.printer.format() {
        Format::Table if created => {
            cx.printer.line(&format!("created an empty store{divided}: {}", made.store))?;
        }
        Format::Table => cx.printer.line(&format!(
            "there is a store already: {} ({}); nothing was changed",
            made.store,
            count(made.events, "event")
        ))?,
        Format::Json | Format::Ndjson => cx.printer.json(&made)?,
    }
    Ok(Exit::Ok)
}
