//! The circuit breaker of a consumer. When many events fail in a row at their first attempt, the consumer pauses. So
//! these events do not use up their attempts.
//!
//! | state | deliveries | leaves the state |
//! |---|---|---|
//! | closed | all | after the set number of failures in a row within the window: open |
//! | open | none | after its pause: probing |
//! | probing | one delivery | handled: closed. Failed: open, with a pause twice as long |

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Settings of the circuit breaker, which stops deliveries while a dependency of the handlers fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// The number of events in a row whose failed first attempts open the breaker, at least 1.
    pub failures: u32,
    /// The time within which these failures must happen.
    pub window: Duration,
    /// The pause before the first probe. It doubles with each failed probe, up to 30 seconds or this pause if it is
    /// longer.
    pub pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant, pause: Duration },
    Probing { pause: Duration },
}

/// The deliveries that a consumer may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    All,
    One,
    Nothing,
}

/// The change of state that an answer caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// The breaker opened. Deliveries stop for this time.
    Opened(Duration),
    /// The breaker closed. All deliveries may start again.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    settings: Option<BreakerSettings>,
    state: State,
    /// The times of failed first attempts since the last handled delivery, oldest first.
    failures: VecDeque<Instant>,
}

impl Breaker {
    pub(crate) fn new(settings: Option<BreakerSettings>) -> Self {
        Self { settings, state: State::Closed, failures: VecDeque::new() }
    }

    /// Returns the deliveries that may start while `running` deliveries are with handlers.
    pub(crate) fn permit(&self, now: Instant, running: usize) -> Permit {
        match self.state {
            State::Closed => Permit::All,
            State::Open { until, .. } if now < until => Permit::Nothing,
            // A lost probe is replaced, for example a probe whose segment was released.
            State::Open { .. } | State::Probing { .. } if running == 0 => Permit::One,
            State::Open { .. } | State::Probing { .. } => Permit::Nothing,
        }
    }

    /// Returns whether the breaker is closed.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Records that a delivery went to a handler.
    pub(crate) fn handed(&mut self) {
        if let State::Open { pause, .. } = self.state {
            self.state = State::Probing { pause };
        }
    }

    /// Returns the time at which the permit changes without an answer, if there is one.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed | State::Probing { .. } => None,
        }
    }

    /// Records a handled delivery.
    pub(crate) fn succeeded(&mut self) -> Option<Turned> {
        match self.state {
            State::Closed => {
                self.failures.clear();
                None
            }
            // The delivery started before the breaker opened. Its result says nothing about the current state.
            State::Open { .. } => None,
            State::Probing { .. } => {
                self.state = State::Closed;
                self.failures.clear();
                Some(Turned::Closed)
            }
        }
    }

    /// Records a failed delivery that a retry can cure.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Turned> {
        let settings = self.settings?;
        let pause = match self.state {
            State::Open { .. } => return None,
            State::Probing { pause } => (pause * 2).min(LONGEST_PAUSE.max(settings.pause)),
            State::Closed => {
                self.failures.push_back(now);
                while self.failures.front().is_some_and(|first| *first + settings.window < now) {
                    self.failures.pop_front();
                }
                if self.failures.len() < settings.failures.max(1) as usize {
                    return None;
                }
                settings.pause
            }
        };
        self.failures.clear();
        self.state = State::Open { until: now + pause, pause };
        Some(Turned::Opened(pause))
    }

    /// Returns the number of failures in a row that opens the breaker.
    pub(crate) fn failures(&self) -> u32 {
        self.settings.map_or(0, |settings| settings.failures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn breaker() -> Breaker {
        Breaker::new(Some(BreakerSettings { failures: 3, window: 10 * SECOND, pause: 5 * SECOND }))
    }

    #[test]
    fn failures_in_a_row_within_the_window_open_it() {
        let begun = Instant::now();
        let mut breaker = breaker();
        for _ in 0..2 {
            assert_eq!(breaker.failed(begun), None);
        }
        assert_eq!(breaker.succeeded(), None);
        for at in [0, 1, 20, 21] {
            assert_eq!(breaker.failed(begun + at * SECOND), None, "{at}");
        }
        assert_eq!(breaker.permit(begun + 22 * SECOND, 7), Permit::All);
        assert_eq!(breaker.failed(begun + 22 * SECOND), Some(Turned::Opened(5 * SECOND)));
        assert_eq!(breaker.permit(begun + 22 * SECOND, 7), Permit::Nothing);
        // Deliveries that were in flight when the breaker opened do not count.
        assert_eq!((breaker.failed(begun + 23 * SECOND), breaker.succeeded()), (None, None));
    }

    #[test]
    fn one_probe_at_a_time_decides_what_is_next() {
        let begun = Instant::now();
        let mut breaker = breaker();
        for _ in 0..3 {
            breaker.failed(begun);
        }
        assert_eq!(breaker.next(), Some(begun + 5 * SECOND));
        let mut at = begun;
        for pause in [5, 10, 20, 30, 30] {
            assert_eq!(breaker.permit(at + (pause - 1) * SECOND, 0), Permit::Nothing, "{pause}");
            at += pause * SECOND;
            assert_eq!((breaker.permit(at, 1), breaker.permit(at, 0)), (Permit::Nothing, Permit::One));
            breaker.handed();
            assert_eq!(breaker.permit(at, 1), Permit::Nothing);
            let next = (2 * pause).min(30) * SECOND;
            assert_eq!(breaker.failed(at), Some(Turned::Opened(next)), "{pause}");
        }
        at += 30 * SECOND;
        breaker.handed();
        assert_eq!(breaker.succeeded(), Some(Turned::Closed));
        assert_eq!(breaker.permit(at, 7), Permit::All);
    }

    #[test]
    fn without_settings_it_never_opens() {
        let mut breaker = Breaker::new(None);
        let now = Instant::now();
        for _ in 0..1000 {
            assert_eq!(breaker.failed(now), None);
        }
        assert_eq!(breaker.permit(now, 64), Permit::All);
    }
}
