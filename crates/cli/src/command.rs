//! The commands, and what runs each.

use clap::Subcommand;

use crate::{
    commands::{
        backup, checkpoint, checkpoints, completions, config_show, consume, dead_letters, demo, erase,
        export, groups, health, import, init, list, man, migrate, publish, recover, replay,
        replay_correlation, replay_user, replays, restore, scheduled, schemas, show, stats, tail, trim,
        validate_schemas, verify,
    },
    context::Context,
    errors::CliError,
    exit::Exit,
};

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
pub(crate) async fn run(command: Command, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(args, cx).await,
        Command::Publish(args) => publish::run(args, cx).await,
        Command::Import(args) => import::run(args, cx).await,
        Command::List(args) => list::run(args, cx).await,
        Command::Show(args) => show::run(args, cx).await,
        Command::Tail(args) => tail::run(args, cx).await,
        Command::Stats(args) => stats::run(args, cx).await,
        Command::Export(args) => export::run(args, cx).await,
        Command::Scheduled(command) => scheduled::run(command, cx).await,
        Command::Consume(args) => consume::run(args, cx).await,
        Command::Replay(args) => replay::run(args, cx).await,
        Command::ReplayCorrelation(args) => replay_correlation::run(args, cx).await,
        Command::ReplayUser(args) => replay_user::run(args, cx).await,
        Command::Replays(command) => replays::run(command, cx).await,
        Command::Checkpoint(args) => checkpoint::run(args, cx).await,
        Command::Checkpoints(command) => checkpoints::run(command, cx).await,
        Command::Recover(args) => recover::run(args, cx).await,
        Command::Groups(command) => groups::run(command, cx).await,
        Command::DeadLetters(command) => dead_letters::run(command, cx).await,
        Command::ValidateSchemas(args) => validate_schemas::run(args, cx).await,
        Command::Schemas(command) => schemas::run(command, cx).await,
        Command::Health(args) => health::run(args, cx).await,
        Command::Verify(args) => verify::run(args, cx).await,
        Command::Trim(args) => trim::run(args, cx).await,
        Command::Erase(args) => erase::run(args, cx).await,
        Command::Backup(args) => backup::run(args, cx).await,
        Command::Restore(args) => restore::run(args, cx).await,
        Command::Migrate(args) => migrate::run(args, cx).await,
        Command::Demo(args) => demo::run(args, cx).await,
        Command::Config(command) => config_show::run(&command, cx).await,
        Command::Completions(args) => completions::run(&args, cx),
        Command::Man(args) => man::run(&args, cx),
    }
}
