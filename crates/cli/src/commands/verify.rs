//! `verify`: checks every event and every index entry.

use clap::Args;
use event_replay::Access;
use serde::Serialize;

use crate::{
    args::Format,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        plural::{self, count},
        table::{Table, fixed, wrapped},
    },
};

/// Check every event and every index entry
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay verify
  event-replay verify --output json

Reads only. Exits 3 if it finds a problem.")]
pub(crate) struct VerifyArgs {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    events: u64,
    index_entries: u64,
    total_findings: u64,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    position: Option<String>,
    detail: String,
}

pub(crate) async fn run(_args: VerifyArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Read).await?;
    let bar = cx.printer.bar("verifying", Some(0));
    let found = stores.verify(Some(bar.callback())).await?;
    bar.clear();
    stores.close().await;
    let report = Report {
        events: found.events,
        index_entries: found.index_entries,
        total_findings: found.total_findings,
        findings: found
            .findings
            .into_iter()
            .map(|finding| Finding {
                position: finding.position.map(|position| position.to_string()),
                detail: finding.detail,
            })
            .collect(),
    };
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&report)?,
        Format::Table => print(&report, cx)?,
    }
    Ok(if report.total_findings > 0 { Exit::DoneWithFailures } else { Exit::Ok })
}

fn print(report: &Report, cx: &mut Context<'_>) -> Result<(), CliError> {
    cx.printer.line(&format!(
        "checked {} and {}: {}",
        count(report.events, "event"),
        plural::of(report.index_entries, "index entry", "index entries"),
        match report.total_findings {
            0 => "no problems found".to_owned(),
            found => count(found, "finding"),
        }
    ))?;
    if report.findings.is_empty() {
        return Ok(());
    }
    let mut table = Table::new([fixed("position"), wrapped("finding")]);
    for finding in &report.findings {
        table.row([finding.position.as_deref().unwrap_or("-"), &finding.detail]);
    }
    cx.printer.table(&table)?;
    let more = report.total_findings - report.findings.len() as u64;
    if more > 0 {
        cx.printer.line(&format!("and {more} more"))?;
    }
    cx.printer.say("an export keeps what can be read; `event-replay restore` brings back a backup");
    Ok(())
}
