//! `list`: events, the newest first.

use clap::{Args, ValueEnum};
use domain::{Cursor, StoredEvent, ports::Order};
use event_replay::Access;

use super::walk::Walk;
use crate::{
    args::{FilterArgs, Format, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::table::Table,
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
    /// At most this many events.
    #[arg(long, value_name = "N", default_value = "20", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
    /// In which order: `desc` is the newest first, by position in the log.
    #[arg(long, value_enum, default_value_t)]
    order: Direction,
    /// Go on where a page ended: the `nextCursor` it gave.
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
    let stores = cx.open(Access::Read).await?;
    let order = match args.order {
        Direction::Asc => Order::OldestFirst,
        Direction::Desc => Order::NewestFirst,
    };
    let mut walk = Walk::new(stores.ports().clone(), filter, order, Some(args.limit)).after(args.after);
    let mut writer = EventWriter::new(cx.printer.format());
    while let Some(page) = walk.page(cx.printer).await? {
        writer.page(&page.events, cx)?;
    }
    writer.finish(walk.next_cursor(), cx)?;
    stores.close().await;
    Ok(if walk.corrupt() > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

/// Writes events in the format that was asked for, page by page.
pub(crate) struct EventWriter {
    format: Format,
    written: u64,
    buffer: Vec<u8>,
}

impl EventWriter {
    /// A writer.
    pub(crate) fn new(format: Format) -> Self {
        Self { format, written: 0, buffer: Vec::new() }
    }

    /// Writes some events.
    pub(crate) fn page(&mut self, events: &[StoredEvent], cx: &mut Context<'_>) -> Result<(), CliError> {
        self.buffer.clear();
        match self.format {
            Format::Table => self.table(events, cx)?,
            Format::Json => {
                for stored in events {
                    let before: &[u8] = if self.written == 0 { b"{\"events\":[\n" } else { b",\n" };
                    self.buffer.extend_from_slice(before);
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

    /// Writes what comes after the events.
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
                let start = if self.written == 0 { "{\"events\":[" } else { "\n" };
                let cursor = next.map_or_else(|| "null".to_owned(), |next| format!("\"{next}\""));
                cx.printer.raw(format!("{start}],\"nextCursor\":{cursor}}}\n").as_bytes())?;
            }
            Format::Ndjson => {}
        }
        Ok(())
    }

    fn table(&mut self, events: &[StoredEvent], cx: &mut Context<'_>) -> Result<(), CliError> {
        if events.is_empty() {
            return Ok(());
        }
        let mut table = match self.written {
            0 => Table::new(&["position", "timestamp", "type", "id", "source", "entities"]),
            _ => Table::pairs(),
        };
        for stored in events {
            table.row(cells(stored));
        }
        self.written += events.len() as u64;
        cx.printer.table(table)
    }
}

/// An event as a row.
fn cells(stored: &StoredEvent) -> [String; 6] {
    let event = &stored.event;
    let entities: Vec<String> = event.entities().map(|(kind, id)| format!("{kind}={id}")).collect();
    [
        stored.position.to_string(),
        event.timestamp().to_string(),
        event.event_type().to_owned(),
        event.id().to_owned(),
        event.source().to_owned(),
        entities.join(" "),
    ]
}
