//! `erase`: permanently removes every event that names an entity.

use clap::Args;
use domain::Entity;
use event_replay::{
    Access,
    app::{documents::ErasureDocument, erase::EraseRequest},
};

use crate::{
    args::{Format, filter},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        confirm::{LOOK_FIRST, confirm},
        plural,
    },
};

/// Remove everything that names an entity, permanently
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay erase user=user-123 --dry-run
  event-replay erase user=user-123 --yes
  event-replay erase --user-id user-123 --entity payment=pay-7 --yes

The ids of erased events are refused from then on, so that a late copy cannot bring them back.
Backups and exports made before still hold what was erased.")]
pub(crate) struct EraseArgs {
    /// Entities: user=user-123 is every event with userId `user-123`.
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

impl EraseArgs {
    fn all(&self) -> Vec<Entity> {
        let of = |kind: &str, ids: &[String]| ids.iter().map(|id| Entity::new(kind, id)).collect::<Vec<_>>();
        let mut all = self.named.clone();
        all.extend(self.entities.iter().cloned());
        all.extend(of("user", &self.users));
        all.extend(of("course", &self.courses));
        all.extend(of("lab", &self.labs));
        all
    }
}

pub(crate) async fn run(args: EraseArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let request = EraseRequest::new(args.all())?;
    let names = request.names();
    let access = if args.dry_run { Access::Read } else { Access::Write };
    let stores = cx.open(access).await?;
    let count = request.count(&stores).await?;
    let report = match args.dry_run {
        true => ErasureDocument::preview(names, count),
        false => {
            confirm(&request.confirmation(count, &cx.settings), &cx.settings, args.yes, LOOK_FIRST)?;
            ErasureDocument::of(names, request.erase(&stores, &cx.actor).await?)
        }
    };
    stores.close().await;
    print(&report, cx)?;
    Ok(Exit::Ok)
}

fn print(report: &ErasureDocument, cx: &mut Context<'_>) -> Result<(), CliError> {
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
