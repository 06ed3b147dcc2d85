//! A replay into consumer groups. The store keeps the replay, and this process runs it unless `--detach` is given.

use std::{collections::BTreeSet, time::Duration};

use domain::Retry;
use event_replay::{
    StoreHandle,
    app::{self, documents::ReplayStartedDocument},
};
use replay::{
    Cancel, GroupChoice, GroupReplayOptions, JobRunner, ReplayError, ReplayManager, ReplayReport,
    ReplaySummary, ReplayWatcher,
};
use tokio::time::{MissedTickBehavior, interval};

use super::{
    report::{Onto, exit_of, print_report},
    speed,
    to_target::Run,
    watching::{BarWatcher, say_rest},
};
use crate::{
    args::{Format, target::Target},
    commands::signals::Interrupts,
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{bar::Bar, escape, plural::count},
};

/// The interval between two checks for groups without consumers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause before a runner restarts after a fault. It doubles with each restart, up to `LONGEST_PAUSE`.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Creates the replay. Then runs the replay, or leaves it to a consumer.
pub(super) async fn execute(
    stores: &StoreHandle,
    run: Run<'_>,
    interrupts: &mut Interrupts,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let Run { manager, plan, permitted, all, args } = run;
    let run = speed::options(args, &Target::Groups, all, cx);
    let groups = match args.groups.is_empty() {
        true => GroupChoice::All,
        false => GroupChoice::named(args.groups.clone()),
    };
    let options = GroupReplayOptions {
        groups,
        batch_size: run.batch_size,
        pace: run.pace,
        all,
        ramp: args.ramp.clone().unwrap_or_default().into(),
        failure_limit: run.failure_limit,
    };
    let record = app::replay::start(stores, &cx.actor, manager, plan, permitted, &options).await?;
    let replay = ReplaySummary::of(&record)?;
    speed::say_beginning(plan, &run, &named(&replay.groups), cx);
    if args.detach {
        return detached(manager, &replay, cx).await;
    }
    let report = Following { manager, replay: &replay, retries: run.max_retries }.run(interrupts, cx).await?;
    print_report(&report, Onto::Stdout, cx)?;
    Ok(exit_of(&report))
}

fn named(groups: &[String]) -> String {
    let names: Vec<String> = groups.iter().map(|name| escape::short(name, 60)).collect();
    let word = if names.len() == 1 { "group" } else { "groups" };
    format!("{word} {}", names.join(", "))
}

async fn detached(
    manager: &ReplayManager,
    replay: &ReplaySummary,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    let deserted = manager.groups_without_consumers(&replay.id).await?;
    for group in &deserted {
        let name = escape::line(group);
        cx.printer.warn(&format!(
            "group {name} has no consumers: its events wait until one connects \
             (`event-replay consume {name}`)"
        ));
    }
    let detached = ReplayStartedDocument::of(replay, &deserted);
    match cx.printer.format() {
        Format::Json | Format::Ndjson => cx.printer.json(&detached)?,
        Format::Table => {
            let events = count(replay.total_events, "event");
            cx.printer.line(&format!(
                "replay {} was started: {events} to {}",
                replay.id,
                named(&replay.groups)
            ))?;
            cx.printer.say(&format!("`event-replay replays watch {}` follows it", replay.id));
        }
    }
    Ok(Exit::Ok)
}

/// Waits for a replay, and runs it unless another process is its runner.
struct Following<'a> {
    manager: &'a ReplayManager,
    replay: &'a ReplaySummary,
    /// Number of restarts after transient faults.
    retries: u32,
}

impl Following<'_> {
    async fn run(&self, interrupts: &mut Interrupts, cx: &Context<'_>) -> Result<ReplayReport, CliError> {
        let bar = cx.printer.bar("replaying", Some(self.replay.total_events));
        let (watcher, mut rests) = BarWatcher::new(&bar);
        let cancel = Cancel::default();
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = BTreeSet::new();
        let run = self.work(&watcher, &cancel);
        tokio::pin!(run);
        loop {
            tokio::select! {
                biased;
                report = &mut run => {
                    bar.clear();
                    return report.map_err(|error| self.left(error));
                }
                () = interrupts.next() => {
                    if cancel.is_cancelled() {
                        return Err(self.left_at_once());
                    }
                    cancel.cancel();
                    let said = "cancelling: waiting for events that were delivered; Ctrl-C again ends at once";
                    bar.handle().suspend(|| cx.printer.say(said));
                }
                rest = rests.changed() => say_rest(&rest, Some(&self.replay.id), &bar, cx),
                _ = looks.tick() => self.name_deserted_groups(&mut told, &bar, cx).await?,
            }
        }
    }

    /// Runs the replay, and restarts it after transient faults. The store holds all progress.
    async fn work(&self, watcher: &dyn ReplayWatcher, cancel: &Cancel) -> Result<ReplayReport, ReplayError> {
        let runner = JobRunner::new(self.manager.clone());
        let mut pause = FIRST_PAUSE;
        for _ in 0..self.retries {
            match runner.run(&self.replay.id, watcher, cancel).await {
                Err(error) if error.retry() != Retry::Never => {
                    tracing::warn!(%error, replay = %self.replay.id, "the replay is begun again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                ended => return ended,
            }
        }
        runner.run(&self.replay.id, watcher, cancel).await
    }

    /// Reports each group without consumers once, because waiting for those groups may never end.
    async fn name_deserted_groups(
        &self,
        told: &mut BTreeSet<String>,
        bar: &Bar,
        cx: &Context<'_>,
    ) -> Result<(), CliError> {
        if self.replay.total_events == 0 {
            return Ok(());
        }
        let deserted = match self.manager.groups_without_consumers(&self.replay.id).await {
            Ok(deserted) => deserted,
            Err(error) if error.retry() == Retry::Never => return Err(error.into()),
            Err(error) => {
                tracing::warn!(%error, "it cannot be told which groups are consumed");
                return Ok(());
            }
        };
        for group in deserted {
            let name = escape::line(&group);
            let said = format!(
                "group {name} has no consumers: waiting for one (`event-replay consume {name}`); \
                 Ctrl-C cancels the replay"
            );
            if told.insert(group) {
                bar.handle().suspend(|| cx.printer.warn(&said));
            }
        }
        Ok(())
    }

    fn left(&self, error: ReplayError) -> CliError {
        let id = &self.replay.id;
        CliError::from(error)
            .during(format!("replay {id} waits for the next consumer to run it"))
            .hint(format!("`event-replay replays watch {id}` follows it, `replays cancel` ends it"))
    }

    fn left_at_once(&self) -> CliError {
        let id = &self.replay.id;
        CliError::failed(format!("ended at once; replay {id} is cancelled by the next consumer that runs"))
            .hint(format!("`event-replay replays show {id}` says how far it came"))
    }
}
