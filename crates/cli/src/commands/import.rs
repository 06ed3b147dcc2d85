//! `import`: stores the events of an export or of another file.

use std::path::PathBuf;

use clap::Args;

use super::intake;
use crate::{context::Context, errors::CliError, exit::Exit, input::Input};

/// Import an export or any other file of events
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay import events.ndjson
  event-replay import github-events.ndjson.gz --unknown-types accept
  event-replay import --atomic --output json batch.ndjson

One event a line: an event, or a stored event as `export --with-meta` prints it.
Importing the same file again stores nothing twice. Exits 3 if an event was refused.")]
pub(crate) struct ImportArgs {
    /// Files of events, plain or packed with gzip or zstd (`-` or none: stdin).
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    admission: intake::AdmissionArgs,
}

pub(crate) async fn run(args: ImportArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    intake::run(Input::of(&args.files), &args.admission, None, None, cx).await
}
