//! `export`: writes events, oldest first, one event a line.

use std::path::PathBuf;

use clap::Args;
use domain::ports::Order;
use event_replay::Access;

use super::walk::Walk;
use crate::{
    args::{BoundArgs, FilterArgs, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{new_file::NewFile, plural::count},
};

/// Write events out, the oldest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay export > events.ndjson
  event-replay export --with-meta --output-file events.ndjson
  event-replay export --type 'payment.*' --from 7d | gzip > payments.ndjson.gz

Prints events as they were published, one a line, whatever --output says; `import` takes them back.
With --with-meta each line is a stored event, which also says where and when the log took it.")]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    /// At most this many events.
    #[arg(short = 'n', long, value_name = "N", value_parser = number::limit, allow_hyphen_values = true)]
    limit: Option<u64>,
    /// Stored events: with position, time of storing and replay count.
    #[arg(long)]
    with_meta: bool,
    /// Write to this file instead of stdout. It must not exist, and is there once it is complete.
    #[arg(long, value_name = "FILE")]
    output_file: Option<PathBuf>,
}

pub(crate) async fn run(args: ExportArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let filter = args.filter.filter()?;
    let stores = cx.open(Access::Read).await?;
    // The head is frozen here, so that an export of a busy store ends.
    let head = stores.head().await?;
    let info = stores.info().await?;
    let bounds = args.bounds.request().resolve(&stores).await?;
    let everything = filter.is_everything() && bounds.is_empty() && args.limit.is_none();
    let mut file = args.output_file.map(NewFile::begin).transpose()?;
    let bar = match file.is_some() {
        true => cx.printer.bar("exporting", everything.then_some(info.events)),
        // The lines on stdout may appear on the same terminal as the bar.
        false => crate::output::bar::Bar::new(false, "", None),
    };
    let walk = Walk::new(stores.ports().clone(), filter, Order::OldestFirst, args.limit).until(Some(head));
    let mut walk = walk.within(&bounds);
    let mut lines = Vec::new();
    let mut written = 0u64;
    loop {
        let page = tokio::select! {
            biased;
            () = interrupted(&mut file) => {
                bar.clear();
                let name = file.as_ref().map(NewFile::name).unwrap_or_default();
                return Err(CliError::failed(format!(
                    "interrupted after {}; {name} was not made", count(written, "event")
                )));
            }
            page = walk.page(cx.printer) => page?,
        };
        let Some(page) = page else { break };
        lines.clear();
        for stored in &page.events {
            match args.with_meta {
                true => targets::write_stored(stored, &mut lines),
                false => targets::write_event(&stored.event, &mut lines),
            }
            lines.push(b'\n');
        }
        match &mut file {
            Some(file) => file.write(&lines)?,
            None => cx.printer.raw(&lines)?,
        }
        written += page.events.len() as u64;
        bar.at(written);
    }
    bar.clear();
    if let Some(file) = file {
        let name = file.complete()?;
        cx.printer.say(&format!("exported {} to {name}", count(written, "event")));
    }
    stores.close().await;
    Ok(if walk.corrupt() > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

/// Waits for the next interruption. An interruption needs no handling for stdout, whose reader may stop at any line.
async fn interrupted(file: &mut Option<NewFile>) {
    match file {
        Some(file) => file.interrupted().await,
        None => std::future::pending().await,
    }
}
