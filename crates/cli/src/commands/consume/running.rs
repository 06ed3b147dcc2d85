//! A running consumer: its messages, and the conditions that end it.

use std::{
    io::IsTerminal,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::Consumer;
use event_replay::{StoreHandle, app::idle::Idleness};
use replay::{Housekeeper, JobHost, ReplayManager};
use serde::Serialize;
use targets::OutputEnd;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use super::{
    counted::{Counted, GivenUp},
    outages::Outages,
    outlet::Outlet,
    times::Times,
};
use crate::{
    args::{Format, target::Target},
    commands::{groups::pending_text, signals::Interrupts},
    context::Context,
    errors::CliError,
    exit::Exit,
    output::{
        bar::Bar,
        escape,
        plural::{count, grouped},
    },
};

/// The interval between two updates of the display and checks for idleness. Also the time limit of a read of the
/// backlog.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The interval between two reads of the group's backlog.
const LAG_EVERY: Duration = Duration::from_secs(2);

/// The time limit of a check for idleness.
const LOOK_TIME: Duration = Duration::from_secs(2);

/// A running consumer.
pub(super) struct Running<'a> {
    pub(super) group: &'a str,
    pub(super) target: &'a Target,
    pub(super) times: Times,
    pub(super) until_idle: Option<Duration>,
    pub(super) counted: Arc<Counted>,
    pub(super) told: mpsc::Receiver<GivenUp>,
    pub(super) outlet: &'a Outlet,
    pub(super) manager: &'a ReplayManager,
    pub(super) stores: &'a StoreHandle,
    pub(super) host: JobHost,
    pub(super) keeper: Housekeeper,
    pub(super) consumer: Consumer,
    /// Events that are pending in the group, as the progress bar shows them.
    pub(super) lag: Option<String>,
    /// The time of the last read of the backlog.
    pub(super) looked: Option<Instant>,
}

/// The result of a run.
pub(super) struct Ended {
    pub(super) exit: Exit,
    /// Whether the store accepted all results at the end.
    pub(super) store_answers: bool,
}

/// The reason for the end of the run.
enum End {
    Asked,
    Enough,
    Idle,
    Deleted,
    OutputClosed,
    OutputFailed(String),
}

/// The result of a run in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Outcome<'a> {
    group: &'a str,
    consumer: &'a str,
    ended: &'static str,
    handled: u64,
    failed_attempts: u64,
    given_up: u64,
}

impl Running<'_> {
    /// Runs until an end condition holds, and then lets the open deliveries finish.
    ///
    /// # Errors
    /// Returns an error when the user asked for an immediate end.
    pub(super) async fn run(
        mut self,
        interrupts: &mut Interrupts,
        cx: &mut Context<'_>,
    ) -> Result<Ended, CliError> {
        let bar = self.bar(cx);
        let mut outages = Outages::new(self.consumer.states());
        let end = self.until_something_ends_it(interrupts, &mut outages, &bar, cx).await;
        outages.end();
        if let End::Asked = end {
            let open = "ending: waiting for handlers to finish; Ctrl-C again ends at once";
            bar.handle().suspend(|| cx.printer.say(open));
        }
        let name = self.consumer.name().to_owned();
        let Self { counted, host, keeper, consumer, times, group, .. } = self;
        let ending = async {
            tokio::join!(host.stop(), keeper.stop());
            counted.settle(times.grace).await;
            consumer.stop().await
        };
        tokio::pin!(ending);
        loop {
            tokio::select! {
                // If the consumer ended by itself, its message was already printed.
                _ = &mut ending => break,
                said = outages.next() => bar.handle().suspend(|| cx.printer.warn(&said)),
                () = interrupts.next() => {
                    return Err(CliError::failed("ended at once; what was being handled is delivered again"));
                }
            }
        }
        bar.clear();
        while let Ok(given_up) = self.told.try_recv() {
            cx.printer.warn(&sentence(&given_up, cx.settings.dead_letters));
        }
        let outcome = Outcome {
            group,
            consumer: &name,
            ended: end.word(),
            handled: counted.handled(),
            failed_attempts: counted.failed(),
            given_up: counted.given_up(),
        };
        outcome.say(cx)?;
        if let Some(unsaved) = outages.unsaved() {
            cx.printer.error(&unsaved, Some("run it again when the store answers"));
            return Ok(Ended { exit: Exit::Failed, store_answers: false });
        }
        let exit = match end {
            End::OutputFailed(why) => {
                cx.printer.error(&format!("the output cannot be written: {why}"), None);
                Exit::Failed
            }
            _ if self.until_idle.is_some() && outcome.given_up > 0 => Exit::DoneWithFailures,
            _ => Exit::Ok,
        };
        Ok(Ended { exit, store_answers: true })
    }

    async fn until_something_ends_it(
        &mut self,
        interrupts: &mut Interrupts,
        outages: &mut Outages,
        bar: &Bar,
        cx: &Context<'_>,
    ) -> End {
        let mut idleness = self.until_idle.map(Idleness::new);
        let mut ticks = interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut joined = false;
        loop {
            tokio::select! {
                biased;
                () = interrupts.next() => return End::Asked,
                _ = self.consumer.ended() => return self.deleted(bar, cx),
                end = self.outlet.ended() => return match end {
                    OutputEnd::Closed => End::OutputClosed,
                    OutputEnd::Failed(why) => End::OutputFailed(why),
                },
                () = self.counted.enough() => return End::Enough,
                said = outages.next() => bar.handle().suspend(|| cx.printer.warn(&said)),
                notice = self.outlet.notice() => bar.handle().suspend(|| cx.printer.warn(&notice)),
                Some(given_up) = self.told.recv() => {
                    let said = sentence(&given_up, cx.settings.dead_letters);
                    bar.handle().suspend(|| cx.printer.warn(&said));
                }
                _ = ticks.tick() => {
                    self.look_at_lag(cx).await;
                    self.show(bar, &mut joined, cx);
                    if let Some(idleness) = &mut idleness {
                        let begun = self.counted.begun();
                        let look = idleness.is_over(self.stores, self.manager, self.group, begun);
                        match tokio::time::timeout(LOOK_TIME, look).await {
                            // The state of the group is unknown during an outage of the store.
                            Ok(Ok(true)) if self.consumer.state().outage.is_none() => return End::Idle,
                            Ok(Ok(_)) => {}
                            // The consumer waits until the store answers again. The check for idleness waits with it.
                            Ok(Err(error)) => {
                                tracing::warn!(?error, "whether the group is idle is unknown");
                            }
                            Err(_) => tracing::warn!("the store does not say in time whether the group is idle"),
                        }
                    }
                }
            }
        }
    }

    fn deleted(&self, bar: &Bar, cx: &Context<'_>) -> End {
        let said = format!("group {} was deleted", escape::line(self.group));
        bar.handle().suspend(|| cx.printer.warn(&said));
        End::Deleted
    }

    /// Reads the number of pending events if a progress bar is shown.
    async fn look_at_lag(&mut self, cx: &Context<'_>) {
        if !cx.printer.shows_bars() || self.looked.is_some_and(|looked| looked.elapsed() < LAG_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let looked = tokio::time::timeout(LOOK_EVERY, self.stores.pending(self.group)).await;
        // If the store does not answer in time, the number is not shown.
        self.lag = looked.ok().and_then(Result::ok).flatten().map(|pending| pending_text(&pending));
    }

    /// Reports once that the consumer holds its share of the segments, and updates the progress bar.
    fn show(&self, bar: &Bar, joined: &mut bool, cx: &Context<'_>) {
        let state = self.consumer.state();
        let group = escape::line(self.group);
        if !*joined && state.share > 0 && state.segments.len() == usize::from(state.share) {
            *joined = true;
            let said = format!(
                "joined group {group} as {}: {} of {} segments, to {}",
                escape::line(self.consumer.name()),
                state.segments.len(),
                self.consumer.group().segments,
                self.target,
            );
            bar.handle().suspend(|| cx.printer.say(&said));
        }
        let (failed, given_up) = (self.counted.failed(), self.counted.given_up());
        let lag = self.lag.as_ref().map_or_else(String::new, |lag| format!("{lag} pending, "));
        bar.handle().set_message(format!(
            "{group}: {}, {lag}{} failed, {} given up, handled",
            count(state.segments.len() as u64, "segment"),
            grouped(failed),
            grouped(given_up)
        ));
        bar.at(self.counted.handled());
    }

    fn bar(&self, cx: &Context<'_>) -> Bar {
        let prints_here = matches!(self.target, Target::Stdout) && std::io::stdout().is_terminal();
        match prints_here {
            true => Bar::new(false, "", None),
            false => cx.printer.bar("joining", None),
        }
    }
}

impl End {
    fn word(&self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Enough => "limit",
            Self::Idle => "idle",
            Self::Deleted => "deleted",
            Self::OutputClosed => "closed",
            Self::OutputFailed(_) => "failed",
        }
    }
}

impl Outcome<'_> {
    /// Prints the result on stderr, because stdout may carry the events.
    fn say(&self, cx: &Context<'_>) -> Result<(), CliError> {
        if cx.printer.format() != Format::Table {
            return cx.printer.say_json(self);
        }
        let handled = count(self.handled, "event");
        let failed = count(self.failed_attempts, "failed attempt");
        cx.printer.say(&format!("handled {handled}, {failed}, {} given up", grouped(self.given_up)));
        Ok(())
    }
}

fn sentence(given_up: &GivenUp, dead_letters: bool) -> String {
    format!(
        "{} ({}) at {} failed permanently after {}: {}; {}",
        escape::short(&given_up.event_id, 60),
        escape::short(&given_up.event_type, 60),
        given_up.position,
        count(given_up.attempts.into(), "attempt"),
        escape::short(&given_up.error, 200),
        if dead_letters { "it is now a dead letter" } else { "it was dropped" },
    )
}
