//! The old system's events in time order: the time index, merged with the unlisted events.

use std::{collections::VecDeque, iter::Peekable, vec};

use redis::RedisResult;

use crate::{old_event::OldEvent, source::Source, strays::Stray};

/// The intended number of event bytes in a batch. The size of a batch follows from the batch before.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
const FIRST_BATCH: usize = 50;
const MAX_BATCH: usize = 1000;

/// The number of ids in one read of the index.
const PAGE: usize = 1000;

/// The old system's events, batch by batch. Events with equal times are ordered by id, as in the old system.
pub(crate) struct TimeOrder<'s> {
    source: &'s Source,
    strays: Peekable<vec::IntoIter<Stray>>,
    listed: VecDeque<(Vec<u8>, f64)>,
    /// The score at which the next page begins, and the number of ids with this score that were already read.
    from: f64,
    skip: usize,
    read_all: bool,
    batch: usize,
}

impl<'s> TimeOrder<'s> {
    pub(crate) fn new(source: &'s Source, strays: Vec<Stray>) -> Self {
        Self {
            source,
            strays: strays.into_iter().peekable(),
            listed: VecDeque::new(),
            from: f64::NEG_INFINITY,
            skip: 0,
            read_all: false,
            batch: FIRST_BATCH,
        }
    }

    /// Returns the next batch. It is empty at the end.
    pub(crate) async fn next(&mut self) -> RedisResult<Vec<OldEvent>> {
        let mut ids = Vec::with_capacity(self.batch);
        while ids.len() < self.batch {
            if self.listed.is_empty() && !self.read_all {
                self.read_page().await?;
            }
            let Some(id) = self.next_id() else { break };
            ids.push(id);
        }
        let events = self.source.old_events(ids).await?;
        let bytes: usize = events.iter().filter_map(|event| event.json.as_ref()).map(Vec::len).sum();
        if let Some(average) = bytes.checked_div(events.len()) {
            self.batch = (BATCH_BYTES / average.max(1)).clamp(1, MAX_BATCH);
        }
        Ok(events)
    }

    fn next_id(&mut self) -> Option<Vec<u8>> {
        let stray_first = match (self.listed.front(), self.strays.peek()) {
            (Some((id, at)), Some(stray)) => stray.at.total_cmp(at).then_with(|| stray.id.cmp(id)).is_lt(),
            (listed, _) => listed.is_none(),
        };
        match stray_first {
            true => self.strays.next().map(|stray| stray.id),
            false => self.listed.pop_front().map(|(id, _)| id),
        }
    }

    async fn read_page(&mut self) -> RedisResult<()> {
        let page = self.source.by_time(self.from, self.skip, PAGE).await?;
        self.read_all = page.len() < PAGE;
        if let Some((_, last)) = page.last() {
            let of_last = page.iter().rev().take_while(|(_, score)| score == last).count();
            self.skip = if *last == self.from { self.skip + of_last } else { of_last };
            self.from = *last;
        }
        self.listed.extend(page);
        Ok(())
    }
}
