//! `tokens create`: creates a token for a client.

use std::time::Duration;

use clap::Args;
use domain::token::Role;
use event_replay::{
    Access,
    app::tokens::{self, NewToken},
};

use super::roles;
use crate::{
    args::{Format, filter, number},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Create a token, and print it once
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay tokens create mailer --role consume --group mail
  event-replay tokens create orders --role publish --expires 90d
  event-replay tokens create ann --role operate --role content

Roles:
  read      states and figures: groups, replays, checkpoints, schemas, stats, health; no event
  content   events and dead letters with their content, and what read allows
  publish   publish events
  consume   consume the groups of --group, or all
  operate   replay, redrive, change groups, checkpoints and schemas, and what read allows
  approve   approve what another operator planned, and what read allows
  admin     everything, also trimming, erasing, deleting groups, and tokens

The token is the only line on stdout. The store keeps a hash of it, so it cannot be shown again.
A client sends it in the header `Authorization: Bearer TOKEN`.")]
pub(crate) struct CreateArgs {
    /// The name of its owner. The audit names operators by it.
    #[arg(value_name = "NAME", value_parser = filter::name)]
    name: String,
    /// A role of its owner: read, content, publish, consume, operate, approve or admin.
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<Role>,
    /// A group that its owner may consume; without it, all.
    #[arg(long = "group", value_name = "GROUP", value_parser = filter::name, add = complete::groups())]
    groups: Vec<String>,
    /// How long it is valid, such as 90d; without it, until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = number::duration)]
    expires: Option<Duration>,
}

pub(super) async fn run(args: CreateArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let expires_at = args.expires.map(tokens::expiry).transpose();
    let new = NewToken {
        name: args.name,
        roles: args.roles.into_iter().collect(),
        groups: args.groups.into_iter().collect(),
        expires_at: expires_at.map_err(|error| CliError::usage(format!("--expires: {error}")))?,
    };
    let stores = cx.open(Access::Create).await?;
    let made = tokens::create(&stores, &cx.actor, new).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&made)?,
        Format::Table => {
            cx.printer.line(&made.token)?;
            let said = format!("created token {} ({})", made.document.name, roles(&made.document));
            cx.printer.say(&format!("{said}; it is not shown again"));
        }
    }
    Ok(Exit::Ok)
}
