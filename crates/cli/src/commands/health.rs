//! `health`: is the store as it should be, and whoever works with it?

mod alerts;
mod check;
mod groups;
mod redis;
mod store;

use clap::Args;
use serde::Serialize;

use self::check::{Check, Status};
use super::Context;
use crate::{
    args::Format,
    errors::CliError,
    exit::Exit,
    output::table::Table,
    store::{Access, Stores},
};

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

#[derive(Serialize)]
struct Health {
    status: &'static str,
    checks: Vec<Check>,
}

pub(crate) async fn run(_args: HealthArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let checks = match checks(cx).await {
        Ok(checks) => checks,
        Err(CliError::Said { what, hint, .. }) => {
            let advice = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            let mut checks = vec![Check::new("store", Status::Fail, format!("{what}{advice}"))];
            checks.extend(redis::of_servers(&cx.settings).await);
            checks
        }
        Err(closed) => return Err(closed),
    };
    let has = |status| checks.iter().any(|check| check.status == status);
    let (status, exit) = match (has(Status::Fail), has(Status::Warn)) {
        (true, _) => ("unhealthy", Exit::Unhealthy),
        (false, true) => ("degraded", Exit::Ok),
        (false, false) => ("healthy", Exit::Ok),
    };
    let health = Health { status, checks };
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&health)?,
        Format::Table => {
            cx.printer.line(health.status)?;
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
    Ok(exit)
}

async fn checks(cx: &Context<'_>) -> Result<Vec<Check>, CliError> {
    let stores = Stores::open(&cx.settings, Access::Read).await?;
    let mut checks = store::checks(&stores, cx).await?;
    checks.extend(groups::checks(&stores, cx).await?);
    checks.extend(alerts::checks(&stores, cx).await?);
    stores.close().await;
    Ok(checks)
}
