//! `tail`: the last events, and new ones as they come.

use std::time::Duration;

use clap::Args;
use domain::{Cursor, Filter, StoredEvent, ports::Order};
use event_replay::{Access, StoreHandle};

use super::{list::EventWriter, walk::Walk};
use crate::{
    args::{FilterArgs, Format, number},
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// How long one wait for new events lasts before the next begins.
const WAIT: Duration = Duration::from_secs(30);

/// Show the last events, and new ones as they come
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay tail
  event-replay tail -f --type 'payment.*'
  event-replay tail -f --lines 0 --output ndjson | jq .event.id")]
pub(crate) struct TailArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Go on with new events until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// How many of the last events to begin with; 0 for none.
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = lines, allow_hyphen_values = true)]
    lines: u64,
}

fn lines(text: &str) -> Result<u64, String> {
    if text == "0" {
        Ok(0)
    } else {
        number::limit(text)
            .map_err(|_| "a number of lines is a whole number from 0 to 9223372036854775807".to_owned())
    }
}

pub(crate) async fn run(args: TailArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let filter = args.filter.filter()?;
    let stores = cx.open(Access::Read).await?;
    let head = stores.head().await?;
    let (last, damaged) = last(&stores, filter.clone(), &head, args.lines, cx).await?;
    // A stream has no end at which one document could be closed.
    let format = match (args.follow, cx.printer.format()) {
        (true, Format::Json) => Format::Ndjson,
        (_, format) => format,
    };
    let mut writer = EventWriter::new(format);
    writer.page(&last, cx)?;
    if !args.follow {
        writer.finish(None, cx)?;
        stores.close().await;
        return Ok(if damaged > 0 { Exit::DoneWithFailures } else { Exit::Ok });
    }
    cx.printer.flush()?;
    tokio::select! {
        ended = follow(&stores, filter, head, &mut writer, cx) => ended?,
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Exit::Ok)
}

/// The last matching events, the oldest first, and how many were damaged.
async fn last(
    stores: &StoreHandle,
    filter: Filter,
    head: &Cursor,
    lines: u64,
    cx: &Context<'_>,
) -> Result<(Vec<StoredEvent>, u64), CliError> {
    let (mut last, mut damaged) = (vec![], 0);
    if lines > 0 {
        let mut walk = Walk::new(stores.ports().clone(), filter, Order::NewestFirst, Some(lines))
            .until(Some(head.clone()));
        while let Some(page) = walk.page(cx.printer).await? {
            last.extend(page.events);
        }
        damaged = walk.corrupt();
    }
    last.reverse();
    Ok((last, damaged))
}

async fn follow(
    stores: &StoreHandle,
    filter: Filter,
    mut seen: Cursor,
    writer: &mut EventWriter,
    cx: &mut Context<'_>,
) -> Result<(), CliError> {
    loop {
        let head = stores.changed(&seen, WAIT).await?;
        if head == seen {
            continue;
        }
        let mut walk = Walk::new(stores.ports().clone(), filter.clone(), Order::OldestFirst, None)
            .after(Some(seen))
            .until(Some(head.clone()));
        while let Some(page) = walk.page(cx.printer).await? {
            writer.page(&page.events, cx)?;
        }
        cx.printer.flush()?;
        seen = head;
    }
}
