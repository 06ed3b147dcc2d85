//! `audit`: lists the recorded actions of operators.

use clap::{Args, Subcommand};
use event_replay::{
    Access,
    app::audit::{self, AuditOutcome, AuditQuery, AuditedAction, Facts},
};
use jiff::Timestamp;

use crate::{
    args::{Format, filter, number, time},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        escape,
        table::{self, Cell, Table, fixed, text},
    },
};

/// Show what operators did
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show actions, the newest first
    List(ListArgs),
}

/// Show actions, the newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay audit list
  event-replay audit list --action groups --from 2h
  event-replay audit list --operator-name ann@desk --output ndjson

Every action that changes something is kept: who did it, why (--reason), when, the hash of the plan
it followed, and its outcome. The operator is --operator or EVENT_REPLAY_OPERATOR, else
user@host: it is recorded, not proven. Each entry has the hash of the one before it, and
`event-replay verify` names entries that were altered or removed.")]
pub(crate) struct ListArgs {
    /// Actions of this operator.
    #[arg(long = "operator-name", value_name = "NAME")]
    operators: Vec<String>,
    /// These actions, such as `groups reset`, or all of `groups`.
    #[arg(long = "action", value_name = "ACTION")]
    actions: Vec<String>,
    /// Actions on this: a group, a replay, a checkpoint.
    #[arg(long, value_name = "NAME", value_parser = filter::name)]
    subject: Option<String>,
    /// Begun then or later.
    #[arg(long, value_name = "TIME", value_parser = time::point, allow_hyphen_values = true)]
    from: Option<Timestamp>,
    /// Begun then or earlier.
    #[arg(long, value_name = "TIME", value_parser = time::point, allow_hyphen_values = true)]
    to: Option<Timestamp>,
    /// At most this many actions.
    #[arg(long, value_name = "N", default_value = "20", value_parser = number::limit, allow_hyphen_values = true)]
    limit: u64,
}

pub(crate) async fn run(command: AuditCommand, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let AuditCommand::List(args) = command;
    let query = AuditQuery {
        operators: args.operators,
        actions: args.actions,
        subject: args.subject,
        from: args.from,
        to: args.to,
        limit: Some(args.limit),
    };
    let stores = cx.open(Access::Read).await?;
    let actions = audit::list(&stores, &query).await?;
    stores.close().await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json_rows(&actions)?,
        Format::Table if actions.is_empty() => cx.printer.say("no action matches"),
        Format::Table => print(&actions, cx)?,
    }
    Ok(Exit::Ok)
}

fn print(actions: &[AuditedAction], cx: &mut Context<'_>) -> Result<(), CliError> {
    let mut table = Table::new([
        table::number("number"),
        fixed("at"),
        text("operator"),
        fixed("action"),
        text("to"),
        fixed("outcome"),
        text("result").optional(2),
        text("reason").optional(1),
    ]);
    for action in actions {
        table.row([
            Cell::count(action.number),
            Cell::time(action.at, cx.printer.now()),
            Cell::new(escape::short(&action.operator, 40)),
            Cell::new(&action.action),
            Cell::new(escape::short(action.subject.as_deref().unwrap_or("-"), 40)),
            Cell::new(outcome(action.outcome)),
            Cell::new(escape::short(&came(action), 80)),
            Cell::new(escape::short(action.reason.as_deref().unwrap_or(""), 60)),
        ]);
    }
    cx.printer.table(&table)
}

fn outcome(outcome: AuditOutcome) -> &'static str {
    match outcome {
        AuditOutcome::Done => "done",
        AuditOutcome::Failed => "failed",
        AuditOutcome::Unfinished => "unfinished",
    }
}

/// Returns the error of an action, or its result in short.
fn came(action: &AuditedAction) -> String {
    match &action.error {
        Some(error) => error.clone(),
        None => words(&action.result),
    }
}

fn words(facts: &Facts) -> String {
    let word = |(name, value): (&String, &serde_json::Value)| match value {
        serde_json::Value::String(text) => format!("{name} {text}"),
        other => format!("{name} {other}"),
    };
    facts.iter().map(word).collect::<Vec<_>>().join(", ")
}
