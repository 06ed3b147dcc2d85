//! The circuit breaker of a consumer: when many events fail in a row at their first attempt, the consumer waits instead of using up their attempts.
//!
//! | state | hands over | leaves it |
//! |---|---|---|
//! | closed | everything | after so many failures in a row within the window: open |
//! | open | nothing | after its pause: probing |
//! | probing | one delivery | handled: closed; failed: open, for twice as long |

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The longest pause between two probes.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// When a consumer stops to hand over, because what its handlers need does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerSettings {
    /// So many events in a row that fail at their first attempt open it, at least 1.
    pub failures: u32,
    /// Within this time.
    pub window: Duration,
    /// The pause before the first probe. It doubles with each probe that fails, up to 30 seconds.
    pub pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant, pause: Duration },
    Probing { pause: Duration },
}

/// What a consumer may hand over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Permit {
    All,
    One,
    Nothing,
}

/// What an answer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turned {
    /// Nothing is handed over for this long.
    Opened(Duration),
    /// Everything is handed over again.
    Closed,
}

#[derive(Debug)]
pub(crate) struct Breaker {
    settings: Option<BreakerSettings>,
    state: State,
    /// When first attempts failed since the last delivery that was handled, the oldest first.
    failures: VecDeque<Instant>,
}

impl Breaker {
    pub(crate) fn new(settings: Option<BreakerSettings>) -> Self {
        Self { settings, state: State::Closed, failures: VecDeque::new() }
    }

    /// What may be handed over, where `running` deliveries are with handlers.
    pub(crate) fn permit(&self, now: Instant, running: usize) -> Permit {
        match self.state {
            State::Closed => Permit::All,
            State::Open { until, .. } if now < until => Permit::Nothing,
            // A probe that got lost, as when its segment was given back, is replaced.
            State::Open { .. } | State::Probing { .. } if running == 0 => Permit::One,
            State::Open { .. } | State::Probing { .. } => Permit::Nothing,
        }
    }

    /// Whether everything may be handed over.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// A delivery went to a handler.
    pub(crate) fn handed(&mut self) {
        if let State::Open { pause, .. } = self.state {
            self.state = State::Probing { pause };
        }
    }

    /// When it has to be asked again, if time alone changes what it permits.
    pub(crate) fn next(&self) -> Option<Instant> {
        match self.state {
            State::Open { until, .. } => Some(until),
            State::Closed | State::Probing { .. } => None,
        }
    }

    /// A delivery was handled.
    pub(crate) fn succeeded(&mut self) -> Option<Turned> {
        match self.state {
            State::Closed => {
                self.failures.clear();
                None
            }
            // It began before the breaker opened, and says nothing about now.
            State::Open { .. } => None,
            State::Probing { .. } => {
                self.state = State::Closed;
                self.failures.clear();
                Some(Turned::Closed)
            }
        }
    }

    /// A delivery failed, and may succeed when it is tried again.
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

    /// The failures in a row that open it.
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
        // What was in flight says nothing any more.
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
