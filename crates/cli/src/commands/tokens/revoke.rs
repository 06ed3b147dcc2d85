//! `tokens revoke`: revokes a token. Servers refuse it from then on.

use clap::Args;
use event_replay::{Access, app::tokens};

use crate::{
    args::{Format, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Revoke a token
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay tokens revoke mailer
  event-replay tokens revoke 3f9a0c21b7de

Servers that run refuse it within a second.")]
pub(crate) struct RevokeArgs {
    /// Its name or id.
    #[arg(value_name = "TOKEN", value_parser = filter::name)]
    token: String,
}

pub(super) async fn run(args: RevokeArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let revoked = tokens::revoke(&stores, &cx.actor, &args.token).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&revoked)?,
        Format::Table => cx.printer.line(&format!("revoked token {}", revoked.name))?,
    }
    Ok(Exit::Ok)
}
