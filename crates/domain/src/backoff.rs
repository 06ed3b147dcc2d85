//! The pauses before a call is tried again. This module is arithmetic alone: the caller draws the random number and
//! sleeps.
//!
//! A [`Backoff`] doubles its pauses up to a cap. [`Jitter`] spreads callers that failed at the same time. A
//! [`RetryPolicy`] also limits the number of retries.

use std::time::Duration;

/// Time after the start of the first try within which a call is tried again. A store waits by itself for a lock that
/// another process holds. Without this bound, each further try would wait that long again.
pub const RETRY_WITHIN: Duration = Duration::from_secs(30);

/// How a pause is drawn from its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// Evenly between zero and the bound. This spreads many callers best.
    Full,
    /// Evenly between the bound and twice the bound. No pause is shorter than its bound.
    Added,
}

/// Pauses that double from `base` up to `cap`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Bound of the first pause.
    pub base: Duration,
    /// Highest bound.
    pub cap: Duration,
}

impl Default for Backoff {
    /// Returns pauses from 1 second up to 30 seconds.
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(30))
    }
}

impl Backoff {
    /// Returns pauses that double from `base` up to `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// Returns the pause after this many consecutive failures, before jitter. After the first failure it is `base`.
    pub fn bound(&self, failures: u32) -> Duration {
        self.base.saturating_mul(1_u32 << failures.saturating_sub(1).min(30)).min(self.cap)
    }

    /// Returns the pause after this many consecutive failures. The caller draws `draw` evenly from 0 to 1.
    pub fn pause(&self, failures: u32, jitter: Jitter, draw: f64) -> Duration {
        let bound = self.bound(failures);
        let drawn = Duration::try_from_secs_f64(bound.as_secs_f64() * draw.clamp(0.0, 1.0)).unwrap_or(bound);
        match jitter {
            Jitter::Full => drawn,
            Jitter::Added => bound.saturating_add(drawn),
        }
    }
}

/// The number of retries of a call, and the pauses between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Number of tries after the first one.
    pub max_retries: u32,
    /// Pauses between the tries.
    pub backoff: Backoff,
}

impl RetryPolicy {
    /// Policy for a write whose guards failed because another caller wrote first. Such conflicts pass within
    /// milliseconds, and each conflict means that another caller made progress. The policy allows 200 tries, at most
    /// 16 milliseconds apart.
    pub const CONFLICTS: Self =
        Self { max_retries: 199, backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(16)) };

    /// Returns the pause after this many consecutive failures, or none if no retry is left.
    pub fn pause(&self, failures: u32, jitter: Jitter, draw: f64) -> Option<Duration> {
        (failures <= self.max_retries).then(|| self.backoff.pause(failures, jitter, draw))
    }

    /// Returns one pause for each retry. `draw` draws evenly from 0 to 1.
    pub fn pauses<D: FnMut() -> f64>(
        self,
        jitter: Jitter,
        mut draw: D,
    ) -> impl Iterator<Item = Duration> + use<D> {
        (1..=self.max_retries).map(move |failures| self.backoff.pause(failures, jitter, draw()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let backoff = Backoff::default();
        let pauses: Vec<u64> = (1..=7).map(|n| backoff.pause(n, Jitter::Full, 1.0).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.pause(u32::MAX, Jitter::Full, 0.5), Duration::from_secs(15));
    }

    #[test]
    fn jitter_draws_below_the_bound_or_adds_to_it() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        let drawn = |jitter| [0.0, 0.5, 1.0].map(|draw| backoff.pause(2, jitter, draw).as_millis());
        assert_eq!(drawn(Jitter::Full), [0, 100, 200]);
        assert_eq!(drawn(Jitter::Added), [200, 300, 400]);
    }

    #[test]
    fn no_bound_and_no_draw_overflows() {
        let endless = Backoff::new(Duration::MAX, Duration::MAX);
        for draw in [-1.0, 0.5, 1.0, 2.0, f64::INFINITY, f64::NAN] {
            assert!(endless.pause(u32::MAX, Jitter::Full, draw) <= Duration::MAX);
            assert_eq!(endless.pause(u32::MAX, Jitter::Added, draw), Duration::MAX);
        }
        assert_eq!(Backoff::default().bound(0), Backoff::default().base);
    }

    #[test]
    fn a_policy_ends_after_its_retries() {
        let policy = RetryPolicy { max_retries: 3, backoff: Backoff::default() };
        let pauses: Vec<u64> = policy.pauses(Jitter::Added, || 0.0).map(|pause| pause.as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4]);
        assert_eq!(policy.pause(3, Jitter::Added, 0.0), Some(Duration::from_secs(4)));
        assert_eq!(policy.pause(4, Jitter::Added, 0.0), None);
    }

    #[test]
    fn conflicts_are_tried_200_times() {
        let mut pauses: Vec<_> = RetryPolicy::CONFLICTS.pauses(Jitter::Full, || 1.0).collect();
        assert_eq!(pauses.len(), 199);
        pauses.truncate(6);
        assert_eq!(pauses, [1, 2, 4, 8, 16, 16].map(Duration::from_millis));
    }
}
