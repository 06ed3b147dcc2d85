//! The acts with a consumer group. Its service fails, and is slow. A redrive and a replay then restore its lost data.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Bus, BusSettings, Consumer, StartAt};
use domain::{
    Backoff, DeadLetterState, Filter,
    ports::DeadLetterQuery,
    stats::{DEAD_LETTERED, RETRIED},
};
use event_replay::app;
use replay::{
    Cancel, GroupReplayOptions, JobRunner, Letters, Pace, PlanRequest, RedriveReport, Redriver,
    ReplayProgress, ReplayReport,
};

use super::{BATCH, Story};
use crate::{
    commands::demo::{
        Fault,
        service::{BROKEN, FLAKY, SLOW, SLOWNESS, Service},
        step::{Step, counted},
        summary::GroupSummary,
    },
    errors::CliError,
};

/// The name of the group.
const GROUP: &str = "demo-figures";
/// Attempts after the first.
const RETRIES: u32 = 2;
/// Pauses between attempts. They are short, because a person watches.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(80));
/// `LOOK_EVERY` is the interval between two checks of the group's progress. `PATIENCE` is the longest time without
/// progress.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(30);

/// The service, its group, and the bus between them.
pub(super) struct Life {
    bus: Bus,
    consumer: Consumer,
    service: Arc<Service>,
}

impl Life {
    async fn begin(story: &Story<'_, '_>) -> Result<Self, CliError> {
        let failed =
            |error: bus::BusError| CliError::failed(format!("the group cannot be consumed: {error}"));
        let settings =
            BusSettings { enable_validation: false, max_retries: RETRIES, ..BusSettings::default() };
        let builder = Bus::builder(story.stores.ports().clone()).clock(app::clock()).settings(settings);
        let bus = builder.build().await.map_err(failed)?;
        let service = Arc::new(Service::default());
        let subscription = bus.subscribe(GROUP).on_everything(service.clone()).start_at(StartAt::Earliest);
        let consumer = subscription.backoff(BACKOFF).named("demo").start().await.map_err(failed)?;
        Ok(Self { bus, consumer, service })
    }

    /// Ends the consumer and the bus. The counters are in the store afterwards.
    pub(super) async fn end(self) {
        // The result is always a requested stop: this process does not delete the group.
        let _ = self.consumer.stop().await;
        self.bus.close().await;
    }
}

impl Story<'_, '_> {
    /// Consumes the log from the first event with a service that fails.
    pub(super) async fn live_with_a_group(&mut self) -> Result<(), CliError> {
        let mut step = Step::begin("A consumer group: its service fails, and is slow");
        let life = Life::begin(self).await?;
        self.wait_until_through(&life.service).await;
        let service = Arc::clone(&life.service);
        self.life = Some(life);
        let valid = self.feed.expectation().valid_events();
        let of_type = self.feed.expectation().read_model().by_type;
        let of = |event_type: &str| of_type.get(event_type).map_or(0, |count| count.unsigned_abs());
        let (broken, flaky, slow) = (of(BROKEN), of(FLAKY), of(SLOW));
        step.say(format!(
            "group {GROUP}, from the start: {} of {} events handled",
            counted(service.events()),
            counted(valid)
        ));
        step.example(format!("{} {FLAKY} failed once, and were handled when tried again", counted(flaky)));
        step.example(format!(
            "{} {SLOW} took {SLOWNESS:?} each; meanwhile {} others were handled",
            counted(slow),
            counted(service.overtook())
        ));
        let letters = self.open_letters().await?;
        step.example(format!(
            "{} {BROKEN} failed {} times each, and are dead letters",
            counted(letters),
            RETRIES + 1
        ));
        self.expect("events that the group handled", service.events(), valid - broken);
        self.expect("attempts that failed", service.failures(), flaky + broken * u64::from(RETRIES + 1));
        self.expect("dead letters", letters, broken);
        let differing = self.feed.expectation().read_model().diff(&service.model()).len();
        step.say(format!(
            "{} figures of its read model are wrong: what it could not handle",
            counted(differing)
        ));
        self.summary.group = Some(GroupSummary {
            name: GROUP,
            handled: service.events(),
            failed_attempts: service.failures(),
            dead_letters: letters,
            expected_dead_letters: broken,
            lost_figures: differing,
            ..GroupSummary::default()
        });
        if broken > 0 && differing == 0 {
            self.summary
                .problems
                .push("dead letters changed no figure, so handling them would prove nothing".to_owned());
        }
        self.end(step)
    }

    /// Repairs the service, and redrives its dead letters.
    pub(super) async fn redrive(&mut self) -> Result<(), CliError> {
        let Some(service) = self.service() else { return Ok(()) };
        let mut step = Step::begin("Fix the service, and redrive its dead letters");
        service.repair();
        let before = self.open_letters().await?;
        let report = self.send_again().await?;
        step.say(format!(
            "dead-letters redrive --group {GROUP}: {} of {} succeeded, {} failed again",
            counted(report.handled),
            counted(report.requested),
            counted(report.failed_again)
        ));
        self.expect("dead letters handled", report.handled, before);
        self.expect("dead letters left", self.open_letters().await?, 0);
        self.hold_against_the_generator(&service, &mut step);
        if let Some(group) = &mut self.summary.group {
            group.redriven = report.handled;
        }
        self.end(step)
    }

    /// Clears the service's read model, and replays all of history through its group.
    pub(super) async fn replay_into_the_group(&mut self) -> Result<(), CliError> {
        let Some(service) = self.service() else { return Ok(()) };
        let mut step = Step::begin("The service loses its read model; replay all into its group");
        let valid = self.feed.expectation().valid_events();
        // The dropped delivery is in the middle, where neither end of the plan hides it.
        let loses = matches!(self.fault, Some(Fault::SkipInGroup)).then_some(valid / 2 + 1);
        service.lose_everything(loses);
        let report = self.replay_all_into_group().await?;
        step.say(format!(
            "replay --all --group {GROUP}: {} of {} events handled in {} ms, {} failed",
            counted(report.successful_replays),
            counted(report.total_events),
            counted(report.duration_ms),
            counted(report.failed_replays)
        ));
        self.expect("events replayed into the group", report.successful_replays, valid);
        self.expect("replayed events that came to the service", service.replayed(), valid);
        let differing = self.hold_against_the_generator(&service, &mut step);
        if let Some(group) = &mut self.summary.group {
            group.replay_id = report.replay_id;
            group.replayed_events = report.successful_replays;
            group.differing_figures = differing;
        }
        self.end(step)
    }

    /// Ends the group's consumer. Its counters are in the store, for `stats` and `health`.
    pub(super) async fn end_the_group(&mut self) -> Result<(), CliError> {
        let Some(life) = self.life.take() else { return Ok(()) };
        let failures = life.service.failures();
        life.end().await;
        let counts = self.counters().await?;
        let of = |name: &str| counts.get(name).copied().unwrap_or(0);
        let letters = self.summary.group.as_ref().map_or(0, |group| group.dead_letters);
        self.expect("deliveries counted as tried again", of(RETRIED), failures - letters);
        self.expect("deliveries counted as dead letters", of(DEAD_LETTERED), letters);
        Ok(())
    }

    fn service(&self) -> Option<Arc<Service>> {
        self.life.as_ref().map(|life| Arc::clone(&life.service))
    }

    /// Waits until each event was handled or given up on, or until the group makes no progress for [`PATIENCE`].
    async fn wait_until_through(&self, service: &Service) {
        let valid = self.feed.expectation().valid_events();
        let bar = self.bar("consuming", valid);
        let (mut done, mut since) = (0, Instant::now());
        while done < valid && since.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = service.events() + service.given_up();
            if now != done {
                (done, since) = (now, Instant::now());
                bar.at(done);
            }
        }
    }

    /// Counts the open dead letters of the group. Waits until the store has as many as the service counted, because a
    /// commit follows shortly after the answer.
    async fn open_letters(&self) -> Result<u64, CliError> {
        let begun = Instant::now();
        let expected = match self.summary.group {
            None => self.service().map_or(0, |service| service.given_up()),
            Some(_) => 0,
        };
        loop {
            let counts = self.stores.count_dead_letters().await?;
            let is_open = |state| matches!(state, DeadLetterState::Open | DeadLetterState::Redriving);
            let open = counts.iter().filter(|count| count.group == GROUP && is_open(count.state));
            let open = open.map(|count| count.count).sum();
            if open >= expected || begun.elapsed() > PATIENCE {
                return Ok(open);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn send_again(&self) -> Result<RedriveReport, CliError> {
        let redriver = Redriver::new(self.stores.ports().clone(), self.stores.ports().clone());
        let query = DeadLetterQuery {
            group: Some(GROUP.to_owned()),
            states: vec![DeadLetterState::Open],
            limit: usize::MAX,
            ..DeadLetterQuery::default()
        };
        Ok(redriver.redrive(Letters::Matching(query), true, &(), &Cancel::default()).await?)
    }

    async fn replay_all_into_group(&self) -> Result<ReplayReport, CliError> {
        let plan = self.manager.plan(PlanRequest::new(Filter::default()), None).await?;
        let options = GroupReplayOptions {
            batch_size: BATCH,
            pace: Pace::Unpaced,
            all: true,
            ..GroupReplayOptions::to([GROUP])
        };
        let replay = self.manager.start_group_replay(&plan, &options).await?;
        let bar = self.bar("replaying", plan.total_events);
        let watcher = {
            let bar = bar.handle();
            move |progress: ReplayProgress| bar.set_position(progress.done())
        };
        Ok(JobRunner::new(self.manager.clone()).run(&replay.id, &watcher, &Cancel::default()).await?)
    }

    /// Returns the number of figures that differ in the service's read model. Adds the differences to the problems.
    fn hold_against_the_generator(&mut self, service: &Service, step: &mut Step) -> usize {
        let (differing, figures) = self.compare_with(&service.model(), step);
        let word = if differing == 0 { "recovered" } else { "NOT recovered" };
        let equal = counted(figures - differing.min(figures));
        step.say(format!("{word}: {equal} of {} figures equal to the generator's", counted(figures)));
        differing
    }

    /// Returns the counters of the group, by name.
    async fn counters(&self) -> Result<BTreeMap<String, u64>, CliError> {
        let samples = self.stores.stats(None).await?;
        let mut counts = BTreeMap::new();
        for sample in samples.into_iter().filter(|sample| sample.label == GROUP) {
            *counts.entry(sample.name).or_default() += sample.count;
        }
        Ok(counts)
    }
}
