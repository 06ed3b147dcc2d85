//! `list`: prints events, newest first by default.

use clap::{Args, ValueEnum};
use domain::{Cursor, Filter, StoredEvent, ports::Order};
use event_replay::{
    Access, StoreHandle,
    app::{
        documents::{event_page_end, event_page_separator},
        near,
    },
};
use jiff::Timestamp;

use super::walk::Walk;
use crate::{
    args::{BoundArgs, FilterArgs, Format, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::table::{Cell, Table, fixed, text},
};

/// Show events, the newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay list --limit 10
  event-replay list --type user.registered --limit 20
  event-replay list --from 2024-01-01T00:00:00Z --to 2024-01-31T23:59:59Z --limit 50
  event-replay list --where 'data.amount > 100' --output ndjson")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    /// At most this many events.
    #[arg(short = 'n', long, value_name = "N", default_value = "20", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
    /// In which order: `desc` is the newest first, by position in the log.
    #[arg(long, value_enum, default_value_t)]
    order: Direction,
    /// Continue after a page: its `nextCursor`.
    #[arg(long, value_name = "CURSOR")]
    after: Option<Cursor>,
}

/// Which end of the log comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Direction {
    /// The oldest first.
    Asc,
    /// The newest first.
    #[default]
    Desc,
}

pub(crate) async fn run(args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let filter = args.filter.filter()?;
    let suggested = filter.clone();
    let stores = cx.open(Access::Read).await?;
    let bounds = args.bounds.request().resolve(&stores).await?;
    let order = match args.order {
        Direction::Asc => Order::OldestFirst,
        Direction::Desc => Order::NewestFirst,
    };
    let walk = Walk::new(stores.ports().clone(), filter, order, Some(args.limit)).after(args.after);
    let mut walk = walk.within(&bounds);
    let mut writer = EventWriter::new(cx.printer.format());
    cx.printer.page();
    while let Some(page) = walk.page(cx.printer).await? {
        writer.page(&page.events, cx)?;
    }
    writer.finish(walk.next_cursor(), cx)?;
    if writer.is_empty() {
        suggest_types(&stores, &suggested, cx).await?;
    }
    stores.close().await;
    Ok(if walk.corrupt() > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

/// Prints similar types for a filter that selected no event, because its types may be misspelt.
pub(crate) async fn suggest_types(
    stores: &StoreHandle,
    filter: &Filter,
    cx: &Context<'_>,
) -> Result<(), CliError> {
    let types = near::types(stores, cx.settings.engine, filter).await?;
    if !types.is_empty() {
        cx.printer.say(&format!("did you mean --type {}?", types.join(" or --type ")));
    }
    Ok(())
}

/// Writes events in the output format, page by page.
pub(crate) struct EventWriter {
    format: Format,
    written: u64,
    buffer: Vec<u8>,
}

impl EventWriter {
    /// Creates a writer for a format.
    pub(crate) fn new(format: Format) -> Self {
        Self { format, written: 0, buffer: Vec::new() }
    }

    /// Returns whether no event was written yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.written == 0
    }

    /// Writes one page of events.
    pub(crate) fn page(&mut self, events: &[StoredEvent], cx: &mut Context<'_>) -> Result<(), CliError> {
        self.buffer.clear();
        match self.format {
            Format::Table => self.table(events, cx)?,
            Format::Json => {
                for stored in events {
                    self.buffer.extend_from_slice(event_page_separator(self.written == 0));
                    targets::write_stored(stored, &mut self.buffer);
                    self.written += 1;
                }
            }
            Format::Ndjson => {
                for stored in events {
                    targets::write_stored(stored, &mut self.buffer);
                    self.buffer.push(b'\n');
                    self.written += 1;
                }
            }
        }
        cx.printer.raw(&self.buffer)
    }

    /// Writes the end of the output, with the cursor of the next page.
    pub(crate) fn finish(&mut self, next: Option<&Cursor>, cx: &mut Context<'_>) -> Result<(), CliError> {
        match self.format {
            Format::Table if self.written == 0 => cx.printer.say("no event matches"),
            Format::Table => {
                if let Some(next) = next {
                    cx.printer.flush()?;
                    cx.printer.say(&format!("there may be more: --after {next}"));
                }
            }
            Format::Json => {
                cx.printer.raw(event_page_end(self.written == 0, next).as_bytes())?;
            }
            Format::Ndjson => {}
        }
        Ok(())
    }

    fn table(&mut self, events: &[StoredEvent], cx: &mut Context<'_>) -> Result<(), CliError> {
        if events.is_empty() {
            return Ok(());
        }
        let table = Table::new([
            fixed("position"),
            fixed("timestamp"),
            text("type"),
            text("id"),
            text("source").optional(1),
            text("entities").optional(2),
        ]);
        let mut table = if self.written == 0 { table } else { table.without_header() };
        for stored in events {
            table.row(cells(stored, cx.printer.now()));
        }
        self.written += events.len() as u64;
        cx.printer.table(&table)
    }
}

/// Returns the table row of an event.
fn cells(stored: &StoredEvent, now: Timestamp) -> [Cell; 6] {
    let event = &stored.event;
    let entities: Vec<String> = event.entities().map(|(kind, id)| format!("{kind}={id}")).collect();
    [
        Cell::new(stored.position.to_string()),
        Cell::time(event.timestamp(), now),
        Cell::new(event.event_type()),
        Cell::new(event.id()),
        Cell::new(event.source()),
        Cell::new(entities.join(" ")),
    ]
}
