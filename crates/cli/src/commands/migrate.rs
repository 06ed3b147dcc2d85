//! `migrate`: copies the data of the old system's Redis, or of another store, into the store.

mod printed;

use std::sync::{Arc, Mutex, PoisonError};

use clap::Args;
use domain::ports::EventValidator;
use event_replay::{
    Access, RedisUrl, Settings, StoreHandle, StoreLocation,
    app::{self, schemas},
};
use migrate::{Layout, MigrateError, Options, Phase, Report, Source, SourceError};

use crate::{
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{bar::Bar, escape},
};

/// The environment variable that names the old Redis. It keeps a password off the command line.
const OLD_REDIS: &str = "EVENT_REPLAY_OLD_REDIS";
/// The environment variable that names a source store.
const FROM: &str = "EVENT_REPLAY_FROM";

/// Migrate from the old system in Redis, or from another store
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay migrate redis://old-host:6379 --dry-run
  event-replay migrate redis://old-host:6379 --store sqlite:events.db
  EVENT_REPLAY_OLD_REDIS=redis://:secret@old-host event-replay migrate
  event-replay migrate --from sqlite:events.db --store sqlite:copy.db

The source is only read. If it is ended early, run it again: it continues, and stores nothing twice.
Exits 3 if something was not taken, or a count differs.")]
pub(crate) struct MigrateArgs {
    /// Where the old system keeps its events [default: EVENT_REPLAY_OLD_REDIS, which may hold a password].
    #[arg(value_name = "OLD_REDIS_URL", conflicts_with = "from")]
    old_redis: Option<String>,
    /// Take everything from a store of this program instead: another backend, or another number of partitions.
    #[arg(long, value_name = "STORE", conflicts_with_all = ["old_prefix", "old_checkpoints"])]
    from: Option<String>,
    /// Prefix of the old keys of events [default: cloudmasters:events].
    #[arg(long, value_name = "PREFIX")]
    old_prefix: Option<String>,
    /// Prefix of the old keys of checkpoints [default: beside the events].
    #[arg(long, value_name = "PREFIX")]
    old_checkpoints: Option<String>,
    /// Say what would be stored, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The source of the migration.
enum Origin {
    OldRedis { url: String, shown: String, layout: Layout },
    Store(Box<Settings>),
}

pub(crate) async fn run(args: MigrateArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let from = origin(&args, &cx.settings)?;
    let (report, shown) = match &from {
        Origin::OldRedis { url, shown, layout } => {
            // The source is connected first, so that a misspelt address creates no target store.
            let source = Source::connect(url, layout.clone()).await;
            let source = source
                .map_err(|error| CliError::from(MigrateError::from(error)).of_store(false).during(shown))?;
            let target = app::open_target(&cx.settings, args.dry_run).await?;
            let options = options(&target, &cx.settings, args.dry_run).await?;
            let watched = Watched::new(cx.printer.shows_bars());
            let told = |phase, done, total| watched.at(phase, done, total);
            let report = Box::pin(migrate::migrate(&source, &**target.ports(), &options, &told)).await;
            (close(target, report).await?, shown.clone())
        }
        Origin::Store(settings) => {
            let source = app::open_store(settings, Access::Read).await?;
            let target = app::open_target(&cx.settings, args.dry_run).await?;
            let options = options(&target, &cx.settings, args.dry_run).await?;
            let watched = Watched::new(cx.printer.shows_bars());
            let told = |phase, done, total| watched.at(phase, done, total);
            let report = Box::pin(migrate::copy(&**source.ports(), &**target.ports(), &options, &told)).await;
            source.close().await;
            (close(target, report).await?, settings.store.to_string())
        }
    };
    let exit = if report.complete { Exit::Ok } else { Exit::DoneWithFailures };
    printed::print(&report, &shown, cx)?;
    Ok(exit)
}

fn origin(args: &MigrateArgs, settings: &Settings) -> Result<Origin, CliError> {
    match (&args.old_redis, &args.from, set(OLD_REDIS), set(FROM)) {
        (Some(url), ..) => {
            refuse_password(url, "OLD_REDIS_URL", OLD_REDIS)?;
            Ok(old_redis(args, url))
        }
        (None, Some(address), ..) => {
            refuse_password(address, "--from", FROM)?;
            store(settings, address, "--from")
        }
        (None, None, Some(_), Some(_)) => {
            Err(CliError::usage(format!("both {OLD_REDIS} and {FROM} are set")).hint("unset one of them"))
        }
        (None, None, Some(url), None) => Ok(old_redis(args, &url)),
        (None, None, None, Some(address)) => store(settings, &address, FROM),
        (None, None, None, None) => {
            Err(CliError::usage("the source is missing: give OLD_REDIS_URL or --from STORE")
                .hint(format!("{OLD_REDIS} and {FROM} name them, too")))
        }
    }
}

/// Returns the value of an environment variable. An empty variable counts as unset.
fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn refuse_password(address: &str, origin: &str, variable: &str) -> Result<(), CliError> {
    if !RedisUrl::new(address).has_password() {
        return Ok(());
    }
    Err(CliError::usage(format!(
        "{origin}: a password on the command line can be read by every user of this machine; nothing was opened"
    ))
    .hint(format!("put the address into the environment variable {variable}")))
}

fn store(settings: &Settings, address: &str, origin: &str) -> Result<Origin, CliError> {
    let store = StoreLocation::resolve(Some(&(address.to_owned(), origin.to_owned())))?;
    Ok(Origin::Store(Box::new(settings.for_store(store))))
}

fn old_redis(args: &MigrateArgs, url: &str) -> Origin {
    let shown = RedisUrl::new(url).to_string();
    let layout = args.old_prefix.clone().map_or_else(Layout::default, Layout::below);
    let layout = match &args.old_checkpoints {
        Some(prefix) => layout.with_checkpoints(prefix),
        None => layout,
    };
    Origin::OldRedis { url: url.to_owned(), shown: escape::line(&shown).into_owned(), layout }
}

async fn options(target: &StoreHandle, settings: &Settings, dry_run: bool) -> Result<Options, CliError> {
    let registry: Arc<dyn EventValidator> = Arc::new(schemas::registry(target, settings.engine).await?);
    Ok(Options {
        limits: settings.limits.clone(),
        ordering: settings.ordering.clone(),
        schemas: Some(registry),
        dry_run,
    })
}

async fn close(target: StoreHandle, report: Result<Report, MigrateError>) -> Result<Report, CliError> {
    target.close().await;
    Ok(report?)
}

/// A progress bar for the current phase. A new phase gets a new bar.
struct Watched {
    visible: bool,
    shown: Mutex<Option<(Phase, Bar)>>,
}

impl Watched {
    fn new(visible: bool) -> Self {
        Self { visible, shown: Mutex::new(None) }
    }

    fn at(&self, phase: Phase, done: u64, total: Option<u64>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let bar = match shown.take() {
            Some((same, bar)) if same == phase => bar,
            _ => Bar::new(self.visible, doing(phase), total),
        };
        bar.at(done);
        *shown = Some((phase, bar));
    }
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Looking => "looking through the old keys",
        Phase::Events => "taking events",
        Phase::Checkpoints => "taking checkpoints",
        Phase::Comparing => "comparing counts",
    }
}

impl From<MigrateError> for CliError {
    fn from(error: MigrateError) -> Self {
        let said = error.to_string();
        match error {
            MigrateError::Source(SourceError::Address(_)) => Self::usage(said)
                .hint("an address is redis://[USER@]HOST[:PORT][/DATABASE], or rediss:// for TLS"),
            MigrateError::Source(SourceError::Denied(_)) => Self::failed(said).hint(
                "the user needs the rights +@read +ping on the old keys, and +select for another database",
            ),
            MigrateError::Source(_) => {
                Self::failed(said).hint("the stored events stay; run the same command again to continue")
            }
            MigrateError::NothingThere(_) => Self::failed(said)
                .hint("--old-prefix names what the old keys begin with; the address may end in /DATABASE"),
            MigrateError::SameStore => Self::usage(said).hint("name another store with --store"),
            // The fault may be in either store.
            MigrateError::Events(error) => Self::from(error).of_store(false),
            MigrateError::Replays(error) => Self::from(error).of_store(false),
            MigrateError::Checkpoints(error) => Self::from(error).of_store(false),
            MigrateError::Groups(error) => Self::from(error).of_store(false),
            MigrateError::Storage(error) => Self::from(error).of_store(false),
            _ => Self::failed(said),
        }
    }
}
