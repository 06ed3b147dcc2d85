//! `health`: checks the store, its consumers and its replays.

use clap::Args;
use event_replay::app::health::{self, Condition, Status};

use crate::{args::Format, context::Context, errors::CliError, exit::Exit, output::table::Table};

/// Check the store, its groups, and the alerts
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay health
  event-replay health --output json

Exits 4 if something is unhealthy: the store cannot be reached, a group's segment can take no
more blocked keys, or an alert fires. 0 if all is healthy or a check only warns. The alerts look
at the last 15 minutes, of every process that uses the store: validation failures above 5 % and
handlers above 10 seconds on average (both of at least 20 samples), dead letters that grow,
appends that failed.")]
pub(crate) struct HealthArgs {}

pub(crate) async fn run(_args: HealthArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let health = health::health(&cx.settings, |error| CliError::from(error).to_string()).await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&health)?,
        Format::Table => {
            cx.printer.line(health.status.as_str())?;
            let mut table = Table::new(&["check", "status", "what"]);
            for check in &health.checks {
                let status = match check.status {
                    Status::Pass => "pass",
                    Status::Warn => "warn",
                    Status::Fail => "FAIL",
                };
                table.row([check.name, status, &check.message]);
            }
            cx.printer.table(table)?;
        }
    }
    Ok(match health.status {
        Condition::Unhealthy => Exit::Unhealthy,
        Condition::Degraded | Condition::Healthy => Exit::Ok,
    })
}
