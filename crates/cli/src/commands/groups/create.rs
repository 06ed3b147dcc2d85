//! `groups create`: creates a group at a position in the log.

use clap::Args;
use domain::{
    TypePattern,
    group::{DEFAULT_SEGMENTS, GroupKey, GroupSpec},
};
use event_replay::{
    Access,
    app::{documents::GroupCreatedDocument, groups},
};

use super::list::types;
use crate::{
    args::{Format, filter, group},
    complete,
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// Create a group at a position in the log
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
    #[arg(long = "type", value_name = "TYPE", value_parser = filter::name, add = complete::types())]
    types: Vec<String>,
    /// Its position: start, head, a checkpoint, or a time.
    #[arg(long, value_name = "PLACE", default_value = "head", allow_hyphen_values = true, add = complete::places())]
    at: String,
    /// Ordering key: event (each event's own key), correlation, entity:KIND, or all (one after the other).
    #[arg(long, value_name = "KEY", default_value = "event", value_parser = group::key)]
    key: GroupKey,
    /// Number of segments, which consumers share.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_SEGMENTS, value_parser = group::segments, allow_hyphen_values = true)]
    segments: u16,
}

pub(super) async fn run(args: CreateArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let stores = cx.open(Access::Write).await?;
    let spec = GroupSpec {
        name: args.name.clone(),
        types: args.types.iter().map(TypePattern::new).collect(),
        key: args.key.clone(),
        segments: args.segments,
    };
    let made = groups::create(&stores, &cx.actor, &spec, &args.at).await?;
    stores.close().await;
    let made = GroupCreatedDocument::of(&made);
    print(&made, cx)?;
    Ok(Exit::Ok)
}

fn print(made: &GroupCreatedDocument<'_>, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(made);
    }
    let (name, at, types) = (made.name, made.at.join(" "), types(&made.types));
    match made.created {
        true => cx.printer.line(&format!(
            "created group {name} at {at}: types {types}, ordered by {}, {} segments",
            made.key, made.segments
        )),
        false => cx
            .printer
            .line(&format!("group {name} was there already and stays at {at}; its types are now {types}")),
    }
}
