//! The story, act by act. Each act prints its results and compares them with the generator's expectation. The story
//! ends at the first difference.

mod group;
mod recovery;

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use bus::{PublishSettings, Publisher};
use domain::{Filter, ports::Order};
use event_replay::{StoreHandle, app};
use generator::{ReadModel, Settings};
use replay::{NewCheckpoint, ReplayManager};
use serde_json::Map;
use validation::SchemaRegistry;

use self::group::Life;
use super::{
    Fault,
    consumer::Consumer,
    feed::{Feed, Taken, sentence},
    questions::Question,
    step::{Step, counted, seconds},
    summary::{CheckpointSummary, QuerySummary, Summary},
};
use crate::{args::Format, commands::walk::Walk, context::Context, errors::CliError, output::bar::Bar};

const HALFWAY: &str = "demo-halfway";
/// The number of events above which a progress bar is shown.
const LONG: u64 = 50_000;
/// The maximum number of differing figures shown, and of problems kept of one kind.
const SHOWN: usize = 5;
/// Events in one batch of a replay into a read model.
const BATCH: usize = 500;

/// The state that all acts share.
pub(super) struct Story<'a, 'c> {
    cx: &'a mut Context<'c>,
    stores: StoreHandle,
    manager: ReplayManager,
    feed: Feed,
    settings: Settings,
    fault: Option<Fault>,
    /// The current read model.
    live: Consumer,
    /// The read model as saved at the checkpoint.
    saved: Consumer,
    /// Valid events up to the checkpoint, as the generator counts them.
    first_half: u64,
    /// Events in the store before the replays, as the store counts them.
    stored_before: u64,
    /// The group and its service, while they run.
    life: Option<Life>,
    summary: Summary,
}

impl<'a, 'c> Story<'a, 'c> {
    /// Creates a story on a fresh store.
    pub(super) fn new(
        stores: StoreHandle,
        settings: Settings,
        fault: Option<Fault>,
        summary: Summary,
        cx: &'a mut Context<'c>,
    ) -> Self {
        let validator = Arc::new(SchemaRegistry::new(cx.settings.engine));
        // The defaults apply, because the refusals must not depend on the user's settings.
        let publishing = PublishSettings::default();
        let publisher = Publisher::new(stores.ports().clone(), validator, app::clock(), publishing);
        let manager = app::replay::manager(&stores);
        let (live, saved) = (Consumer::default(), Consumer::default());
        let feed = Feed::new(settings, publisher);
        Self {
            cx,
            stores,
            manager,
            feed,
            settings,
            fault,
            live,
            saved,
            first_half: 0,
            stored_before: 0,
            life: None,
            summary,
        }
    }

    /// Runs the story to its end or to the first problem.
    pub(super) async fn tell(mut self) -> Result<Summary, CliError> {
        let began = Instant::now();
        self.open()?;
        self.acts().await?;
        self.summary.duration_ms = began.elapsed().as_millis() as u64;
        self.summary.ok = self.summary.problems.is_empty();
        if self.summary.ok {
            self.close(&seconds(began.elapsed()))?;
        }
        let Self { stores, manager, feed, summary, .. } = self;
        // The manager and the feed also hold the store open.
        drop((manager, feed));
        stores.close().await;
        Ok(summary)
    }

    async fn acts(&mut self) -> Result<(), CliError> {
        self.publish_first_half().await?;
        if self.is_well() {
            self.build_and_mark().await?;
        }
        if self.is_well() {
            self.publish_second_half().await?;
        }
        if self.is_well() {
            self.find().await?;
        }
        if self.is_well() {
            self.lose_the_latest().await?;
        }
        if self.is_well() {
            self.lose_everything().await?;
        }
        if self.is_well() {
            self.live_with_a_group().await?;
        }
        if self.is_well() {
            self.redrive().await?;
        }
        if self.is_well() {
            self.replay_into_the_group().await?;
        }
        self.end_the_group().await?;
        if self.is_well() {
            self.look_at_the_store().await?;
        }
        Ok(())
    }

    fn is_well(&self) -> bool {
        self.summary.problems.is_empty()
    }

    fn open(&mut self) -> Result<(), CliError> {
        let (events, seed) = (counted(self.settings.events), self.settings.seed);
        self.print(&format!(
            "{events} events of a learning platform, from seed {seed}; two of a hundred are invalid."
        ))?;
        self.print(&format!("A new store: {}", self.summary.store))?;
        self.print("")
    }

    fn close(&mut self, took: &str) -> Result<(), CliError> {
        self.print(&format!("All is as the generator says it must be. It took {took}."))?;
        if self.summary.next.is_empty() {
            return self.print("The namespace is removed again.");
        }
        self.print("")?;
        self.print("Now you (the next demo replaces this store):")?;
        for step in self.summary.next.clone() {
            self.print(&format!("  {step}"))?;
        }
        Ok(())
    }

    /// Publishes the older half of the events.
    async fn publish_first_half(&mut self) -> Result<(), CliError> {
        let mut step = Step::begin("Publish: validate each event, then store it");
        let taken = self.publish(self.settings.events / 2).await?;
        self.first_half = self.feed.expectation().valid_events();
        say_taken(&taken, &mut step);
        let examples: Vec<String> = taken.examples.iter().map(sentence).collect();
        if !examples.is_empty() {
            let (planned, refused) = (counted(taken.as_planned), counted(taken.refused));
            step.say(format!(
                "{planned} of {refused} for the very reason that the generator built into them, such as"
            ));
            examples.into_iter().for_each(|example| step.example(example));
        }
        self.summary.add(taken);
        self.end(step)
    }

    /// The consumer follows the log to its end, and a checkpoint marks its position.
    async fn build_and_mark(&mut self) -> Result<(), CliError> {
        let mut step = Step::begin("Follow the log with a read model, and mark the place");
        self.follow().await?;
        let (differing, of) = self.compare(&mut step);
        step.say(format!(
            "{} events made {} figures of users, courses and revenue; {} equal the generator's",
            counted(self.live.events()),
            counted(of),
            counted(of - differing.min(of))
        ));
        let checkpoint = self
            .manager
            .checkpoints()
            .create(NewCheckpoint {
                name: HALFWAY.to_owned(),
                // The consumer has followed the log to its end. An event would mark a position in one partition only.
                last_processed_event_id: None,
                metadata: Map::from_iter([(
                    "reason".to_owned(),
                    "the demo's read model was saved here".into(),
                )]),
                ..NewCheckpoint::default()
            })
            .await?;
        self.saved = self.live.clone();
        let (event_count, expected) = (checkpoint.event_count, self.first_half);
        step.say(format!("checkpoint {HALFWAY}: {} events at or before it", counted(event_count)));
        self.expect("events at or before the checkpoint", event_count, expected);
        self.summary.checkpoint = Some(CheckpointSummary { name: HALFWAY, event_count, expected });
        self.end(step)
    }

    /// Publishes the newer half of the events, after the checkpoint.
    async fn publish_second_half(&mut self) -> Result<(), CliError> {
        let mut step = Step::begin("More events arrive after the checkpoint");
        let taken = self.publish(self.settings.events).await?;
        say_taken(&taken, &mut step);
        self.summary.add(taken);
        self.follow().await?;
        let (differing, of) = self.compare(&mut step);
        step.say(format!(
            "the read model follows: {} events, {} of {} figures equal",
            counted(self.live.events()),
            counted(of - differing.min(of)),
            counted(of)
        ));
        self.end(step)
    }

    /// Compares the number of events that the store finds with the number of generated lines, for each query.
    async fn find(&mut self) -> Result<(), CliError> {
        let mut step = Step::begin("Find: by workflow, by user, by type and time");
        let questions = std::mem::take(&mut self.feed.questions);
        for (at, Question { flags, filter, expected, .. }) in questions.into_iter().enumerate() {
            let mut walk = Walk::new(self.stores.ports().clone(), filter, Order::OldestFirst, None);
            let (mut found, mut first) = (0, Vec::new());
            while let Some(page) = walk.page(self.cx.printer).await? {
                found += page.events.len() as u64;
                let room = SHOWN - first.len().min(SHOWN);
                first.extend(page.events.into_iter().take(room));
            }
            step.say(format!("list {flags}"));
            step.example(format!("{} found, {} expected", counted(found), counted(expected)));
            if at == 0 {
                for stored in &first {
                    step.example(format!("{}  {}", stored.event.timestamp(), stored.event.event_type()));
                }
            }
            self.expect(&format!("events found by {flags}"), found, expected);
            self.summary.queries.push(QuerySummary { flags, found, expected });
        }
        self.end(step)
    }

    /// Checks that the replays stored no event, and that they changed only the replay counts.
    async fn look_at_the_store(&mut self) -> Result<(), CliError> {
        let mut step = Step::begin("Look at the store: replays count, and store nothing");
        let after = self.stores.info().await?.events;
        step.say(format!(
            "{} events before the replays, {} after",
            counted(self.stored_before),
            counted(after)
        ));
        self.expect("events stored after the replays", after, self.feed.expectation().valid_events());
        self.summary.stored_by_replays = after.saturating_sub(self.stored_before);
        let counts = self.replay_counts().await?;
        for (times, events) in &counts {
            let times = match times {
                1 => "once".to_owned(),
                2 => "twice".to_owned(),
                _ => format!("{times} times"),
            };
            step.say(format!("{} events were replayed {times}", counted(*events)));
        }
        let second_half = after - self.first_half.min(after);
        self.expect("events replayed twice", counts.get(&2).copied().unwrap_or(0), self.first_half);
        self.expect("events replayed 3 times", counts.get(&3).copied().unwrap_or(0), second_half);
        self.summary.replay_counts = counts;
        self.end(step)
    }

    async fn publish(&mut self, until: u64) -> Result<Taken, CliError> {
        let bar = self.bar("publishing", until);
        self.feed.publish(until, &bar).await
    }

    async fn follow(&mut self) -> Result<(), CliError> {
        let bar = self.bar("following", self.summary.stored);
        self.live.follow(&self.stores, self.cx.printer, &bar).await
    }

    async fn replay_counts(&self) -> Result<BTreeMap<u32, u64>, CliError> {
        let bar = self.bar("counting", self.stored_before);
        let mut walk = Walk::new(self.stores.ports().clone(), Filter::default(), Order::OldestFirst, None);
        let (mut counts, mut done) = (BTreeMap::new(), 0);
        while let Some(page) = walk.page(self.cx.printer).await? {
            for stored in &page.events {
                *counts.entry(stored.replay_count).or_default() += 1;
            }
            done += page.events.len() as u64;
            bar.at(done);
        }
        Ok(counts)
    }

    /// Compares the read model with the generator. Returns the number of differing figures and of all figures. Adds the
    /// differences to the problems.
    fn compare(&mut self, step: &mut Step) -> (usize, usize) {
        let model = self.live.model().clone();
        self.compare_with(&model, step)
    }

    /// Does the same for another consumer's read model.
    fn compare_with(&mut self, model: &ReadModel, step: &mut Step) -> (usize, usize) {
        let expected = self.feed.expectation().read_model();
        let lines = expected.diff(model);
        for line in lines.iter().take(SHOWN) {
            step.example(line);
        }
        self.summary.problems.extend(lines.iter().take(SHOWN).cloned());
        (lines.len(), expected.figure_count())
    }

    fn expect(&mut self, what: &str, found: u64, expected: u64) {
        if found != expected {
            self.summary.problems.push(format!("{what}: expected {expected}, found {found}"));
        }
    }

    fn bar(&self, doing: &'static str, total: u64) -> Bar {
        match self.settings.events > LONG {
            true => self.cx.printer.bar(doing, Some(total)),
            false => Bar::new(false, doing, None),
        }
    }

    fn end(&mut self, step: Step) -> Result<(), CliError> {
        let (title, took, lines) = step.end(self.summary.steps.len() + 1);
        self.summary.add_step(title, took);
        lines.iter().try_for_each(|line| self.print(line))?;
        self.print("")?;
        self.cx.printer.flush()
    }

    /// Prints a line for people. With JSON output, only the summary is printed.
    fn print(&mut self, line: &str) -> Result<(), CliError> {
        match self.cx.printer.format() {
            Format::Table => self.cx.printer.line(line),
            Format::Json | Format::Ndjson => Ok(()),
        }
    }
}

fn say_taken(taken: &Taken, step: &mut Step) {
    let (sent, stored, refused) = (counted(taken.sent), counted(taken.stored), counted(taken.refused));
    step.say(format!("{sent} sent: {stored} stored, {refused} refused"));
}
