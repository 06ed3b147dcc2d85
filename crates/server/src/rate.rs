//! The limit on the requests per second of a client.

use std::num::NonZeroU32;

use governor::{
    Quota, RateLimiter,
    clock::{Clock, DefaultClock},
    state::keyed::HashMapStateStore,
};

use crate::problem::{Code, Problem, Repeat};

/// Number of clients in the table above which clients without recent requests are removed.
const MOST: usize = 1024;

/// A rate limit for each client. The burst is the number of requests of one second.
pub(crate) struct RateLimit {
    limiter: RateLimiter<String, HashMapStateStore<String>, DefaultClock>,
    clock: DefaultClock,
}

impl RateLimit {
    /// Creates a limit of `per_second` requests for each client.
    pub(crate) fn new(per_second: NonZeroU32) -> Self {
        let clock = DefaultClock::default();
        let limiter =
            RateLimiter::new(Quota::per_second(per_second), HashMapStateStore::default(), clock.clone());
        Self { limiter, clock }
    }

    /// Counts a request of a client, or refuses it if the client is over the limit.
    pub(crate) fn check(&self, client: &str) -> Result<(), Problem> {
        if self.limiter.len() > MOST {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&client.to_owned()).map_err(|until| {
            let wait = until.wait_time_from(self.clock.now()).as_secs_f64().ceil().max(1.0);
            Problem::new(Code::TooMany, "the client sends more requests a second than the server allows")
                .repeat(Repeat::Later)
                .retry_after(wait)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_a_limit_of_its_own() {
        let limit = RateLimit::new(NonZeroU32::new(3).unwrap());
        for client in ["a", "b"] {
            for n in 0..3 {
                assert!(limit.check(client).is_ok(), "{client} {n}");
            }
            assert_eq!(limit.check(client).unwrap_err().code(), Code::TooMany, "{client}");
        }
    }
}
