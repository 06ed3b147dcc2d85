//! `groups pause` and `groups resume`: stop and restart the deliveries of a group.

use std::time::Duration;

use clap::Args;
use domain::time::later;
use event_replay::{
    Access,
    app::{
        clock,
        documents::{GroupPausedDocument, GroupResumedDocument},
        groups,
    },
};

use crate::{
    args::{Format, group, number, time},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{escape, plural::count},
};

/// Pause a group: its consumers deliver nothing until it is resumed
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups pause mail --reason 'the mail server is being replaced'
  event-replay groups pause mail --for 30m

Every consumer of the group stops within a second. Deliveries in flight are finished. The group
keeps its place, its retries and its replays, and its consumers keep their segments.")]
pub(crate) struct PauseArgs {
    /// The group.
    #[arg(value_name = "NAME", value_parser = group::name, add = complete::groups())]
    name: String,
    /// Resume by itself after this time: 90s, 30m, 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = number::duration)]
    time: Option<Duration>,
}

/// Resume a paused group
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups resume mail

Its consumers continue within a second. A pause of a circuit breaker ends too; the breaker opens
again if deliveries still fail.")]
pub(crate) struct ResumeArgs {
    /// The group.
    #[arg(value_name = "NAME", value_parser = group::name, add = complete::groups())]
    name: String,
}

pub(super) async fn pause(args: PauseArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let until = args.time.map(|time| later(clock().now(), time));
    let pause = groups::pause(&stores, &cx.actor, &args.name, until).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => {
            cx.printer.json(&GroupPausedDocument { name: &args.name, pause: &pause })?;
        }
        Format::Table => {
            let end = pause.until.map_or_else(
                || "until `event-replay groups resume`".to_owned(),
                |until| format!("until {}", time::to_milliseconds(until)),
            );
            cx.printer.line(&format!("paused group {} {end}", escape::line(&args.name)))?;
        }
    }
    Ok(Exit::Ok)
}

pub(super) async fn resume(args: ResumeArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let pauses = groups::resume(&stores, &cx.actor, &args.name).await?;
    stores.close().await;
    let name = escape::line(&args.name);
    match cx.printer.format() {
        Format::Json | Format::Ndjson => {
            cx.printer.json(&GroupResumedDocument { name: &args.name, pauses })?;
        }
        Format::Table if pauses == 0 => cx.printer.line(&format!("group {name} was not paused"))?,
        Format::Table => {
            cx.printer.line(&format!("resumed group {name} ({} ended)", count(pauses, "pause")))?;
        }
    }
    Ok(Exit::Ok)
}
