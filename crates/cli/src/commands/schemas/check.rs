//! `schemas check`: what a schema would say of the events that are stored.

use clap::Args;
use domain::{
    Filter, StoredEvent, TypePattern, Violation,
    ports::{EventValidator, Order, Verdict},
};
use serde::Serialize;
use validation::SchemaRegistry;

use super::add::SchemaArgs;
use crate::{
    args::Format,
    commands::{Context, walk::Walk},
    errors::CliError,
    exit::Exit,
    output::{plural::count, table::Table},
    store::{Access, Stores},
};

/// Most events whose violations are kept.
const MAX_EXAMPLES: usize = 20;

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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    event_type: String,
    checked: u64,
    valid: u64,
    invalid: u64,
    examples: Vec<Example>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Example {
    event_id: String,
    position: String,
    violations: Vec<Violation>,
}

pub(super) async fn run(args: CheckArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let (record, registry) = args.schema.record(cx)?;
    let stores = Stores::open(&cx.settings, Access::Read).await?;
    let filter = Filter { types: vec![TypePattern::new(&record.event_type)], ..Filter::default() };
    let head = stores.events.head().await?;
    let mut walk = Walk::new(stores.events.clone(), filter, Order::OldestFirst, None).until(Some(head));
    let mut report =
        Report { event_type: record.event_type.clone(), checked: 0, valid: 0, invalid: 0, examples: vec![] };
    let bar = cx.printer.bar("checking", None);
    while let Some(page) = walk.page(cx.printer).await? {
        // A type that itself contains `*` is a pattern to the store.
        let own = page.events.iter().filter(|stored| stored.event.event_type() == record.event_type);
        for stored in own {
            look(&registry, stored, &mut report);
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

fn look(registry: &SchemaRegistry, stored: &StoredEvent, report: &mut Report) {
    let Ok(value) = stored.event.value() else { return };
    let violations = match registry.validate(&value) {
        // Another version of the type than the schema serves.
        Verdict::NoSchema => return,
        Verdict::Valid => vec![],
        Verdict::Invalid(violations) => violations,
    };
    report.checked += 1;
    if violations.is_empty() {
        report.valid += 1;
        return;
    }
    report.invalid += 1;
    if report.examples.len() < MAX_EXAMPLES {
        report.examples.push(Example {
            event_id: stored.event.id().to_owned(),
            position: stored.position.to_string(),
            violations,
        });
    }
}

fn print(report: &Report, cx: &mut Context<'_>) -> Result<(), CliError> {
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
    let mut table = Table::new(&["position", "event", "where", "rule", "what"]);
    for example in &report.examples {
        for violation in &example.violations {
            let pointer = if violation.pointer.is_empty() { "-" } else { &violation.pointer };
            table.row([&example.position, &example.event_id, pointer, &violation.rule, &violation.message]);
        }
    }
    cx.printer.table(table)
}
