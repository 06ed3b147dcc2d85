//! `dead-letters restore`: reopens discarded dead letters.

use clap::Args;
use domain::DeadLetterState;
use event_replay::{
    Access,
    app::{dead_letters, letter_edits},
};

use super::select::ChosenArgs;
use crate::{args::Format, context::Context, errors::CliError, exit::Exit, output::plural::count};

/// Restore discarded dead letters: they are open again
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay dead-letters restore 0198f2c4
  event-replay dead-letters restore --fingerprint 1f0c9a2b3d4e
  event-replay dead-letters restore --group mail --from 2h

Discarded dead letters are kept for a month. A discard releases the key that was parked behind the
dead letter; a restoration does not park it again. Exits 3 if an id is unknown.")]
pub(crate) struct RestoreArgs {
    #[command(flatten)]
    chosen: ChosenArgs,
}

pub(super) async fn run(args: RestoreArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let letters = args.chosen.letters_in("restore", DeadLetterState::Discarded)?;
    let stores = cx.open(Access::Write).await?;
    let letters = dead_letters::check_chosen(&stores, letters).await?;
    let report = letter_edits::restore(&stores, &cx.actor, letters).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&report)?,
        Format::Table => {
            let mut line = format!("restored {}", count(report.restored, "dead letter"));
            if report.unchanged > 0 {
                line.push_str(&format!(", {} not discarded", report.unchanged));
            }
            if report.unknown > 0 {
                line.push_str(&format!(", {} unknown", report.unknown));
            }
            cx.printer.line(&line)?;
        }
    }
    Ok(if report.unknown > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}
