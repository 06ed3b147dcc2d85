//! `compare`: sends events to two targets, and compares their answers.

mod printed;
mod side;

use clap::Args;
use event_replay::{
    Access,
    app::{
        compare::{self, CompareRequest, ComparedTargets, Comparison, ComparisonEnd},
        differences::IgnoredPointer,
        upcasting::upcasters,
    },
};
use replay::{Cancel, Pace};

use self::{printed::print, side::Side};
use super::signals::Interrupts;
use crate::{
    args::{BoundArgs, FilterArgs, Format, number},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::plural::count,
};

/// The largest number of differing events in a report.
const MOST_LISTED: usize = 10_000;

/// Send events to two targets, and compare their answers
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay compare exec1:./price-v1 exec1:./price-v2 --type 'payment.*'
  event-replay compare http://old.internal/events http://new.internal/events --from 2h --rate 50
  event-replay compare env:OLD_URL env:NEW_URL --all --limit 1000 --ignore /body/generatedAt
  event-replay compare exec:./handler-v1 exec:./handler-v2 --user-id user-123 --output json

Each event goes to both targets, in log order, and the next follows when both have answered. Both
targets act on the events: use instances that may. Nothing is stored, and no replay count rises.
An event is sent once. An answer is compared as {\"ok\":…,\"status\":…,\"body\":…}, where the body is
JSON if both bodies are. The body of exec: is the answer line, of exec1: the stdout. Statuses of a
command and an endpoint are not compared. Exits with 3 if any answer differs or is missing.")]
pub(crate) struct CompareArgs {
    /// The target whose answers are expected: exec:COMMAND, exec1:COMMAND, or an http:// or https:// URL.
    #[arg(value_name = "OLD")]
    old: String,
    /// The target whose answers are compared with them.
    #[arg(value_name = "NEW")]
    new: String,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    bounds: BoundArgs,
    /// Compare every event in the store.
    #[arg(long)]
    all: bool,
    /// At most this many events, the oldest matching ones.
    #[arg(short = 'n', long, value_name = "N", value_parser = number::limit, allow_hyphen_values = true)]
    limit: Option<u64>,
    /// Ignore this part of the answers, such as /body/generatedAt; a segment `*` is any member or element.
    #[arg(long = "ignore", value_name = "POINTER")]
    ignored: Vec<IgnoredPointer>,
    /// List at most this many differing events; further ones are counted.
    #[arg(long, value_name = "N", default_value = "20", value_parser = listed, allow_hyphen_values = true)]
    max_differences: usize,
    /// At most this many events a second.
    #[arg(long, value_name = "EVENTS", value_parser = number::rate, allow_hyphen_values = true)]
    rate: Option<f64>,
}

fn listed(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number <= MOST_LISTED);
    number.ok_or_else(|| format!("a number of listed events is a whole number from 0 to {MOST_LISTED}"))
}

pub(crate) async fn run(args: CompareArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let request = CompareRequest {
        filter: args.filter.filter()?,
        bounds: args.bounds.request(),
        all: args.all,
        limit: args.limit,
        ignored: args.ignored.clone(),
        most_listed: args.max_differences,
        pace: args.rate.map_or(Pace::Unpaced, Pace::Rate),
        upcaster: upcasters(&cx.settings)?,
    };
    request.check()?;
    let parsed = [Side::parse("OLD", &args.old, cx)?, Side::parse("NEW", &args.new, cx)?];
    let stores = cx.open(Access::Read).await?;
    let [old, new] = parsed;
    let (old, new) = (old.open(cx)?, new.open(cx)?);
    let mut interrupts = Interrupts::listen()?;
    let cancel = Cancel::default();
    let bar = cx.printer.bar("comparing", None);
    let report = {
        let progress = |compared| bar.at(compared);
        let targets = ComparedTargets { old: old.target(), new: new.target() };
        let work = compare::compare(&stores, request, targets, &cancel, &progress);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                report = &mut work => break report?,
                notice = old.notice() => bar.handle().suspend(|| cx.printer.warn(&notice)),
                notice = new.notice() => bar.handle().suspend(|| cx.printer.warn(&notice)),
                () = interrupts.next() => match cancel.is_cancelled() {
                    false => {
                        cancel.cancel();
                        let said = "ending after the current event; Ctrl-C again ends at once";
                        bar.handle().suspend(|| cx.printer.say(said));
                    }
                    true => return Err(CliError::failed("ended at once; the event in flight is not compared")),
                },
            }
        }
    };
    bar.clear();
    old.close().await;
    new.close().await;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&report)?,
        Format::Table => print(&report, cx)?,
    }
    exit_of(&report, cx)
}

/// Returns the exit code of a complete comparison, or the reason for its early end.
fn exit_of(report: &Comparison, cx: &Context<'_>) -> Result<Exit, CliError> {
    let done = count(report.compared, "event");
    // The error names the target, and says how it failed.
    let unreachable = |argument: &str, error: &str| {
        CliError::failed(format!("{argument}: {error}; compared {done} before"))
            .hint("check that the target runs, then compare again; the report has the events before")
    };
    match &report.ended {
        ComparisonEnd::Completed => {}
        ComparisonEnd::Interrupted => {
            return Err(CliError::failed(format!("the comparison was interrupted after {done}"))
                .hint("the report has the events before"));
        }
        ComparisonEnd::OldUnreachable(error) => return Err(unreachable("OLD", error)),
        ComparisonEnd::NewUnreachable(error) => return Err(unreachable("NEW", error)),
    }
    if report.corrupt > 0 {
        cx.printer.warn(&format!(
            "{} could not be read and is not compared; `event-replay verify` finds all damage",
            count(report.corrupt, "event")
        ));
    }
    let is_clean = report.different == 0 && report.corrupt == 0;
    Ok(if is_clean { Exit::Ok } else { Exit::DoneWithFailures })
}
