//! `replays pace`: another pace for a replay that runs.

use std::time::Duration;

use clap::Args;
use event_replay::{
    Access,
    app::{
        replay::{PaceRequest, Receiver},
        replays,
    },
};

use crate::{
    args::{Format, filter, number},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Change the pace of a replay while it runs
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay replays pace 0198f2 --rate 200
  event-replay replays pace 0198f2 --delay 0

The process that runs the replay takes the new pace within a second. A paused replay takes it
when it is resumed.")]
#[command(group = clap::ArgGroup::new("pace").required(true).args(["rate", "delay"]))]
pub(crate) struct PaceArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::replays())]
    replay: String,
    /// At most this many events a second.
    #[arg(long, value_name = "EVENTS", value_parser = number::rate, allow_hyphen_values = true)]
    rate: Option<f64>,
    /// Pause between batches, in milliseconds or with a unit: 500, 2s, 0 for none.
    #[arg(long, value_name = "TIME", value_parser = number::delay, allow_hyphen_values = true)]
    delay: Option<Duration>,
}

pub(super) async fn run(args: PaceArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let request = PaceRequest { delay: args.delay, rate: args.rate, batch_size: None };
    let (pace, _) = request.resolve(Receiver::Service);
    let stores = cx.open(Access::Write).await?;
    let replay = replays::set_pace(&stores, &cx.actor, &args.replay, pace).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&replay)?,
        Format::Table => cx.printer.line(&format!("replay {} has a new pace: {}", replay.id, replay.pace))?,
    }
    Ok(Exit::Ok)
}
