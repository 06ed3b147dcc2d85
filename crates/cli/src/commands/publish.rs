//! `publish`: validate events and store them.

use std::path::PathBuf;

use clap::Args;

use super::{Context, intake};
use crate::{args::filter, errors::CliError, exit::Exit, input::Input};

/// Validate events and store them
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay publish events.ndjson
  echo '{\"id\":\"e1\",\"type\":\"custom.event\",…}' | event-replay publish --unknown-types accept
  event-replay publish --atomic --output json batch.ndjson

One event a line. An event that was stored before is recognised by its id and content and not stored twice,
so the same input can be published again after any error. Exits 3 if an event was refused.")]
pub(crate) struct PublishArgs {
    /// Files of events, plain or packed with gzip or zstd (`-` or none: stdin).
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    admission: intake::AdmissionArgs,
    /// The source of events that name none [default: the setting `service`, SERVICE_NAME].
    #[arg(long, value_name = "NAME", value_parser = filter::name)]
    service: Option<String>,
}

pub(crate) async fn run(args: PublishArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let service = args.service.or_else(|| cx.settings.service.clone());
    intake::run(Input::of(&args.files), &args.admission, service, cx).await
}
