//! `init`: make an empty store.

use clap::Args;
use serde::Serialize;

use super::Context;
use crate::{
    args::Format,
    errors::CliError,
    exit::Exit,
    output::plural::count,
    settings::partitions,
    store::{Access, Stores},
};

/// Make an empty store
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay init
  event-replay init --store sqlite:events.db
  event-replay init --store redis://localhost?namespace=orders
  event-replay init --store redis://localhost --partitions 16")]
pub(crate) struct InitArgs {
    /// Divide the log by ordering key: 1, 2, 4, 8, 16, 32 or 64 partitions, for good. On Redis alone
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
    if let Some(wanted) = args.partitions {
        if wanted > 1 && !cx.settings.store.is_redis() {
            return Err(CliError::usage(format!(
                "{} has one partition: only a store on Redis is divided",
                cx.settings.store
            )));
        }
        cx.settings.redis.partitions = Some(wanted);
    }
    let created = !Stores::exists(&cx.settings).await?;
    let stores = Stores::open(&cx.settings, Access::Create).await?;
    let info = stores.events.info().await?;
    let partitions = info.head.sequences.len();
    if let Some(wanted) = args.partitions.filter(|wanted| usize::from(*wanted) != partitions) {
        stores.close().await;
        return Err(CliError::failed(format!(
            "there is a store already, and it has {}, not {wanted}: {}",
            count(partitions as u64, "partition"),
            cx.settings.store
        ))
        .hint(
            "the number of partitions never changes; make another store and copy this one with `event-replay migrate`",
        ));
    }
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
            cx.printer.line(&format!("made an empty store{divided}: {}", made.store))?;
        }
        Format::Table => cx.printer.line(&format!(
            "there is a store already: {} ({}); nothing was changed",
            made.store,
            count(made.events, "event")
        ))?,
        Format::Json | Format::Ndjson => cx.printer.json(&made)?,
    }
    stores.close().await;
    Ok(Exit::Ok)
}
