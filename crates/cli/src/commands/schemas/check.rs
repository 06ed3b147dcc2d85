//! `schemas check`: validates the stored events of a type with a new schema.

use clap::Args;
use domain::{Filter, TypePattern, ports::Order};
use event_replay::{Access, app::schemas::SchemaTrial};

use super::add::SchemaArgs;
use crate::{
    args::Format,
    commands::walk::Walk,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::count,
        table::{Table, fixed, text},
    },
};

/// Check stored events against a schema file, and add nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay schemas check user.registered v2.json
  event-replay schemas check github.push hooks.json --pointer /definitions/push --data --output json

Exits 3 if a stored event of the type would be refused.")]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    schema: SchemaArgs,
}

pub(super) async fn run(args: CheckArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let (record, registry) = args.schema.record(cx)?;
    let upcasters = cx.settings.upcasters.load()?;
    let stores = cx.open(Access::Read).await?;
    let filter = Filter { types: vec![TypePattern::new(&record.event_type)], ..Filter::default() };
    let head = stores.head().await?;
    let mut walk = Walk::new(stores.ports().clone(), filter, Order::OldestFirst, None).until(Some(head));
    let mut report = SchemaTrial::new(&record.event_type);
    let bar = cx.printer.bar("checking", None);
    while let Some(page) = walk.page(cx.printer).await? {
        for stored in &page.events {
            report.look(&registry, &*upcasters, stored);
        }
        bar.at(report.checked);
    }
    bar.clear();
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&report)?,
        Format::Table => print(&report, cx)?,
    }
    Ok(if report.invalid > 0 || walk.corrupt() > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

fn print(report: &SchemaTrial, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.printer.line(&format!(
        "checked {} of type {}: {} valid, {} would be refused",
        count(report.checked, "stored event"),
        report.event_type,
        report.valid,
        report.invalid
    ))?;
    if report.examples.is_empty() {
        return Ok(());
    }
    let mut table =
        Table::new([fixed("position"), text("event"), text("where"), fixed("rule"), text("what")]);
    for example in &report.examples {
        for violation in &example.violations {
            let pointer = if violation.pointer.is_empty() { "-" } else { &violation.pointer };
            table.row([&example.position, &example.event_id, pointer, &violation.rule, &violation.message]);
        }
    }
    cx.printer.table(&table)
}
