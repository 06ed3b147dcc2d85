//! How much of a replay is in lanes at once. What is in a lane is handed over also while the replay is paused, so it is no more
//! than the groups were through with in the last second.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Events that are in lanes at once, about; and batches at least.
const MOST_EVENTS: usize = 8_000;
const LEAST_BATCHES: usize = 4;
/// The time whose settled events say how many may be in lanes.
const RECENT: Duration = Duration::from_secs(1);

/// What was settled of late.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Settled batches: when, and how many events.
    recent: VecDeque<(Instant, usize)>,
}

impl Window {
    /// The groups are through with a batch.
    pub(crate) fn settled(&mut self, events: usize) {
        self.recent.push_back((Instant::now(), events));
    }

    /// How many batches may be in lanes.
    pub(crate) fn batches(&mut self, batch_size: usize) -> usize {
        let now = Instant::now();
        while self.recent.front().is_some_and(|(settled, _)| *settled + RECENT < now) {
            self.recent.pop_front();
        }
        let events: usize = self.recent.iter().map(|(_, events)| events).sum();
        let most = (MOST_EVENTS / batch_size).max(LEAST_BATCHES);
        (events / batch_size).clamp(LEAST_BATCHES, most)
    }
}
