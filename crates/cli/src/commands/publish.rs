//! `publish`: validates events and stores them.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use domain::Priority;
use event_replay::app::publish::DeliveryRequest;
use jiff::Timestamp;

use super::intake;
use crate::{
    args::{filter, number, time},
    context::Context,
    errors::CliError,
    exit::Exit,
    input::Input,
};

/// Validate events and store them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay publish events.ndjson
  echo '{\"id\":\"e1\",\"type\":\"custom.event\",…}' | event-replay publish --unknown-types accept
  event-replay publish --atomic --output json batch.ndjson
  event-replay publish --dry-run events.ndjson
  event-replay publish --delay 10m reminder.ndjson
  event-replay publish --priority high --expires-in 5m --retries 1 alerts.ndjson

One event a line. An event that was stored before is recognised by its id and content and not
stored twice, so the same input can be published again after any error. Exits 3 if an event was
refused.

An event with a delay is scheduled (`event-replay scheduled list`). When it is due, a consumer or
the next publish or import appends it to the log.")]
pub(crate) struct PublishArgs {
    /// Files of events, plain or packed with gzip or zstd (`-` or none: stdin).
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    admission: intake::AdmissionArgs,
    /// The source of events that name none [default: the setting `service`, SERVICE_NAME].
    #[arg(long, value_name = "NAME", value_parser = filter::name)]
    service: Option<String>,
    #[command(flatten)]
    delivery: DeliveryArgs,
}

/// How every event is to be delivered.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "How they are delivered")]
struct DeliveryArgs {
    /// Append them to the log after this time: 500 (milliseconds), 90s, 10m, 2h.
    #[arg(long, value_name = "TIME", value_parser = long_delay, allow_hyphen_values = true)]
    delay: Option<Duration>,
    /// Order among the events that a group has fetched; an earlier event of the same key always goes first.
    #[arg(long, value_name = "PRIORITY", value_enum)]
    priority: Option<PriorityArg>,
    /// Do not deliver them after this duration.
    #[arg(long, value_name = "TIME", value_parser = number::duration, allow_hyphen_values = true)]
    expires_in: Option<Duration>,
    /// Do not deliver them after this time.
    #[arg(long, value_name = "TIME", value_parser = time::point, conflicts_with = "expires_in")]
    expires_at: Option<Timestamp>,
    /// Retries of a failed delivery [default: the setting of the consumer].
    #[arg(long, value_name = "N", value_parser = retries, allow_hyphen_values = true)]
    retries: Option<u16>,
}

/// Which events go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PriorityArg {
    /// After all others.
    Low,
    /// As most.
    Medium,
    /// Before most.
    High,
    /// Before all others.
    Critical,
}

/// Parses a delay. A bare number is in milliseconds, as in all flags. A delay may last days.
fn long_delay(text: &str) -> Result<Duration, String> {
    text.parse::<u64>().map(Duration::from_millis).or_else(|_| number::duration(text))
}

fn retries(text: &str) -> Result<u16, String> {
    number::retries(text).map(|retries| retries as u16)
}

impl DeliveryArgs {
    fn request(&self) -> DeliveryRequest {
        DeliveryRequest {
            delay: self.delay,
            priority: match self.priority {
                None | Some(PriorityArg::Medium) => Priority::Medium,
                Some(PriorityArg::Low) => Priority::Low,
                Some(PriorityArg::High) => Priority::High,
                Some(PriorityArg::Critical) => Priority::Critical,
            },
            expires_in: self.expires_in,
            expires_at: self.expires_at,
            retries: self.retries,
        }
    }
}

pub(crate) async fn run(args: PublishArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let service = args.service.or_else(|| cx.settings.service.clone());
    let delivery = args.delivery.request().options();
    let delivery = delivery.map_err(|_| CliError::usage("--expires-in goes beyond the end of time"))?;
    intake::run(Input::of(&args.files), &args.admission, service, delivery, cx).await
}
