//! `tokens list`: lists all tokens.

use clap::Args;
use event_replay::{Access, app::tokens};

use super::roles;
use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        table::{Cell, Table, fixed, text},
    },
};

/// Show all tokens, without their secrets
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay tokens list
  event-replay tokens list --output json")]
pub(crate) struct ListArgs {}

pub(super) async fn run(_args: ListArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let tokens = tokens::list(&stores).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json_rows(&tokens)?,
        Format::Table if tokens.is_empty() => cx.printer.say("no tokens"),
        Format::Table => {
            let now = cx.printer.now();
            let mut table = Table::new([
                fixed("id"),
                text("name"),
                text("roles"),
                text("groups"),
                fixed("expires"),
                fixed("created"),
                text("created by").optional(1),
            ]);
            for token in &tokens {
                let groups: Vec<&str> = token.groups.iter().map(String::as_str).collect();
                let groups = if groups.is_empty() { "all".to_owned() } else { groups.join(", ") };
                let expires = match (token.expired, token.expires_at) {
                    (true, _) => Cell::new("expired"),
                    (false, Some(end)) => Cell::time(end, now),
                    (false, None) => Cell::new("never"),
                };
                table.row([
                    Cell::new(&token.id),
                    Cell::new(escape::short(&token.name, 40)),
                    Cell::new(roles(token)),
                    Cell::new(escape::short(&groups, 60)),
                    expires,
                    Cell::time(token.created_at, now),
                    Cell::new(escape::short(&token.created_by, 40)),
                ]);
            }
            cx.printer.table(&table)?;
        }
    }
    Ok(Exit::Ok)
}
