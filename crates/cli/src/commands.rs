//! What the program can do: one verb a file.

mod backup;
mod checkpoint;
mod checkpoints;
mod completions;
mod config_show;
mod consume;
mod counting;
mod dead_letters;
mod demo;
mod disk;
mod erase;
mod export;
mod groups;
mod health;
mod import;
mod init;
mod intake;
mod list;
mod man;
mod mark;
mod migrate;
mod publish;
mod recover;
mod replay;
mod replay_correlation;
mod replay_user;
mod replaying;
mod replays;
mod restore;
mod retention;
mod scheduled;
mod schemas;
mod show;
mod signals;
mod stats;
mod tail;
mod trim;
mod validate_schemas;
mod verify;
mod walk;

use clap::Subcommand;

use crate::{errors::CliError, exit::Exit, output::Printer, settings::Settings};

/// What a command works with.
pub(crate) struct Context<'a> {
    /// Everything that is set.
    pub(crate) settings: Settings,
    /// Where results go.
    pub(crate) printer: &'a mut Printer,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make an empty store
    Init(init::InitArgs),
    /// Validate events and store them
    Publish(publish::PublishArgs),
    /// Take in an export or any other file of events
    Import(import::ImportArgs),
    /// Show events, the newest first
    List(list::ListArgs),
    /// Show single events in full
    Show(show::ShowArgs),
    /// Show the last events, and new ones as they come
    Tail(tail::TailArgs),
    /// Count what is stored
    Stats(stats::StatsArgs),
    /// Write events out, the oldest first
    Export(export::ExportArgs),
    /// Look after events that wait for their time
    #[command(subcommand)]
    Scheduled(scheduled::ScheduledCommand),
    /// Hand events to a service as they come: run a consumer of a group
    Consume(consume::ConsumeArgs),
    /// Replay a slice of history
    Replay(replay::ReplayArgs),
    /// Replay a whole workflow
    ReplayCorrelation(replay_correlation::ReplayCorrelationArgs),
    /// Replay everything that names a user
    ReplayUser(replay_user::ReplayUserArgs),
    /// Look after replays: watch, pause, resume, cancel
    #[command(subcommand)]
    Replays(replays::ReplaysCommand),
    /// Mark a place in the log, to recover from later
    Checkpoint(checkpoint::CheckpointArgs),
    /// Look after checkpoints
    #[command(subcommand)]
    Checkpoints(checkpoints::CheckpointsCommand),
    /// Replay what came after a checkpoint
    Recover(recover::RecoverArgs),
    /// Look after consumer groups
    #[command(subcommand)]
    Groups(groups::GroupsCommand),
    /// Look after dead letters: deliveries that a group gave up on
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Show all event schemas, and whether they are sound
    ValidateSchemas(validate_schemas::ValidateSchemasArgs),
    /// Look after event schemas
    #[command(subcommand)]
    Schemas(schemas::SchemasCommand),
    /// Check the store, its groups, and the alerts
    Health(health::HealthArgs),
    /// Check every event and every index entry
    Verify(verify::VerifyArgs),
    /// Drop old events
    Trim(trim::TrimArgs),
    /// Remove everything that names an entity, for good
    Erase(erase::EraseArgs),
    /// Copy the store to a file, while it is in use
    Backup(backup::BackupArgs),
    /// Bring a backup back
    Restore(restore::RestoreArgs),
    /// Bring in what the old system keeps in Redis, or another store
    Migrate(migrate::MigrateArgs),
    /// See events validated, stored, found, delivered, lost and recovered
    Demo(demo::DemoArgs),
    /// Look at the settings
    #[command(subcommand)]
    Config(config_show::ConfigCommand),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Write man pages into a folder
    Man(man::ManArgs),
}

/// Does what was asked.
pub(crate) async fn run(command: Command, context: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(args, context).await,
        Command::Publish(args) => publish::run(args, context).await,
        Command::Import(args) => import::run(args, context).await,
        Command::List(args) => list::run(args, context).await,
        Command::Show(args) => show::run(args, context).await,
        Command::Tail(args) => tail::run(args, context).await,
        Command::Stats(args) => stats::run(args, context).await,
        Command::Export(args) => export::run(args, context).await,
        Command::Scheduled(command) => scheduled::run(command, context).await,
        Command::Consume(args) => consume::run(args, context).await,
        Command::Replay(args) => replay::run(args, context).await,
        Command::ReplayCorrelation(args) => replay_correlation::run(args, context).await,
        Command::ReplayUser(args) => replay_user::run(args, context).await,
        Command::Replays(command) => replays::run(command, context).await,
        Command::Checkpoint(args) => checkpoint::run(args, context).await,
        Command::Checkpoints(command) => checkpoints::run(command, context).await,
        Command::Recover(args) => recover::run(args, context).await,
        Command::Groups(command) => groups::run(command, context).await,
        Command::DeadLetters(command) => dead_letters::run(command, context).await,
        Command::ValidateSchemas(args) => validate_schemas::run(args, context).await,
        Command::Schemas(command) => schemas::run(command, context).await,
        Command::Health(args) => health::run(args, context).await,
        Command::Verify(args) => verify::run(args, context).await,
        Command::Trim(args) => trim::run(args, context).await,
        Command::Erase(args) => erase::run(args, context).await,
        Command::Backup(args) => backup::run(args, context).await,
        Command::Restore(args) => restore::run(args, context).await,
        Command::Migrate(args) => migrate::run(args, context).await,
        Command::Demo(args) => demo::run(args, context).await,
        Command::Config(command) => config_show::run(&command, context),
        Command::Completions(args) => completions::run(&args, context),
        Command::Man(args) => man::run(&args, context),
    }
}
