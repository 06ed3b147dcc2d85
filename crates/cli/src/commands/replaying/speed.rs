//! How fast a run goes where nothing else is said.

use std::time::Duration;

use replay::{Pace, Plan, ReplayOptions};

use super::RunArgs;
use crate::{args::target::Target, commands::Context, output::plural::count};

/// Events of a batch to stdout where neither a pause nor a rate asks for small steps: every batch pays one commit for the
/// replay counts of its events.
const UNPACED_BATCH: usize = 1000;

/// The options that the flags come to.
pub(super) fn options(args: &RunArgs, target: &Target, all: bool, cx: &Context<'_>) -> ReplayOptions {
    let pace = match (args.delay, args.rate) {
        (Some(delay), _) if delay.is_zero() => Pace::Unpaced,
        (Some(delay), _) => Pace::Delay(delay),
        (None, Some(rate)) => Pace::Rate(rate),
        (None, None) => default_pace(target),
    };
    ReplayOptions {
        batch_size: args.batch_size.unwrap_or_else(|| default_batch_size(target, &pace)),
        pace,
        max_retries: args.max_retries.unwrap_or(cx.settings.max_retries),
        all,
        limit: args.limit,
        target: target.to_string(),
        ..ReplayOptions::default()
    }
}

/// Services are given time between batches; a pipe takes what it can.
fn default_pace(target: &Target) -> Pace {
    match target {
        Target::Stdout => Pace::Unpaced,
        Target::Groups | Target::Exec(_) | Target::Http(_) => Pace::default(),
    }
}

fn default_batch_size(target: &Target, pace: &Pace) -> usize {
    match (target, pace) {
        (Target::Stdout, Pace::Unpaced) => UNPACED_BATCH,
        _ => ReplayOptions::default().batch_size,
    }
}

/// Says what is going to happen, and how long it takes at least.
pub(super) fn say_beginning(plan: &Plan, options: &ReplayOptions, to: &str, cx: &Context<'_>) {
    let estimate = plan.estimate(options);
    let time = match estimate.is_zero() {
        true => String::new(),
        false => format!(
            ", at least {}",
            humantime::format_duration(Duration::from_secs(estimate.as_secs_f64().ceil() as u64))
        ),
    };
    cx.printer.say(&format!("replaying {} to {to}{time}", count(plan.total_events, "event")));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_given_time_and_a_pipe_large_batches() {
        let [groups, stdout, endpoint] =
            ["groups", "stdout", "https://example.com"].map(|text| Target::parse(text).unwrap());
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
