//! `erase`: everything that names an entity, for good.

use std::sync::Arc;

use clap::Args;
use domain::{Entity, Filter, ports::Erased};
use serde::Serialize;

use super::Context;
use crate::{
    args::{Format, filter},
    errors::CliError,
    exit::Exit,
    output::{
        confirm::{LOOK_FIRST, confirm},
        escape, plural,
    },
    store::{Access, Stores},
};

/// Remove everything that names an entity, for good
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay erase user=user-123 --dry-run
  event-replay erase user=user-123 --yes
  event-replay erase --user-id user-123 --entity payment=pay-7 --yes

The ids of erased events are refused from then on, so that a late copy cannot bring them back.
Backups and exports made before still hold what was erased.")]
pub(crate) struct EraseArgs {
    /// Entities: user=user-123 is every event with userId \"user-123\".
    #[arg(value_name = "KIND=ID", value_parser = filter::entity)]
    named: Vec<Entity>,
    /// Likewise.
    #[arg(long = "entity", value_name = "KIND=ID", value_parser = filter::entity)]
    entities: Vec<Entity>,
    /// Events that name this user.
    #[arg(long = "user-id", value_name = "ID", value_parser = filter::name)]
    users: Vec<String>,
    /// Events that name this course.
    #[arg(long = "course-id", value_name = "ID", value_parser = filter::name)]
    courses: Vec<String>,
    /// Events that name this lab.
    #[arg(long = "lab-id", value_name = "ID", value_parser = filter::name)]
    labs: Vec<String>,
    /// Count what would go, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report {
    dry_run: bool,
    entities: Vec<String>,
    erased: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    remains: Vec<String>,
}

impl EraseArgs {
    fn all(&self) -> Vec<Entity> {
        let of = |kind: &str, ids: &[String]| ids.iter().map(|id| Entity::new(kind, id)).collect::<Vec<_>>();
        let mut all = self.named.clone();
        all.extend(self.entities.iter().cloned());
        all.extend(of("user", &self.users));
        all.extend(of("course", &self.courses));
        all.extend(of("lab", &self.labs));
        all.sort();
        all.dedup();
        all
    }
}

pub(crate) async fn run(args: EraseArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let entities = args.all();
    if entities.is_empty() {
        return Err(CliError::usage("erase wants to know what: name an entity")
            .hint("event-replay erase user=user-123 --dry-run"));
    }
    let names: Vec<String> = entities.iter().map(ToString::to_string).collect();
    let report = if args.dry_run {
        let stores = Stores::open(&cx.settings, Access::Read).await?;
        let report = Report {
            dry_run: true,
            erased: distinct(&stores, &entities).await?,
            entities: names,
            bytes: None,
            remains: vec![],
        };
        stores.close().await;
        report
    } else {
        let stores = Stores::open(&cx.settings, Access::Write).await?;
        let count = distinct(&stores, &entities).await?;
        let shown = escape::line(&names.join(" and ")).into_owned();
        confirm(
            &format!("erase {} {shown} from {}", naming(count), cx.settings.store),
            args.yes,
            LOOK_FIRST,
        )?;
        let report = erase(&stores, &entities, names).await?;
        stores.close().await;
        report
    };
    print(&report, cx)?;
    Ok(Exit::Ok)
}

/// Most kinds of entities that one call counts.
const MAX_KINDS: usize = 8;

/// Events that name any of the entities, each counted once: a filter names one combination of kinds, and events that
/// name entities of several kinds are taken off again (inclusion and exclusion).
async fn distinct(stores: &Stores, entities: &[Entity]) -> Result<u64, CliError> {
    let kinds: Vec<&[Entity]> = entities.chunk_by(|a, b| a.kind == b.kind).collect();
    if kinds.len() > MAX_KINDS {
        return Err(CliError::usage(format!("at most {MAX_KINDS} kinds of entities can be erased at once")));
    }
    let (mut added, mut taken_off) = (0u64, 0u64);
    for combination in 1u32..(1 << kinds.len()) {
        let mut filter = Filter::default();
        for (at, kind) in kinds.iter().enumerate() {
            if combination & (1 << at) != 0 {
                kind.iter().cloned().for_each(|entity| filter.add_entity(entity));
            }
        }
        let matching = stores.events.count(&Arc::new(filter), None).await?;
        match combination.count_ones() % 2 {
            1 => added += matching,
            _ => taken_off += matching,
        }
    }
    Ok(added.saturating_sub(taken_off))
}

async fn erase(stores: &Stores, entities: &[Entity], names: Vec<String>) -> Result<Report, CliError> {
    let mut total = Erased::default();
    for entity in entities {
        let erased = stores.events.erase(entity).await?;
        total.events += erased.events;
        total.bytes += erased.bytes;
        for remains in erased.remains {
            if !total.remains.contains(&remains) {
                total.remains.push(remains);
            }
        }
    }
    Ok(Report {
        dry_run: false,
        entities: names,
        erased: total.events,
        bytes: Some(total.bytes),
        remains: total.remains,
    })
}

fn print(report: &Report, cx: &mut Context<'_>) -> Result<(), CliError> {
    if cx.printer.format() != Format::Table {
        return cx.printer.json(report);
    }
    let names = report.entities.join(", ");
    let line = match (report.dry_run, report.bytes) {
        (true, _) => format!("would erase {} {names}", naming(report.erased)),
        (false, bytes) => {
            let bytes = plural::count(bytes.unwrap_or(0), "byte");
            let erased = format!("erased {} {names} ({bytes})", naming(report.erased));
            match report.remains.is_empty() {
                true => erased,
                false => format!("{erased}; copies may remain in: {}", report.remains.join("; ")),
            }
        }
    };
    cx.printer.line(&line)
}

fn naming(events: u64) -> String {
    plural::of(events, "event that names", "events that name")
}
