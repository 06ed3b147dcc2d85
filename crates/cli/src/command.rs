//! The list of commands, and the dispatch to the function that runs each.

use clap::Subcommand;

#[cfg(feature = "serve")]
use crate::commands::serve;
use crate::{
    commands::{
        audit, backup, checkpoint, checkpoints, compare, completions, config_show, consume, contexts,
        dead_letters, demo, diagnose, diff, erase, explain, export, groups, health, help, histogram, import,
        init, list, man, migrate, plans, publish, recover, replay, replay_correlation, replay_user, replays,
        restore, scheduled, schemas, show, state, stats, tail, tokens, trace, trim, validate,
        validate_schemas, verify, version,
    },
    context::Context,
    errors::CliError,
    exit::Exit,
};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an empty store
    Init(init::InitArgs),
    /// Validate events and store them
    Publish(publish::PublishArgs),
    /// Import an export or any other file of events
    Import(import::ImportArgs),
    /// Validate events and store nothing
    Validate(validate::ValidateArgs),
    /// Show events, the newest first
    List(list::ListArgs),
    /// Show single events in full
    Show(show::ShowArgs),
    /// Show the last events, and follow new ones
    Tail(tail::TailArgs),
    /// Show what a workflow's events led to, and what each group did with them
    Trace(trace::TraceArgs),
    /// Show the state of an entity at a moment
    State(state::StateArgs),
    /// Compare the states of an entity at two moments
    Diff(diff::DiffArgs),
    /// Count what is stored
    Stats(stats::StatsArgs),
    /// Count events over time
    Histogram(histogram::HistogramArgs),
    /// Write events out, the oldest first
    Export(export::ExportArgs),
    /// Manage scheduled events
    #[command(subcommand)]
    Scheduled(scheduled::ScheduledCommand),
    /// Run a consumer of a group: deliver events to a service
    Consume(consume::ConsumeArgs),
    /// Serve the HTTP API
    #[cfg(feature = "serve")]
    Serve(serve::ServeArgs),
    /// Replay a slice of history
    Replay(replay::ReplayArgs),
    /// Replay a whole workflow
    ReplayCorrelation(replay_correlation::ReplayCorrelationArgs),
    /// Replay everything that names a user
    ReplayUser(replay_user::ReplayUserArgs),
    /// Send events to two targets, and compare their answers
    Compare(compare::CompareArgs),
    /// Manage replays: watch, pause, resume, cancel
    #[command(subcommand)]
    Replays(replays::ReplaysCommand),
    /// Manage kept plans: show, approve, delete
    #[command(subcommand)]
    Plans(plans::PlansCommand),
    /// Mark a position in the log, to recover from later
    Checkpoint(checkpoint::CheckpointArgs),
    /// Manage checkpoints
    #[command(subcommand)]
    Checkpoints(checkpoints::CheckpointsCommand),
    /// Replay the events after a checkpoint
    Recover(recover::RecoverArgs),
    /// Manage consumer groups
    #[command(subcommand)]
    Groups(groups::GroupsCommand),
    /// Manage dead letters: deliveries that failed permanently
    #[command(subcommand)]
    DeadLetters(dead_letters::DeadLettersCommand),
    /// Show all event schemas, and whether they are valid
    ValidateSchemas(validate_schemas::ValidateSchemasArgs),
    /// Manage event schemas
    #[command(subcommand)]
    Schemas(schemas::SchemasCommand),
    /// Manage tokens of the HTTP API
    #[command(subcommand)]
    Tokens(tokens::TokensCommand),
    /// Show what operators did
    #[command(subcommand)]
    Audit(audit::AuditCommand),
    /// Check the store, its groups, and the alerts
    Health(health::HealthArgs),
    /// Check every event and every index entry
    Verify(verify::VerifyArgs),
    /// Drop old events
    Trim(trim::TrimArgs),
    /// Remove everything that names an entity, permanently
    Erase(erase::EraseArgs),
    /// Copy the store to a file, while it is in use
    Backup(backup::BackupArgs),
    /// Restore a backup
    Restore(restore::RestoreArgs),
    /// Migrate from the old system in Redis, or from another store
    Migrate(migrate::MigrateArgs),
    /// See events validated, stored, found, delivered, lost and recovered
    Demo(demo::DemoArgs),
    /// Show the settings
    #[command(subcommand)]
    Config(config_show::ConfigCommand),
    /// Switch between stores by name
    #[command(subcommand)]
    Context(contexts::ContextCommand),
    /// Explain an exit code, a health check, or a rule of validation
    Explain(explain::ExplainArgs),
    /// Write a report for support into a file, without payloads and secrets
    Diagnose(diagnose::DiagnoseArgs),
    /// Show the version; with --verbose also commit, date, compiler and features
    Version(version::VersionArgs),
    /// Show the help of a command or a topic
    Help(help::HelpArgs),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
    /// Write man pages into a folder
    Man(man::ManArgs),
}

impl Command {
    /// Returns whether the command ignores all settings.
    pub(crate) fn needs_no_settings(&self) -> bool {
        matches!(
            self,
            Self::Context(_)
                | Self::Explain(_)
                | Self::Version(_)
                | Self::Help(_)
                | Self::Completions(_)
                | Self::Man(_)
        )
    }
}

/// Runs the command.
pub(crate) async fn run(command: Command, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    match command {
        Command::Init(args) => init::run(args, cx).await,
        Command::Publish(args) => publish::run(args, cx).await,
        Command::Import(args) => import::run(args, cx).await,
        Command::Validate(args) => validate::run(args, cx).await,
        Command::List(args) => list::run(args, cx).await,
        Command::Show(args) => show::run(args, cx).await,
        Command::Tail(args) => tail::run(args, cx).await,
        Command::Trace(args) => trace::run(args, cx).await,
        Command::State(args) => state::run(args, cx).await,
        Command::Diff(args) => diff::run(args, cx).await,
        Command::Stats(args) => stats::run(args, cx).await,
        Command::Histogram(args) => histogram::run(args, cx).await,
        Command::Export(args) => export::run(args, cx).await,
        Command::Scheduled(command) => scheduled::run(command, cx).await,
        Command::Consume(args) => consume::run(args, cx).await,
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args, cx).await,
        Command::Replay(args) => replay::run(args, cx).await,
        Command::ReplayCorrelation(args) => replay_correlation::run(args, cx).await,
        Command::ReplayUser(args) => replay_user::run(args, cx).await,
        Command::Compare(args) => compare::run(args, cx).await,
        Command::Replays(command) => replays::run(command, cx).await,
        Command::Plans(command) => plans::run(command, cx).await,
        Command::Checkpoint(args) => checkpoint::run(args, cx).await,
        Command::Checkpoints(command) => checkpoints::run(command, cx).await,
        Command::Recover(args) => recover::run(args, cx).await,
        Command::Groups(command) => groups::run(command, cx).await,
        Command::DeadLetters(command) => dead_letters::run(command, cx).await,
        Command::ValidateSchemas(args) => validate_schemas::run(args, cx).await,
        Command::Schemas(command) => schemas::run(command, cx).await,
        Command::Tokens(command) => tokens::run(command, cx).await,
        Command::Audit(command) => audit::run(command, cx).await,
        Command::Health(args) => health::run(args, cx).await,
        Command::Verify(args) => verify::run(args, cx).await,
        Command::Trim(args) => trim::run(args, cx).await,
        Command::Erase(args) => erase::run(args, cx).await,
        Command::Backup(args) => backup::run(args, cx).await,
        Command::Restore(args) => restore::run(args, cx).await,
        Command::Migrate(args) => migrate::run(args, cx).await,
        Command::Demo(args) => demo::run(args, cx).await,
        Command::Config(command) => config_show::run(&command, cx).await,
        Command::Context(command) => contexts::run(&command, cx),
        Command::Explain(args) => explain::run(&args, cx),
        Command::Diagnose(args) => diagnose::run(args, cx).await,
        Command::Version(args) => version::run(&args, cx),
        Command::Help(args) => help::run(&args, cx),
        Command::Completions(args) => completions::run(&args, cx),
        Command::Man(args) => man::run(&args, cx),
    }
}
