//! The pace of a run, and its default.

use std::time::Duration;

use event_replay::app::replay::Receiver;
use replay::{Plan, ReplayOptions};

use super::run_args::RunArgs;
use crate::{args::target::Target, context::Context, output::plural::count};

/// The estimated duration above which a replay at the default pace gets a warning.
const LONG: Duration = Duration::from_secs(60);

/// Returns the replay options that the flags and the defaults give.
pub(super) fn options(args: &RunArgs, target: &Target, all: bool, cx: &Context<'_>) -> ReplayOptions {
    let (pace, batch_size) = args.pace().resolve(receiver(target));
    ReplayOptions {
        batch_size,
        pace,
        max_retries: args.max_retries.unwrap_or(cx.settings.max_retries),
        all,
        limit: args.limit,
        failure_limit: args.stop_after_failures,
        target: target.to_string(),
        ..ReplayOptions::default()
    }
}

fn receiver(target: &Target) -> Receiver {
    match target {
        Target::Stdout => Receiver::Pipe,
        Target::Groups | Target::Exec(_) | Target::Http(_) => Receiver::Service,
    }
}

/// Prints the number of events, the target and the least duration of the replay.
pub(super) fn say_beginning(plan: &Plan, options: &ReplayOptions, to: &str, cx: &Context<'_>) {
    let estimate = plan.estimate(options);
    let time = match estimate.is_zero() {
        true => String::new(),
        false => format!(", at least {}", shown(estimate)),
    };
    cx.printer.say(&format!("replaying {} to {to}{time}", count(plan.total_events, "event")));
}

/// Warns before a replay that takes long at the default pace, and names the flags that change the pace.
pub(super) fn warn_of_default_pace(plan: &Plan, options: &ReplayOptions, args: &RunArgs, cx: &Context<'_>) {
    let estimate = plan.estimate(options);
    if args.delay.is_some() || args.rate.is_some() || estimate <= LONG {
        return;
    }
    cx.printer.warn(&format!(
        "at the default pace ({}, then a pause of a second) {} take at least {}; --rate EVENTS or --delay 0 goes faster",
        count(options.batch_size as u64, "event"),
        count(plan.total_events, "event"),
        shown(estimate)
    ));
}

fn shown(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_secs(time.as_secs_f64().ceil() as u64))
}

#[cfg(test)]
mod tests {
    use event_replay::app::replay::PaceRequest;
    use replay::Pace;

    use super::*;

    #[test]
    fn services_are_given_time_and_a_pipe_large_batches() {
        let [groups, stdout, endpoint] =
            ["groups", "stdout", "https://example.com"].map(|text| Target::parse(text).unwrap());
        let default_pace = |target: &Target| PaceRequest::default().resolve(receiver(target)).0;
        let default_batch_size = |target: &Target, pace: &Pace| {
            let (delay, rate) = match *pace {
                Pace::Unpaced => (Some(Duration::ZERO), None),
                Pace::Delay(delay) => (Some(delay), None),
                Pace::Rate(rate) => (None, Some(rate)),
            };
            PaceRequest { delay, rate, batch_size: None }.resolve(receiver(target)).1
        };
        assert_eq!(
            [&groups, &stdout, &endpoint].map(default_pace),
            [Pace::Delay(Duration::from_secs(1)), Pace::Unpaced, Pace::Delay(Duration::from_secs(1)),]
        );
        assert_eq!(default_batch_size(&stdout, &Pace::Unpaced), 1000);
        assert_eq!(default_batch_size(&stdout, &Pace::Delay(Duration::from_millis(500))), 50);
        assert_eq!(default_batch_size(&stdout, &Pace::Rate(10.0)), 50);
        assert_eq!(default_batch_size(&groups, &Pace::Unpaced), 50);
    }
}
