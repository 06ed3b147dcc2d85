//! `validate`: checks whether events are valid. Needs no store.

use std::path::PathBuf;

use bus::UnknownTypes;
use clap::Args;
use event_replay::{app::publish::PublishRequest, unknown_types};

use super::intake::{self, Rehearsing};
use crate::{args::filter, context::Context, errors::CliError, exit::Exit, input::Input};

/// Validate events and store nothing
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay validate events.ndjson
  event-replay validate --unknown-types accept - < events.ndjson
  event-replay validate events.ndjson --output json

Checks what `publish` checks: the envelope, the limits and the schemas, those of the store too if
there is one. `publish --dry-run` also compares with what is stored. Exits 3 if an event is not
valid.")]
pub(crate) struct ValidateArgs {
    /// Files of events, plain or packed with gzip or zstd (`-` or none: stdin).
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How to treat an event whose type has no schema: `refuse` or `accept` [default: refuse].
    #[arg(long, value_name = "WHAT", value_parser = unknown_types)]
    unknown_types: Option<UnknownTypes>,
    /// The source of events that name none [default: the setting `service`, SERVICE_NAME].
    #[arg(long, value_name = "NAME", value_parser = filter::name)]
    service: Option<String>,
}

pub(crate) async fn run(args: ValidateArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let request = PublishRequest { unknown_types: args.unknown_types, no_validation: false };
    let service = args.service.or_else(|| cx.settings.service.clone());
    intake::rehearse(Input::of(&args.files), request, service, Rehearsing::Validity, cx).await
}
