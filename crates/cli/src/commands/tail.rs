//! `tail`: prints the last events, and follows new ones.

use std::time::Duration;

use clap::Args;
use domain::{Cursor, Filter, ports::Order};
use event_replay::{Access, StoreHandle, app::bounds::Bounds};

use super::{
    list::{EventWriter, suggest_types},
    walk::Walk,
};
use crate::{
    args::{BoundArgs, FilterArgs, Format, number},
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// The duration of one wait for new events.
const WAIT: Duration = Duration::from_secs(30);

/// Show the last events, and follow new ones
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay tail
  event-replay tail -f --type 'payment.*'
  event-replay tail -f --lines 0 --output ndjson | jq .event.id")]
pub(crate) struct TailArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    /// Follow new events until Ctrl-C.
    #[arg(short, long)]
    follow: bool,
    /// Number of last events to show first; 0 for none.
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
    if args.follow && args.bounds.until_event.is_some() {
        return Err(CliError::usage(
            "--follow shows events that are not stored yet: leave out --until-event",
        ));
    }
    let stores = cx.open(Access::Read).await?;
    let head = stores.head().await?;
    // A stream has no end, so it cannot form one JSON document.
    let format = match (args.follow, cx.printer.format()) {
        (true, Format::Json) => Format::Ndjson,
        (_, format) => format,
    };
    let mut writer = EventWriter::new(format);
    let bounds = args.bounds.request().resolve(&stores).await?;
    let slice = Slice { filter: &filter, head: &head, bounds: &bounds };
    let damaged = last(&stores, slice, args.lines, &mut writer, cx).await?;
    if !args.follow {
        writer.finish(None, cx)?;
        if writer.is_empty() {
            suggest_types(&stores, &filter, cx).await?;
        }
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

/// The stored events from which the last are taken.
#[derive(Clone, Copy)]
struct Slice<'a> {
    filter: &'a Filter,
    head: &'a Cursor,
    bounds: &'a Bounds,
}

/// Writes the last matching events, oldest first, and returns the number of damaged events. One page is written from
/// memory. If there are more events, the first walk only finds their first position, and a second walk writes them. The
/// memory thus does not grow with the number of events.
async fn last(
    stores: &StoreHandle,
    slice: Slice<'_>,
    lines: u64,
    writer: &mut EventWriter,
    cx: &mut Context<'_>,
) -> Result<u64, CliError> {
    if lines == 0 {
        return Ok(0);
    }
    let walk = |order, limit| {
        let walk = Walk::new(stores.ports().clone(), slice.filter.clone(), order, limit);
        walk.until(Some(slice.head.clone())).within(slice.bounds)
    };
    // Only one walk warns about damaged events: the forward walk, if there is one.
    let mut back = walk(Order::NewestFirst, Some(lines)).without_warnings();
    let forth = walk(Order::OldestFirst, None);
    let mut page = back.page(cx.printer).await?.unwrap_or_default();
    if back.is_over() {
        forth.warn(&page.corrupt, cx.printer);
        page.events.reverse();
        writer.page(&page.events, cx)?;
        return Ok(back.corrupt());
    }
    drop(page);
    while back.page(cx.printer).await?.is_some() {}
    let begin = back.next_cursor().map(Cursor::before);
    let mut forth = forth.after(begin).within(slice.bounds);
    while let Some(page) = forth.page(cx.printer).await? {
        writer.page(&page.events, cx)?;
    }
    Ok(forth.corrupt())
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
