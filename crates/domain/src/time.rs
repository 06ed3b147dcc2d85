//! Arithmetic of instants that never fails: beyond the ends of time it stops there.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// An instant so much later; the last one there is where that is beyond it.
pub fn later(instant: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| instant.checked_add(by).ok()).unwrap_or(Timestamp::MAX)
}

/// An instant so much earlier; the first one there is where that is before it.
pub fn earlier(instant: Timestamp, by: Duration) -> Timestamp {
    SignedDuration::try_from(by).ok().and_then(|by| instant.checked_sub(by).ok()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_stop_at_the_ends_of_time() {
        let (now, hour) = (Timestamp::UNIX_EPOCH, Duration::from_secs(3600));
        assert_eq!(earlier(later(now, hour), hour), now);
        for by in [Duration::MAX, Duration::from_secs(u64::MAX / 4)] {
            assert_eq!((later(now, by), earlier(now, by)), (Timestamp::MAX, Timestamp::MIN));
        }
    }
}
