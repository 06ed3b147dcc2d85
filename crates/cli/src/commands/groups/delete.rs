//! `groups delete`: deletes a group with its progress.

use clap::Args;
use event_replay::{
    Access,
    app::{documents::Deleted, groups},
};

use crate::{
    args::{Format, group},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{confirm::confirm, escape},
};

/// Delete a group; its dead letters stay
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups delete mail
  event-replay groups delete mail --yes

How far the group is, its blocked keys and its replay lane go with it. Its dead letters stay, to
be looked at and discarded. A consumer that subscribes again under the name makes a new group.")]
pub(crate) struct DeleteArgs {
    /// The group.
    #[arg(value_name = "NAME", value_parser = group::name, add = complete::groups())]
    name: String,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

pub(super) async fn run(args: DeleteArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let found = groups::find(&stores, &cx.settings, &args.name).await?;
    let name = escape::line(&args.name).into_owned();
    confirm(
        &groups::confirmation(&found),
        &cx.settings,
        args.yes,
        "add --yes to continue; `event-replay groups show` shows its progress",
    )?;
    groups::delete(&stores, &cx.actor, &args.name).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&Deleted { deleted: &args.name })?,
        Format::Table => {
            cx.printer.line(&format!("deleted group {name} ({})", found.pending.in_words()))?;
        }
    }
    Ok(Exit::Ok)
}
