//! Limits how many batches of a replay are in lanes at once. Consumers receive the events of a lane even while the
//! replay is paused. So the limit is the number of events that the groups finished in the last second.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// The approximate maximum of events in lanes, and the minimum of batches.
const MOST_EVENTS: usize = 8_000;
const LEAST_BATCHES: usize = 4;
/// The period over which settled events set the limit.
const RECENT: Duration = Duration::from_secs(1);

/// The batches that were settled recently.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Settled batches: the time, and the number of events.
    recent: VecDeque<(Instant, usize)>,
}

impl Window {
    /// Records that the groups finished a batch.
    pub(crate) fn settled(&mut self, events: usize) {
        self.recent.push_back((Instant::now(), events));
    }

    /// Returns the number of batches that may be in lanes.
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
