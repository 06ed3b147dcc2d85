//! What the replaying commands share: the flags of a run, the plan, the run, the report.

use std::{io::IsTerminal, sync::Arc, time::Duration};

use clap::Args;
use domain::{Filter, ports::EventValidator};
use replay::{
    Pace, Plan, PlanRequest, ReplayError, ReplayManager, ReplayOptions, ReplayProgress, ReplayReport,
    ReplayStatus,
};
use targets::NdjsonTarget;

use super::{Context, schemas};
use crate::{
    args::{Format, number},
    errors::CliError,
    exit::Exit,
    output::{
        bar::Bar,
        plural::{self, count},
        table::Table,
    },
    store::{self, Access, Stores},
};

/// Events of a batch where neither a pause nor a rate asks for small steps.
const UNPACED_BATCH: usize = 1000;

/// Flags of a run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How it runs")]
pub(crate) struct RunArgs {
    /// Where the events go: `stdout` writes each as a line with a `replay` object.
    #[arg(long, value_name = "TARGET")]
    pub(crate) target: Option<String>,
    /// Count what would be replayed, and replay nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// At most this many events, the oldest of those that match.
    #[arg(long, value_name = "N", value_parser = number::limit, allow_hyphen_values = true)]
    pub(crate) limit: Option<u64>,
    /// Events handed over, and counted, together [default: 1000 to stdout, 50 with --delay or --rate].
    #[arg(long, value_name = "N", value_parser = number::batch_size, allow_hyphen_values = true)]
    pub(crate) batch_size: Option<usize>,
    /// Pause between batches, in milliseconds or with a unit: 500, 2s [default for stdout: none].
    #[arg(long, value_name = "TIME", value_parser = number::delay, allow_hyphen_values = true)]
    pub(crate) delay: Option<Duration>,
    /// At most this many events a second.
    #[arg(long, value_name = "EVENTS", value_parser = number::rate, allow_hyphen_values = true, conflicts_with = "delay")]
    pub(crate) rate: Option<f64>,
    /// How often a batch is tried again while the target cannot be reached [default: 3, the setting retries.max].
    #[arg(long, value_name = "N", value_parser = number::retries, allow_hyphen_values = true)]
    pub(crate) max_retries: Option<u32>,
    /// With --dry-run: do not count what today's schemas would refuse, which takes most of its time.
    #[arg(long, requires = "dry_run")]
    pub(crate) no_schema_check: bool,
}

impl RunArgs {
    /// A plan that is shown says what today's schemas make of it; one that is run has no use for it.
    fn checks_schemas(&self) -> bool {
        self.dry_run && !self.no_schema_check
    }
}

/// What is replayed.
pub(crate) enum What {
    /// A slice of history.
    Slice {
        /// Which events.
        filter: Filter,
        /// Whether everything is meant.
        all: bool,
    },
    /// What came after a checkpoint.
    Recovery {
        /// Its name or id.
        checkpoint: String,
        /// Which events of it.
        filter: Filter,
        /// Whether events that retention has removed may be missing.
        allow_gap: bool,
    },
}

impl What {
    fn filter(&self) -> &Filter {
        match self {
            Self::Slice { filter, .. } | Self::Recovery { filter, .. } => filter,
        }
    }

    fn is_all(&self) -> bool {
        match self {
            Self::Slice { all, .. } => *all,
            Self::Recovery { .. } => true,
        }
    }
}

/// Plans, and runs the plan unless only the plan is wanted.
pub(crate) async fn run(what: What, args: &RunArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    if !what.is_all() && what.filter().is_everything() {
        return Err(CliError::usage("this would replay every event in the store")
            .hint("say which events (--type, --user-id, --from …), or add --all"));
    }
    if !args.dry_run {
        check_target(args.target.as_deref())?;
    }
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = Stores::open(&cx.settings, access).await?;
    let manager = manager(&stores, args, cx).await?;
    let all = what.is_all();
    let plan = plan(&manager, what, args, cx).await?;
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
    let exit = match args.dry_run {
        true => print_plan(&plan, cx),
        false => execute(&manager, &plan, all, args, cx).await,
    };
    drop(manager);
    stores.close().await;
    exit
}

fn check_target(target: Option<&str>) -> Result<(), CliError> {
    match target {
        Some("stdout") => Ok(()),
        None => Err(CliError::usage("this version replays to stdout: add --target stdout")
            .hint("--dry-run shows what would be replayed")),
        Some(other) => Err(CliError::usage(format!(
            "this version replays to stdout: there is no target {other:?}, add --target stdout"
        ))),
    }
}

/// The planner and runner over a store.
pub(crate) async fn manager(
    stores: &Stores,
    args: &RunArgs,
    cx: &Context<'_>,
) -> Result<ReplayManager, CliError> {
    let validator: Option<Arc<dyn EventValidator>> = match args.checks_schemas() {
        true => Some(Arc::new(schemas::registry(stores, cx.settings.engine).await?)),
        false => None,
    };
    let (events, replays) = (stores.events.clone(), stores.replays.clone());
    Ok(ReplayManager::new(events, replays, stores.checkpoints.clone(), validator, store::clock()))
}

async fn plan(
    manager: &ReplayManager,
    what: What,
    args: &RunArgs,
    cx: &Context<'_>,
) -> Result<Plan, CliError> {
    say_range(what.filter(), cx);
    let bar = cx.printer.bar("planning", Some(0));
    let request = |filter| PlanRequest {
        limit: args.limit,
        check_schemas: args.checks_schemas(),
        ..PlanRequest::new(filter)
    };
    let progress = Some(bar.callback());
    let plan = match what {
        What::Slice { filter, .. } => manager.plan(request(filter), progress).await?,
        What::Recovery { checkpoint, filter, allow_gap } => {
            manager.recovery_plan(&checkpoint, request(filter), allow_gap, progress).await?
        }
    };
    bar.clear();
    Ok(plan)
}

/// Words such as `2h` are resolved when they are read; what they came to is said.
fn say_range(filter: &Filter, cx: &Context<'_>) {
    let range = match (filter.from, filter.to) {
        (Some(from), Some(to)) => format!("events from {from} to {to}, both included"),
        (Some(from), None) => format!("events from {from} on"),
        (None, Some(to)) => format!("events up to and with {to}"),
        (None, None) => return,
    };
    cx.printer.say(&range);
}

/// What today's schemas make of a plan.
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

fn print_plan(plan: &Plan, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    if cx.printer.format() != Format::Table {
        cx.printer.json(&plan.dry_run())?;
        return Ok(exit_of_plan(plan));
    }
    cx.printer.line(&format!(
        "would replay {} ({})",
        count(plan.total_events, "event"),
        count(plan.total_bytes, "byte")
    ))?;
    let mut table = Table::pairs();
    let mut part = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            table.row([name, &value]);
        }
    };
    part("oldest", plan.oldest.map(|time| time.to_string()));
    part("newest", plan.newest.map(|time| time.to_string()));
    part("plan", Some(plan.plan_hash.clone()));
    if plan.schemas_checked {
        part("schema", Some(schema_words(plan)));
    }
    cx.printer.table(table)?;
    for (name, counts) in [
        ("type", &plan.by_type),
        ("source", &plan.by_source),
        ("entity kind", &plan.by_entity_kind),
        ("day (utc)", &plan.by_day),
    ] {
        print_counts(name, counts, cx)?;
    }
    Ok(exit_of_plan(plan))
}

/// As wherever damaged events are met, the rest is served and the code tells.
fn exit_of_plan(plan: &Plan) -> Exit {
    if plan.corrupt > 0 { Exit::DoneWithFailures } else { Exit::Ok }
}

/// A table of counts; none where there is nothing to count.
pub(crate) fn print_counts(
    name: &str,
    counts: &std::collections::BTreeMap<String, u64>,
    cx: &mut Context<'_>,
) -> Result<(), CliError> {
    if counts.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[name, "events"]);
    table.right(1);
    for (value, count) in counts {
        table.row([value.as_str(), &count.to_string()]);
    }
    cx.printer.raw(b"\n")?;
    cx.printer.table(table)
}

async fn execute(
    manager: &ReplayManager,
    plan: &Plan,
    all: bool,
    args: &RunArgs,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let options = options(args, all, cx);
    say_beginning(plan, &options, cx);
    let cancel = options.cancel.clone();
    let interrupted = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            cancel.cancel();
        }
    });
    // Lines on the same terminal as a bar would tear it.
    let bar = match std::io::stdout().is_terminal() {
        true => Bar::new(false, "", None),
        false => cx.printer.bar("replaying", Some(plan.total_events)),
    };
    let watcher = {
        let bar = bar.handle();
        move |progress: ReplayProgress| bar.set_position(progress.done())
    };
    let mut target = NdjsonTarget::stdout();
    let outcome = manager.run(plan, &mut target, &options, &watcher).await;
    interrupted.abort();
    bar.clear();
    match outcome {
        Ok(report) => {
            let asked = options.cancel.is_cancelled();
            if report.status == ReplayStatus::Cancelled && !asked {
                return Err(CliError::OutputClosed);
            }
            print_report(&report, cx)?;
            Ok(exit_of(&report))
        }
        Err(ReplayError::Interrupted { error, report }) => {
            print_report(&report, cx)?;
            let done = format!(
                "the replay stopped after {} of {}",
                report.done(),
                count(report.total_events, "event")
            );
            Err(CliError::from(error).during(done))
        }
        Err(error) => Err(error.into()),
    }
}

fn options(args: &RunArgs, all: bool, cx: &Context<'_>) -> ReplayOptions {
    let pace = match (args.delay, args.rate) {
        (Some(delay), _) => Pace::Delay(delay),
        (None, Some(rate)) => Pace::Rate(rate),
        (None, None) => Pace::Unpaced,
    };
    ReplayOptions {
        batch_size: args.batch_size.unwrap_or_else(|| default_batch_size(&pace)),
        pace,
        max_retries: args.max_retries.unwrap_or(cx.settings.max_retries),
        all,
        limit: args.limit,
        ..ReplayOptions::default()
    }
}

/// Every batch pays one commit for the replay counts of its events, so a run that nothing slows down takes large ones.
fn default_batch_size(pace: &Pace) -> usize {
    match pace {
        Pace::Unpaced => UNPACED_BATCH,
        Pace::Delay(_) | Pace::Rate(_) => ReplayOptions::default().batch_size,
    }
}

fn say_beginning(plan: &Plan, options: &ReplayOptions, cx: &Context<'_>) {
    let estimate = plan.estimate(options);
    let time = match estimate.is_zero() {
        true => String::new(),
        false => format!(
            ", at least {}",
            humantime::format_duration(Duration::from_secs(estimate.as_secs_f64().ceil() as u64))
        ),
    };
    cx.printer.say(&format!("replaying {} to stdout{time}", count(plan.total_events, "event")));
}

/// The report is about stdout, so it goes to stderr.
fn print_report(report: &ReplayReport, cx: &Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.say_json(report);
    }
    let status = match report.status {
        ReplayStatus::Completed => "completed",
        ReplayStatus::Cancelled => "cancelled",
        _ => "failed",
    };
    cx.printer.say(&format!(
        "{status}: {} of {} replayed, {} failed, {} skipped, in {} ms (replay {})",
        report.successful_replays,
        count(report.total_events, "event"),
        report.failed_replays,
        report.skipped_events,
        report.duration_ms,
        report.replay_id
    ));
    if report.missing > 0 || !report.gaps.is_empty() {
        cx.printer.warn(&format!(
            "{} erased or trimmed after the plan was made",
            plural::of(report.missing, "event was", "events were")
        ));
    }
    if report.uncounted > 0 {
        cx.printer.warn(&format!(
            "{} sent without raising its replay count",
            plural::of(report.uncounted, "event was", "events were")
        ));
    }
    if let Some(ended) = &report.ended {
        cx.printer.warn(&format!(
            "it ended early, {}: {ended}",
            plural::of(report.remaining, "event remains", "events remain")
        ));
    }
    if !report.errors.is_empty() {
        let mut table = Table::new(&["event", "type", "error"]);
        for error in report.errors.iter().take(20) {
            table.row([&error.event_id, &error.event_type, &error.error]);
        }
        cx.printer.say_table(table);
    }
    Ok(())
}

fn exit_of(report: &ReplayReport) -> Exit {
    match report.status {
        ReplayStatus::Completed if report.is_clean() => Exit::Ok,
        ReplayStatus::Completed => Exit::DoneWithFailures,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_large_unless_a_pace_asks_for_small_steps() {
        assert_eq!(default_batch_size(&Pace::Unpaced), 1000);
        assert_eq!(default_batch_size(&Pace::Delay(Duration::from_millis(500))), 50);
        assert_eq!(default_batch_size(&Pace::Rate(10.0)), 50);
    }
}
