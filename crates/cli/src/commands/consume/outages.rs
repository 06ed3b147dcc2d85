//! Reports outages of the store: one message when an outage begins, and one when it ends.

use std::time::{Duration, Instant};

use bus::{ConsumerState, Outage};
use jiff::Zoned;
use tokio::sync::watch;

use crate::{args::time, commands::signals::Interrupts, context::Context, errors::CliError, output::escape};

/// The duration of an outage before it is reported. A shorter fault is not reported.
const LASTS: Duration = Duration::from_secs(1);
/// The interval between two checks of the state.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The duration of a call during the start of a consumer before the program reports that it waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// Watches for outages.
pub(super) struct Outages {
    states: watch::Receiver<ConsumerState>,
    said: Option<Instant>,
    is_ending: bool,
}

impl Outages {
    pub(super) fn new(states: watch::Receiver<ConsumerState>) -> Self {
        Self { states, said: None, is_ending: false }
    }

    /// Waits for the next message: the store does not answer, or the store answers again. Cancel-safe.
    pub(super) async fn next(&mut self) -> String {
        loop {
            let outage = self.states.borrow().outage.clone();
            match (self.said, outage) {
                (None, Some(outage)) if outage.since.elapsed() >= LASTS => {
                    self.said = Some(outage.since);
                    let then = if self.is_ending { "" } else { "; consuming continues when it does" };
                    return format!("{}: {}{then}", time_of_day(), sentence(&outage));
                }
                (Some(since), None) => {
                    self.said = None;
                    let lasted = Duration::from_secs(since.elapsed().as_secs().max(1));
                    return format!(
                        "{}: the store answers again, after {}",
                        time_of_day(),
                        time::span(lasted)
                    );
                }
                _ => tokio::time::sleep(LOOK_EVERY).await,
            }
        }
    }

    /// Notes that the consumer ends: it does not continue when the store answers again.
    pub(super) fn end(&mut self) {
        self.is_ending = true;
    }

    /// Returns a sentence about the results that a stopped consumer could not store, if there are any.
    pub(super) fn unsaved(&self) -> Option<String> {
        let outage = self.states.borrow().outage.clone()?;
        Some(format!("{}; the last handled events are delivered again", sentence(&outage)))
    }
}

/// Returns the time of day in the time zone of the machine. Operators may read messages of an outage hours later.
fn time_of_day() -> String {
    Zoned::now().strftime("%H:%M:%S").to_string()
}

fn sentence(outage: &Outage) -> String {
    match &outage.error {
        Some(error) => format!("the store does not answer: {}", escape::line(error)),
        None => "the store does not answer".to_owned(),
    }
}

/// Waits for a call before the consumer runs. Reports once that it waits, and returns early when the user interrupts.
pub(super) async fn patiently<T, E: Into<CliError>>(
    call: impl Future<Output = Result<T, E>>,
    interrupts: &mut Interrupts,
    cx: &Context<'_>,
) -> Result<T, CliError> {
    tokio::pin!(call);
    let mut is_said = false;
    loop {
        tokio::select! {
            biased;
            done = &mut call => return done.map_err(Into::into),
            () = interrupts.next() => return Err(CliError::failed("ended before the consumer had begun")),
            () = tokio::time::sleep(PATIENCE), if !is_said => {
                is_said = true;
                cx.printer.warn("the store does not answer yet; waiting for it");
            }
        }
    }
}
