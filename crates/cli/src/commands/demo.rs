//! `demo`: runs generated events, a real store, a failing service, data losses and recoveries, step by step.
//!
//! The generator counts the expected results from its own decisions, and never from the log. So the demo can fail.

mod consumer;
mod export;
mod feed;
mod next;
mod place;
mod questions;
mod service;
mod step;
mod story;
mod summary;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use event_replay::STORE_FLAG;
use generator::Settings;

use self::{place::Home, story::Story, summary::Summary};
use crate::{args::Format, context::Context, errors::CliError, exit::Exit};

/// The least number of events. Fewer events do not contain all types and all the workflows that the demo queries.
const FEWEST: u64 = 200;

/// See events validated, stored, found, delivered, lost and recovered
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay demo
  event-replay demo --events 100000 --path demo.db
  event-replay demo --break skip-one
  event-replay demo --break skip-in-group
  event-replay demo --events 1000 --export events.ndjson
  event-replay demo --store redis://localhost

The demo has a store of its own, whatever the environment names, and leaves it behind to be looked
at. On a Redis server that --store names it is a namespace of its own, which is removed again if all
went as it must. The same seed and number give the same events, byte for byte; two of a hundred
are invalid. It exits with 1 if anything is not as the generator says it must be.")]
pub(crate) struct DemoArgs {
    /// How many events to generate, valid and invalid together.
    #[arg(long, value_name = "N", default_value = "5000", value_parser = events, allow_hyphen_values = true)]
    events: u64,
    /// Where chance starts [default: 20240115].
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// The file of the demo's store: an earlier demo's is replaced, any other is refused
    /// [default: demo.db in your data folder].
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Only write the generated events, one a line, to a new file (`-`: stdout).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["path", "fault"])]
    export: Option<PathBuf>,
    /// Put a fault into the recovery, to see that it is noticed.
    #[arg(long = "break", value_name = "FAULT", value_enum)]
    fault: Option<Fault>,
}

/// Parses the number of events to generate. The maximum excludes numbers that no disk can hold.
fn events(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(number @ 1..=1_000_000_000) => Ok(number),
        _ => Err("a number of events is a whole number from 1 to 1000000000".to_owned()),
    }
}

/// A fault that the demo must notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Fault {
    /// The replay's target loses one event and says nothing.
    SkipOne,
    /// The group's service loses one replayed event and says nothing.
    SkipInGroup,
}

pub(crate) async fn run(args: DemoArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut settings = Settings::demo(args.events);
    settings.seed = args.seed.unwrap_or(settings.seed);
    let named = cx.settings.store.origin() == STORE_FLAG;
    let on_redis = named && cx.settings.store.is_redis();
    if named && (!on_redis || args.path.is_some()) {
        return Err(CliError::usage("the demo has a store of its own; nothing was done").hint(
            "leave --store out, but for a Redis server; --path FILE says where the demo's store shall be",
        ));
    }
    if let Some(file) = args.export {
        return export::run(settings, &file, cx);
    }
    if args.events < FEWEST {
        return Err(CliError::usage(format!(
            "a demo has at least {FEWEST} events, so that all types are among them"
        ))
        .hint("--export writes any number of them to a file"));
    }
    let home = match on_redis {
        true => Home::namespace(cx),
        false => Home::File(place::resolve(args.path)?),
    };
    let stores = place::fresh(&home, &settings, cx).await?;
    let summary = Summary::new(&settings, &home);
    let summary = Story::new(stores, settings, args.fault, summary, cx).tell().await?;
    if summary.ok {
        home.clear(cx).await?;
    }
    conclude(&summary, cx)
}

fn conclude(summary: &Summary, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    if cx.printer.format() != Format::Table {
        cx.printer.json(summary)?;
    }
    match summary.problems.as_slice() {
        [] => Ok(Exit::Ok),
        [problem] => Err(failed(problem, summary)),
        [problem, more @ ..] => Err(failed(&format!("{problem} (and {} more like it)", more.len()), summary)),
    }
}

fn failed(problem: &str, summary: &Summary) -> CliError {
    CliError::failed(format!("not as the generator says it must be: {problem}"))
        .hint(format!("the store is left as it is, at {}", summary.store))
}
