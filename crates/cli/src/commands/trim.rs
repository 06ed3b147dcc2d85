//! `trim`: removes the oldest events by retention rules.

use std::time::Duration;

use clap::Args;
use event_replay::{
    Access,
    app::retention::{self, TrimRequest},
};

use super::retaining;
use crate::{
    args::{Format, filter, number},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        confirm::{LOOK_FIRST, confirm},
        plural::{count, size},
    },
};

/// Drop old events
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay trim --max-age 90d --dry-run
  event-replay trim --max-events 1000000 --type 'lab.*' --yes
  event-replay trim --to-checkpoint before-migration --yes
  event-replay trim --yes

Without a bound, the settings' retention rules are applied. Bounds are alternatives: an event
goes when any of them says so, the oldest first. Age counts from when the store took an event,
not from the event's own timestamp. Events after a checkpoint made with --hold stay. Events
that a consumer group or a running replay has not passed stay, too, within
retention.forgotten_after and retention.max_hold. Dead letters that were closed a month ago go too.")]
pub(crate) struct TrimArgs {
    /// Drop what was stored longer ago than this: 90d, 12h.
    #[arg(long, value_name = "AGE", value_parser = number::duration, allow_hyphen_values = true)]
    max_age: Option<Duration>,
    /// Keep at most this many events, the newest.
    #[arg(long, value_name = "N", value_parser = event_count, allow_hyphen_values = true)]
    max_events: Option<u64>,
    /// Keep at most this many bytes of events, the newest: 10GB, 512MiB.
    #[arg(long, value_name = "SIZE", value_parser = number::bytes, allow_hyphen_values = true)]
    max_bytes: Option<u64>,
    /// Drop what this checkpoint covers.
    #[arg(long, value_name = "CHECKPOINT", add = complete::checkpoints())]
    to_checkpoint: Option<String>,
    /// Only events of these types (`*` stands for any characters).
    #[arg(long = "type", value_name = "TYPE", value_parser = filter::name, add = complete::types())]
    types: Vec<String>,
    /// Count what would go, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

fn event_count(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "a number of events is a whole number from 0 to 18446744073709551615".to_owned())
}

impl TrimArgs {
    fn request(&self) -> TrimRequest {
        TrimRequest {
            max_age: self.max_age,
            max_events: self.max_events,
            max_bytes: self.max_bytes,
            to_checkpoint: self.to_checkpoint.clone(),
            types: self.types.clone(),
        }
    }
}

pub(crate) async fn run(args: TrimArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let request = args.request();
    request.check()?;
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = cx.open(access).await?;
    let rules = request.rules(&stores, &cx.settings).await?;
    if !args.dry_run && !args.yes {
        let would = retaining::apply(&stores, &rules, true, cx).await?;
        if let Some(confirmation) = retention::confirmation(&would, &cx.settings) {
            retaining::warn_of_holds(&would, cx);
            confirm(&confirmation, &cx.settings, args.yes, LOOK_FIRST)?;
        }
    }
    let report = match args.dry_run {
        true => retaining::apply(&stores, &rules, true, cx).await?,
        false => retaining::trim(&stores, &rules, cx).await?,
    };
    retaining::warn_of_holds(&report, cx);
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&report)?,
        Format::Table => {
            let verb = if args.dry_run { "would drop" } else { "dropped" };
            cx.printer.line(&format!("{verb} {} ({})", count(report.events, "event"), size(report.bytes)))?;
            if report.dead_letters > 0 {
                let letters = count(report.dead_letters, "closed dead letter");
                cx.printer.say(&format!("and removed {letters}"));
            }
        }
    }
    Ok(Exit::Ok)
}
