//! `diagnose`: writes a support report to one file.

use std::path::PathBuf;

use clap::Args;
use domain::Filter;
use event_replay::{
    Access, StoreHandle,
    app::{bounds::Bounds, documents::group_rows, groups, health, replays, stats},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::version::BUILD;
use crate::{args::Format, context::Context, errors::CliError, exit::Exit, output::new_file::NewFile};

/// Replays in a report at most.
const REPLAYS: usize = 50;

/// Write a report for support into a file, without payloads and secrets
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay diagnose report.json

The report has the version, the settings without passwords, health, stats, groups and the newest
replays. It has no events and no error texts of handlers. Names of groups, types and sources are
in it: read it before you send it.")]
pub(crate) struct DiagnoseArgs {
    /// The file, which must be new.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Written {
    file: String,
    bytes: usize,
}

pub(crate) async fn run(args: DiagnoseArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let mut file = NewFile::begin(args.file)?;
    let report = tokio::select! {
        biased;
        () = file.interrupted() => {
            return Err(CliError::failed(format!("interrupted; {} was not made", file.name())));
        }
        report = report(cx) => report,
    };
    let mut text = Vec::new();
    targets::push_safe_json(&serde_json::to_string_pretty(&report).unwrap_or_default(), &mut text);
    text.push(b'\n');
    file.write(&text)?;
    let written = Written { file: file.complete()?, bytes: text.len() };
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&written)?,
        Format::Table => {
            cx.printer.line(&format!("wrote {}", written.file))?;
            cx.printer.say("read it before you send it: names of groups, types and sources are in it");
        }
    }
    Ok(Exit::Ok)
}

/// Returns the whole report. It is complete also if the store fails, because support needs it most then.
async fn report(cx: &Context<'_>) -> Value {
    let settings: Vec<Value> = cx
        .settings
        .shown
        .iter()
        .map(|setting| json!({"key": setting.key, "value": setting.value, "origin": setting.origin}))
        .collect();
    let health = health::health(&cx.settings, |error| CliError::from(error).to_string()).await;
    let mut report = json!({
        "generatedAt": Timestamp::now(),
        "build": BUILD,
        "settings": settings,
        "health": health,
    });
    let store = match cx.open(Access::Read).await {
        Ok(stores) => {
            let described = describe(&stores, cx).await;
            stores.close().await;
            described
        }
        Err(error) => Err(error),
    };
    match store {
        Ok(store) => report["store"] = store,
        Err(error) => report["storeError"] = Value::String(error.to_string()),
    }
    report
}

/// Returns counts and states of the store, without texts of handlers and without payloads.
async fn describe(stores: &StoreHandle, cx: &Context<'_>) -> Result<Value, CliError> {
    let stats = stats::stats(stores, &cx.settings, Filter::default(), &Bounds::default(), None).await?;
    let groups = groups::all(stores, &cx.settings).await?;
    let replays = replays::newest(stores, REPLAYS).await?;
    let replays: Vec<Value> = replays
        .iter()
        .map(|replay| {
            json!({
                "id": replay.id,
                "state": replay.state,
                "createdAt": replay.created_at,
                "updatedAt": replay.updated_at,
                "groups": replay.groups,
                "done": replay.done(),
                "totalEvents": replay.total_events,
                "failed": replay.failed,
            })
        })
        .collect();
    let rows = group_rows(&groups);
    Ok(json!({"stats": stats, "groups": rows, "replays": replays}))
}
