//! Creates and prints the plan of a replay.

use domain::Filter;
use event_replay::{
    StoreHandle,
    app::{
        missed::Missed,
        replay::ReplaySelection,
        replay_request::{PlannedReplay, PlannedSelection},
    },
};
use replay::{Plan, PlanUpcasts, ReplayManager};

use super::{counts::print_counts, run_args::RunArgs};
use crate::{
    args::{Format, time},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        plural::{self, count, size},
        table::{Cell, Table, number, text},
    },
};

/// Creates the plan. Warns about damaged events, which the plan omits.
pub(super) async fn plan(
    stores: &StoreHandle,
    manager: &ReplayManager,
    selection: ReplaySelection,
    args: &RunArgs,
    cx: &Context<'_>,
) -> Result<PlannedReplay, CliError> {
    say_range(selection.filter(), cx);
    let bar = cx.printer.bar("planning", Some(0));
    let progress = Some(bar.callback());
    let selected = PlannedSelection { selection, limit: args.limit, mark: None };
    let planned = selected.plan(stores, manager, args.checks_schemas(), progress).await?;
    bar.clear();
    if let Some(missed) = &planned.missed {
        say_missed(missed, cx);
    }
    let plan = &planned.plan;
    if plan.corrupt > 0 {
        cx.printer.warn(&format!(
            "{} not in the plan; `event-replay verify` says what is damaged",
            plural::of(
                plan.corrupt,
                "damaged event cannot be read and is",
                "damaged events cannot be read and are"
            )
        ));
    }
    Ok(planned)
}

/// Prints the events that the group missed, by cause.
fn say_missed(missed: &Missed, cx: &Context<'_>) {
    let group = escape::line(&missed.group);
    let parts: Vec<String> = missed.parts.iter().map(|part| part.describe()).collect();
    cx.printer.say(&match parts.is_empty() {
        true => format!("group {group} missed no stored event that is known"),
        false => format!("group {group} missed: {}", escape::line(&parts.join(", "))),
    });
    if !missed.gaps.is_empty() {
        cx.printer.warn(&format!(
            "retention removed events before group {group} had passed them; no replay can send them \
             (`event-replay groups show {group}` lists the gaps)"
        ));
    }
}

/// Prints the time range of the filter. Relative times such as `2h` are resolved when the flags are parsed.
fn say_range(filter: &Filter, cx: &Context<'_>) {
    let range = match (filter.from, filter.to) {
        (Some(from), Some(to)) => format!("events from {from} to {to}, both included"),
        (Some(from), None) => format!("events from {from} on"),
        (None, Some(to)) => format!("events up to and with {to}"),
        (None, None) => return,
    };
    cx.printer.say(&range);
}

/// Describes how many events of a plan the current schemas would refuse.
fn schema_words(plan: &Plan) -> String {
    match (plan.invalid, plan.without_schema) {
        (0, 0) => "all valid today".to_owned(),
        (invalid, 0) => format!("{invalid} would be refused today"),
        (0, without) => format!("{without} of types without a schema today, the rest valid"),
        (invalid, without) => {
            format!("{invalid} would be refused today, {without} of types without a schema")
        }
    }
}

/// Describes how many events of a plan are upcast before their delivery.
fn upcast_words(upcasts: &PlanUpcasts) -> String {
    match (count(upcasts.events, "event"), upcasts.failed) {
        (events, 0) => format!("{events} to a later version"),
        (events, failed) => format!("{events} to a later version, of which {failed} will fail"),
    }
}

/// Prints the plan in the output format.
pub(super) fn print_plan(planned: &PlannedReplay, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let plan = &planned.plan;
    if cx.printer.format() != Format::Table {
        cx.printer.json(&planned.document())?;
        return Ok(exit_of_plan(plan));
    }
    print_counted(plan, cx)?;
    Ok(exit_of_plan(plan))
}

/// Prints the counts of the plan as tables.
pub(in crate::commands) fn print_counted(plan: &Plan, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.printer.line(&format!(
        "would replay {} ({})",
        count(plan.total_events, "event"),
        size(plan.total_bytes)
    ))?;
    let mut table = Table::pairs();
    let mut part = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.row([name, &value]);
        }
    };
    part("oldest", plan.oldest.map(time::to_milliseconds));
    part("newest", plan.newest.map(time::to_milliseconds));
    part("plan", Some(plan.plan_hash.clone()));
    if plan.schemas_checked {
        part("schema", Some(schema_words(plan)));
    }
    part("upcast", (!plan.upcasts.is_none()).then(|| upcast_words(&plan.upcasts)));
    cx.printer.table(&table)?;
    for (name, counts) in [
        ("type", &plan.by_type),
        ("source", &plan.by_source),
        ("entity kind", &plan.by_entity_kind),
        ("day (utc)", &plan.by_day),
    ] {
        print_counts(name, counts, cx)?;
    }
    print_upcasts(&plan.upcasts, cx)
}

/// Prints the upcast events by type and version, and the first failures. Prints nothing if no event is upcast.
fn print_upcasts(upcasts: &PlanUpcasts, cx: &mut Context<'_>) -> Result<(), CliError> {
    if upcasts.is_none() {
        return Ok(());
    }
    let mut table =
        Table::new([text("upcast"), text("from"), text("to"), number("events"), number("failing")]);
    for count in &upcasts.by_version {
        table.row([
            Cell::new(escape::short(&count.event_type, 60)),
            Cell::new(escape::short(&count.from, 30)),
            Cell::new(escape::short(&count.to, 30)),
            Cell::count(count.events),
            Cell::count(count.failed),
        ]);
    }
    cx.printer.raw(b"\n")?;
    cx.printer.table(&table)?;
    for failure in &upcasts.failures {
        cx.printer.warn(&escape::line(&failure.error));
    }
    Ok(())
}

/// Returns the exit code of a plan. As in all commands, damaged events do not stop the command and change its exit
/// code.
pub(in crate::commands) fn exit_of_plan(plan: &Plan) -> Exit {
    if plan.corrupt > 0 { Exit::DoneWithFailures } else { Exit::Ok }
}
