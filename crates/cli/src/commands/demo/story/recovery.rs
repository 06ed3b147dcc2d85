//! The data losses: the lost figures, the plan of a replay, and the result of the replay.

use domain::Filter;
use indicatif::HumanBytes;
use replay::{Pace, Plan, PlanRequest, ReplayOptions, ReplayProgress, ReplayReport};

use super::{BATCH, HALFWAY, SHOWN, Story};
use crate::{
    commands::demo::{
        Fault,
        consumer::{Consumer, IntoConsumer},
        place::START,
        step::{Step, counted},
        summary::RecoverySummary,
    },
    errors::CliError,
};

impl Story<'_, '_> {
    /// Resets the consumer to its saved state, and replays the events since then.
    pub(super) async fn lose_the_latest(&mut self) -> Result<(), CliError> {
        let info = self.stores.info().await?;
        self.stored_before = info.events;
        let mut step = Step::begin("Disaster: the read model loses all since the checkpoint");
        self.live = std::mem::take(&mut self.saved);
        let lost_figures = self.say_loss(&mut step);
        self.end(step)?;
        let expected = self.feed.expectation().valid_events() - self.first_half;
        let step = Step::begin("Recover from the checkpoint: dry run, then replay");
        self.recover(step, HALFWAY, lost_figures, expected, self.fault).await
    }

    /// Resets the consumer to an empty state, and replays all events.
    pub(super) async fn lose_everything(&mut self) -> Result<(), CliError> {
        let mut step = Step::begin("Worse: the read model is gone altogether; replay all of history");
        self.live = Consumer::default();
        let lost_figures = self.say_loss(&mut step);
        let expected = self.feed.expectation().valid_events();
        self.recover(step, START, lost_figures, expected, None).await
    }

    async fn recover(
        &mut self,
        mut step: Step,
        checkpoint: &'static str,
        lost_figures: usize,
        expected_events: u64,
        fault: Option<Fault>,
    ) -> Result<(), CliError> {
        let plan =
            self.manager.recovery_plan(checkpoint, PlanRequest::new(Filter::default()), false, None).await?;
        step.say(format!("recover {checkpoint} --dry-run: {}", told(&plan)));
        self.expect("events in the plan", plan.total_events, expected_events);
        let report = self.replay(&plan, fault).await?;
        step.say(format!(
            "recover {checkpoint}: {} of {} events replayed in {} ms, {} failed",
            counted(report.successful_replays),
            counted(report.total_events),
            counted(report.duration_ms),
            counted(report.failed_replays)
        ));
        self.expect("events replayed", report.successful_replays, expected_events);
        let (differing_figures, figures) = self.compare(&mut step);
        let equal = counted(figures - differing_figures.min(figures));
        let word = if differing_figures == 0 { "recovered" } else { "NOT recovered" };
        step.say(format!("{word}: {equal} of {} figures equal to the generator's", counted(figures)));
        self.summary.recoveries.push(RecoverySummary {
            checkpoint,
            lost_figures,
            planned_events: plan.total_events,
            expected_events,
            replayed_events: report.successful_replays,
            replay_id: report.replay_id,
            figures,
            differing_figures,
        });
        self.end(step)
    }

    async fn replay(&mut self, plan: &Plan, fault: Option<Fault>) -> Result<ReplayReport, CliError> {
        let bar = self.bar("replaying", plan.total_events);
        let watcher = {
            let bar = bar.handle();
            move |progress: ReplayProgress| bar.set_position(progress.done())
        };
        // The dropped delivery is in the middle, where neither end of the plan hides it.
        let loses = matches!(fault, Some(Fault::SkipOne)).then_some(plan.total_events / 2 + 1);
        let options = ReplayOptions { batch_size: BATCH, pace: Pace::Unpaced, ..ReplayOptions::default() };
        let mut target = IntoConsumer::new(&mut self.live, loses);
        Ok(self.manager.run(plan, &mut target, &options, &watcher).await?)
    }

    /// Prints the wrong figures after a loss, and returns their number. These figures are no problem yet.
    fn say_loss(&mut self, step: &mut Step) -> usize {
        let expected = self.feed.expectation().read_model();
        let lines = expected.diff(self.live.model());
        step.say(format!(
            "{} of {} figures are wrong, such as",
            counted(lines.len()),
            counted(expected.figure_count())
        ));
        for line in one_of_each_group(&lines) {
            step.example(line);
        }
        if lines.is_empty() {
            self.summary
                .problems
                .push("the loss changed no figure, so its recovery would prove nothing".to_owned());
        }
        lines.len()
    }
}

/// Describes a plan in a line.
fn told(plan: &Plan) -> String {
    let day = |time: Option<jiff::Timestamp>| {
        time.map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
    };
    let (events, bytes) = (counted(plan.total_events), HumanBytes(plan.total_bytes));
    format!("{events} events, {bytes}, {} to {}", day(plan.oldest), day(plan.newest))
}

/// Returns the first line of each group of figures, at most [`SHOWN`] lines.
fn one_of_each_group(lines: &[String]) -> Vec<&String> {
    let group = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
    let mut firsts: Vec<&String> = Vec::new();
    for line in lines {
        if firsts.last().is_none_or(|last| group(last) != group(line)) {
            firsts.push(line);
        }
    }
    // The figures that interest people most are last in the order of names.
    firsts.reverse();
    firsts.truncate(SHOWN);
    firsts
}
