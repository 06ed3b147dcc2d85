//! `groups create`: a group at a place in the log.

use clap::Args;
use domain::{
    TypePattern,
    group::{DEFAULT_SEGMENTS, GroupKey, GroupSpec},
};
use event_replay::{Access, app::groups};
use serde::Serialize;

use super::list::types;
use crate::{
    args::{Format, filter, group},
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Make a group, at a place in the log
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay groups create mail
  event-replay groups create mail --type 'user.*' --type payment.processed --at start
  event-replay groups create audit --at before-migration --key all
  event-replay groups create billing --at 'today 09:00' --key entity:payment --segments 32

A place is start, head, a checkpoint, or a time: the place before the first event that was
stored then or later. Where the group exists, its types are changed and its place is not; --key
and --segments are frozen when it is made.")]
pub(crate) struct CreateArgs {
    /// Its name.
    #[arg(value_name = "NAME", value_parser = group::name)]
    name: String,
    /// The types it takes; `*` stands for any characters [default: all].
    #[arg(long = "type", value_name = "TYPE", value_parser = filter::name)]
    types: Vec<String>,
    /// Where it begins: start, head, a checkpoint, or a time.
    #[arg(long, value_name = "PLACE", default_value = "head", allow_hyphen_values = true)]
    at: String,
    /// What keeps its order: event (each event's own key), correlation, entity:KIND, or all (one after the other).
    #[arg(long, value_name = "KEY", default_value = "event", value_parser = group::key)]
    key: GroupKey,
    /// Into how many parts its keys are spread, so that consumers can share them.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEGMENTS, value_parser = group::segments, allow_hyphen_values = true)]
    segments: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    name: &'a str,
    created: bool,
    types: Vec<&'a str>,
    key: String,
    segments: u16,
    at: Vec<String>,
}

pub(super) async fn run(args: CreateArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let spec = GroupSpec {
        name: args.name.clone(),
        types: args.types.iter().map(TypePattern::new).collect(),
        key: args.key.clone(),
        segments: args.segments,
    };
    let made = groups::create(&stores, &spec, &args.at).await?;
    stores.close().await;
    let spec = &made.record.spec;
    let made = Made {
        name: &spec.name,
        created: made.created,
        types: spec.types.iter().map(TypePattern::as_str).collect(),
        key: group::key_text(&spec.key),
        segments: spec.segments,
        at: made.at,
    };
    print(&made, cx)?;
    Ok(Exit::Ok)
}

fn print(made: &Made<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(made);
    }
    let (name, at, types) = (made.name, made.at.join(" "), types(&made.types));
    match made.created {
        true => cx.printer.line(&format!(
            "made group {name} at {at}: types {types}, ordered by {}, {} segments",
            made.key, made.segments
        )),
        false => cx
            .printer
            .line(&format!("group {name} was there already and stays at {at}; its types are now {types}")),
    }
}
