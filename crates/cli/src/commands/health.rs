//! `health`: checks the store, its consumers and its replays.

use clap::Args;
use event_replay::app::health::{self, Condition, Status};

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        style::Tone,
        table::{Cell, Table, fixed, wrapped},
    },
};

/// Check the store, its groups, and the alerts
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay health
  event-replay health --output json

Exits 4 if something is unhealthy: the store cannot be reached, a group's segment can take no
more blocked keys, or an alert fires. 0 if all is healthy or a check only warns. The alerts look
at the last 15 minutes, of every process that uses the store. They fire on validation failures
above 5 %, on handlers above 10 seconds on average, on more dead letters, and on failed appends.
Percentages and averages need at least 20 samples.")]
pub(crate) struct HealthArgs {}

pub(crate) async fn run(_args: HealthArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let health = health::health(&cx.settings, |error| CliError::from(error).to_string()).await;
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&health)?,
        Format::Table => {
            cx.printer.page();
            cx.printer.state_line(health.status.as_str(), tone_of(health.status))?;
            let mut table = Table::new([fixed("check"), fixed("status"), wrapped("what")]);
            for check in &health.checks {
                let status = match check.status {
                    Status::Pass => Cell::state("pass", Tone::Good),
                    Status::Warn => Cell::state("warn", Tone::Warn),
                    Status::Fail => Cell::state("FAIL", Tone::Bad),
                };
                table.row([Cell::new(check.name), status, Cell::new(&check.message)]);
            }
            cx.printer.table(&table)?;
        }
    }
    Ok(match health.status {
        Condition::Unhealthy => Exit::Unhealthy,
        Condition::Degraded | Condition::Healthy => Exit::Ok,
    })
}

fn tone_of(condition: Condition) -> Tone {
    match condition {
        Condition::Healthy => Tone::Good,
        Condition::Degraded => Tone::Warn,
        Condition::Unhealthy => Tone::Bad,
    }
}
