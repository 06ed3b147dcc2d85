//! `plans delete`: removes a kept plan.

use clap::Args;
use event_replay::{
    Access,
    app::{documents::Deleted, plans},
};

use crate::{
    args::{Format, filter},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Delete a kept plan
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay plans delete 0198f2

Replays of the plan stay. Plans that expired 30 days ago are deleted when another plan is kept.")]
pub(crate) struct DeleteArgs {
    /// Its id, or a unique prefix of it.
    #[arg(value_name = "ID", value_parser = filter::name, add = complete::plans())]
    plan: String,
}

pub(super) async fn run(args: DeleteArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let deleted = plans::delete(&stores, &cx.actor, &args.plan).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&Deleted { deleted: &deleted })?,
        Format::Table => cx.printer.line(&format!("deleted plan {deleted}"))?,
    }
    Ok(Exit::Ok)
}
