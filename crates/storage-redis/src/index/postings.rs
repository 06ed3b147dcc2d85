//! Lists of positions, read in pieces: only as many positions as the reader needs.
//!
//! A list is sorted, grows at its end, and shrinks at its head while it is read. So the start of a piece is never
//! derived from a count. A piece is valid if its own answer shows the place of the reader's mark. Otherwise another
//! place is tried.

use std::collections::VecDeque;

use domain::{StorageFailure, ports::Order};
use redis::{Cmd, Pipeline, Value, cmd};

use crate::{
    client::{failure::unexpected_reply, link::Link, reply::text},
    engine::keys::CHUNK,
};

/// How many times a search interpolates before it bisects.
const GUESSES: u32 = 6;
/// The number of steps after which a search fails. A list that is rewritten all the time cannot be read.
const MOST_STEPS: u32 = 200;
/// The size of a piece for a count of the positions before a mark.
const COUNTED_AT: usize = 64;
/// The largest number of positions of a piece.
pub(crate) const MOST_OF_A_PIECE: usize = 4_096;

/// A range of positions of the log, and the direction of the walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) order: Order,
    /// The first sequence.
    pub(crate) low: u64,
    /// The last sequence.
    pub(crate) high: u64,
}

impl Range {
    pub(crate) fn contains(&self, sequence: u64) -> bool {
        (self.low..=self.high).contains(&sequence)
    }

    /// Returns whether the walk reaches `one` before `other`.
    pub(crate) fn is_before(&self, one: u64, other: u64) -> bool {
        match self.order {
            Order::OldestFirst => one < other,
            Order::NewestFirst => one > other,
        }
    }

    /// Sorts sequences in the order of the walk, without duplicates.
    pub(crate) fn sort(&self, sequences: &mut Vec<u64>) {
        sequences.sort_unstable();
        sequences.dedup();
        if self.order == Order::NewestFirst {
            sequences.reverse();
        }
    }
}

/// An index in a list, and the sequence there.
type Place = (i64, u64);

/// The place of a list's next piece.
#[derive(Debug, Clone, Copy)]
enum Next {
    /// An estimated index of the mark.
    Around(i64),
    /// Directly behind the piece before it.
    On,
    /// At this index.
    At(i64),
}

/// A list that is read through a range.
#[derive(Debug)]
pub(crate) struct Run {
    key: String,
    /// The number that is added to the list's values to get sequences.
    base: u64,
    /// The least sequence that the list can have, and the number of events from there.
    log: (u64, u64),
    range: Range,
    /// The last known length of the list.
    len: i64,
    /// The last sequence that was taken, or the edge of the range. The wanted positions are past it.
    mark: u64,
    /// The last requested piece: its first index, and its size.
    at: i64,
    size: i64,
    next: Next,
    /// The nearest known places, by index: one before the wanted positions, and one past them.
    below: Option<Place>,
    above: Option<Place>,
    steps: u32,
    ready: VecDeque<u64>,
    done: bool,
    /// The index of the first number past the mark, after the search has found it.
    found_at: Option<i64>,
}

impl Run {
    /// Returns the list of a term, in a chunk with this number of events.
    pub(crate) fn of_chunk(key: String, chunk: u64, events: u64, len: u64, range: Range) -> Self {
        Self::new(key, chunk * CHUNK, (chunk * CHUNK, events), len, range)
    }

    fn new(key: String, base: u64, log: (u64, u64), len: u64, range: Range) -> Self {
        let len = i64::try_from(len).unwrap_or(i64::MAX / 2);
        let mark = match range.order {
            Order::OldestFirst => range.low.saturating_sub(1),
            Order::NewestFirst => range.high.saturating_add(1),
        };
        let guess = (mark.saturating_sub(log.0) as f64 / log.1.max(1) as f64).clamp(0.0, 1.0) * len as f64;
        Self {
            key,
            base,
            log,
            range,
            len,
            mark,
            at: 0,
            size: 0,
            next: Next::Around(guess as i64),
            below: None,
            above: None,
            steps: 0,
            ready: VecDeque::new(),
            done: len == 0 || range.low > range.high,
            found_at: None,
        }
    }

    /// Returns a list of positions that are already known.
    pub(crate) fn known(sequences: &[u64], range: Range) -> Self {
        let mut ready: Vec<u64> =
            sequences.iter().copied().filter(|sequence| range.contains(*sequence)).collect();
        range.sort(&mut ready);
        let done = Self::new(String::new(), 0, (0, 0), 0, range);
        Self { ready: ready.into(), ..done }
    }

    /// Returns an upper bound of the positions that it gives. It is exact if the list does not reach beyond the range.
    pub(crate) fn len(&self) -> u64 {
        self.len.max(self.ready.len() as i64) as u64
    }

    fn wants_more(&self) -> bool {
        self.ready.is_empty() && !self.done
    }

    /// Returns the command for the next piece.
    fn command(&mut self, size: usize) -> Cmd {
        self.size = size.clamp(1, MOST_OF_A_PIECE) as i64 + 1;
        self.at = match (self.next, self.range.order) {
            (Next::At(at), _) => at,
            // The piece overlaps by one position that was taken. This proves that no position was missed.
            (Next::On, Order::OldestFirst) => self.at,
            (Next::On, Order::NewestFirst) => self.at - self.size + 1,
            (Next::Around(0), Order::OldestFirst) => 0,
            // Most of the piece is in the direction of the walk.
            (Next::Around(at), Order::OldestFirst) => at - self.size / 4,
            (Next::Around(at), Order::NewestFirst) => at - self.size * 3 / 4,
        };
        if self.at < 0 {
            // The part before the beginning of the list is cut off.
            self.size = (self.size + self.at).max(1);
            self.at = 0;
        }
        let mut command = cmd("LRANGE");
        command.arg(&self.key).arg(self.at).arg(self.at + self.size - 1);
        command
    }

    /// Processes an answer. It has the next positions, or it shows where to look for them.
    fn take(&mut self, answer: Value) -> Result<(), StorageFailure> {
        let piece = numbers(answer, self.base)?;
        self.steps += 1;
        if self.steps > MOST_STEPS {
            return Err(StorageFailure::Busy { waited: std::time::Duration::ZERO });
        }
        // In the order of the list: first the positions below the mark, then those at or above it.
        let is_below = |sequence: &u64| match self.range.order {
            Order::OldestFirst => *sequence <= self.mark,
            Order::NewestFirst => *sequence < self.mark,
        };
        let below = piece.partition_point(is_below);
        let ends = (piece.len() as i64) < self.size;
        let begins = self.at == 0;
        let is_found = (below > 0 || begins) && (below < piece.len() || ends);
        if is_found {
            self.found(&piece, below, ends);
        } else if below > 0 {
            self.below = piece.last().map(|last| (self.at + piece.len() as i64 - 1, *last));
            self.look_elsewhere();
        } else {
            self.above = Some((self.at, piece.first().copied().unwrap_or(u64::MAX)));
            self.look_elsewhere();
        }
        Ok(())
    }

    fn found(&mut self, piece: &[u64], below: usize, ends: bool) {
        let (older, newer) = piece.split_at(below);
        self.found_at = Some(self.at + below as i64);
        self.next = Next::On;
        self.steps = 0;
        match self.range.order {
            Order::OldestFirst => {
                self.done = ends || newer.last().is_some_and(|last| *last > self.range.high);
                self.ready.extend(newer.iter().take_while(|sequence| **sequence <= self.range.high));
                self.mark = newer.last().copied().unwrap_or(self.mark);
                self.at += piece.len() as i64 - 1;
            }
            Order::NewestFirst => {
                self.done = self.at == 0 || older.first().is_some_and(|first| *first < self.range.low);
                self.ready.extend(older.iter().rev().take_while(|sequence| **sequence >= self.range.low));
                self.mark = older.first().copied().unwrap_or(self.mark);
            }
        }
        // If the list moves before the next piece is read, the search starts again from that piece.
        (self.below, self.above) = (None, None);
    }

    /// Chooses another place, between the known places before and past the mark.
    fn look_elsewhere(&mut self) {
        if let (Some(below), Some(above)) = (self.below, self.above)
            && below.0 >= above.0
        {
            // The list has moved meanwhile, so the known places are worthless.
            (self.below, self.above) = (None, None);
        }
        let low = self.below.unwrap_or((0, self.log.0));
        // The known length may be out of date. The longer the search finds nothing, the longer the list is assumed to
        // be.
        let last = low.0.saturating_add(self.size << self.steps.min(20)).max(self.len);
        let high = self.above.unwrap_or((last, self.range.high.max(self.mark)));
        let gap = high.0 - low.0;
        let at = if gap <= self.size {
            low.0
        } else if self.steps < GUESSES && high.1 > low.1 && high.1 < u64::MAX {
            let part = self.mark.saturating_sub(low.1) as f64 / (high.1 - low.1) as f64;
            low.0 + (part.clamp(0.0, 1.0) * gap as f64) as i64 - self.size / 2
        } else {
            low.0 + gap / 2 - self.size / 2
        };
        self.next = Next::At(at.clamp(low.0, (high.0 - self.size / 2).max(low.0)));
    }
}

/// Parses the numbers of an answer, and adds a base to each.
fn numbers(answer: Value, base: u64) -> Result<Vec<u64>, StorageFailure> {
    let Value::Array(values) = answer else { return Err(unexpected_reply("positions")) };
    let number = |value: &Value| text(value)?.parse::<u64>().ok()?.checked_add(base);
    values.iter().map(|value| number(value).ok_or_else(|| unexpected_reply("a position"))).collect()
}

/// Several lists as one: each position once, in the order of the walk.
#[derive(Debug)]
pub(crate) struct Union {
    range: Range,
    runs: Vec<Run>,
}

impl Union {
    pub(crate) fn new(range: Range) -> Self {
        Self { range, runs: Vec::new() }
    }

    pub(crate) fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// Returns the sum of the lengths of its lists.
    pub(crate) fn len(&self) -> u64 {
        self.runs.iter().map(Run::len).sum()
    }

    /// Returns the next positions: at least one, unless there are no more. Requests about `wanted` positions.
    pub(crate) async fn next(&mut self, link: &Link, wanted: usize) -> Result<Vec<u64>, StorageFailure> {
        self.fill(link, wanted).await?;
        let mut taken = match self.horizon() {
            Some(horizon) => self.take_through(horizon),
            None => self.runs.iter_mut().flat_map(|run| run.ready.drain(..)).collect(),
        };
        self.runs.retain(|run| !run.done || !run.ready.is_empty());
        self.range.sort(&mut taken);
        Ok(taken)
    }

    /// Returns all remaining positions up to and including a sequence.
    pub(crate) async fn through(&mut self, link: &Link, last: u64) -> Result<Vec<u64>, StorageFailure> {
        let mut taken = Vec::new();
        loop {
            self.fill(link, MOST_OF_A_PIECE).await?;
            let horizon = self.horizon().filter(|horizon| self.range.is_before(*horizon, last));
            taken.extend(self.take_through(horizon.unwrap_or(last)));
            if horizon.is_none() {
                self.runs.retain(|run| !run.done || !run.ready.is_empty());
                self.range.sort(&mut taken);
                return Ok(taken);
            }
        }
    }

    /// Returns how far all lists are known. It is the earliest last position, in the order of the walk, among the
    /// lists that are not read to their end.
    fn horizon(&self) -> Option<u64> {
        let ends = self.runs.iter().filter(|run| !run.done).filter_map(|run| run.ready.back().copied());
        ends.reduce(|one, other| if self.range.is_before(one, other) { one } else { other })
    }

    fn take_through(&mut self, last: u64) -> Vec<u64> {
        let mut taken = Vec::new();
        for run in &mut self.runs {
            let past = run.ready.partition_point(|sequence| !self.range.is_before(last, *sequence));
            taken.extend(run.ready.drain(..past));
        }
        taken
    }

    /// Reads until every unfinished list has positions ready, in as few round trips as possible.
    async fn fill(&mut self, link: &Link, wanted: usize) -> Result<(), StorageFailure> {
        loop {
            let hungry: Vec<&mut Run> = self.runs.iter_mut().filter(|run| run.wants_more()).collect();
            if hungry.is_empty() {
                return Ok(());
            }
            let size = (wanted * 3 / 2 / hungry.len()).max(16);
            ask(link, hungry, size).await?;
        }
    }
}

/// Reads one piece of each of several lists.
async fn ask(link: &Link, mut runs: Vec<&mut Run>, size: usize) -> Result<(), StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(runs.len());
    for run in &mut runs {
        pipeline.add_command(run.command(size));
    }
    for (run, answer) in runs.into_iter().zip(link.read_all(&pipeline).await?) {
        run.take(answer)?;
    }
    Ok(())
}

/// Counts the positions of several lists that are before the range of each.
pub(crate) async fn count_through(link: &Link, mut runs: Vec<Run>) -> Result<u64, StorageFailure> {
    loop {
        let hungry: Vec<&mut Run> =
            runs.iter_mut().filter(|run| run.found_at.is_none() && !run.done).collect();
        if hungry.is_empty() {
            return Ok(runs.iter().filter_map(|run| run.found_at).sum::<i64>() as u64);
        }
        ask(link, hungry, COUNTED_AT).await?;
    }
}

impl Union {
    /// Counts its positions: those of its lists up to a sequence, and the known positions beside them. No two lists
    /// may share a position, and nothing may have been read from it before.
    pub(crate) async fn count(&mut self, link: &Link, last: u64) -> Result<u64, StorageFailure> {
        let known = self.runs.iter().map(|run| run.ready.len() as u64).sum::<u64>();
        let past = Range { order: Order::OldestFirst, low: last.saturating_add(1), high: u64::MAX };
        let lists = self.runs.drain(..).filter(|run| !run.done);
        let runs =
            lists.map(|run| Run::new(run.key, run.base, run.log, run.len.max(0) as u64, past)).collect();
        Ok(known + count_through(link, runs).await?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]

    use super::*;

    /// Returns the answer of `LRANGE`.
    fn answer(list: &[u64], run: &Run) -> Value {
        let from = usize::try_from(run.at).unwrap().min(list.len());
        let to = usize::try_from(run.at + run.size).unwrap().min(list.len());
        Value::Array(list[from..to].iter().map(|it| Value::BulkString(it.to_string().into())).collect())
    }

    fn list(random: &mut fastrand::Rng, len: usize) -> Vec<u64> {
        // Evenly spread, in clumps, or with the gap of a log epoch.
        let (step, clump) = (random.u64(1..40), random.u64(1..300));
        let mut list = Vec::with_capacity(len);
        let mut last = random.u64(0..1_000);
        for at in 0..len as u64 {
            last += 1 + random.u64(0..step) + if at % clump == 0 { random.u64(0..50_000) } else { 0 };
            last += if random.u32(0..5_000) == 0 { 1 << 32 } else { 0 };
            list.push(last);
        }
        list
    }

    fn in_order(range: Range, list: &[u64]) -> Vec<u64> {
        let mut wanted: Vec<u64> = list.iter().copied().filter(|it| range.contains(*it)).collect();
        range.sort(&mut wanted);
        wanted
    }

    /// Reads a list to its end. `change` changes the list meanwhile.
    fn read(
        run: &mut Run,
        list: &mut Vec<u64>,
        size: usize,
        mut change: impl FnMut(&mut Vec<u64>),
    ) -> (Vec<u64>, u32) {
        let (mut found, mut asked) = (Vec::new(), 0);
        while run.wants_more() {
            run.command(size);
            run.take(answer(list, run)).unwrap();
            asked += 1;
            found.extend(run.ready.drain(..));
            change(list);
        }
        (found, asked)
    }

    fn ranges(random: &mut fastrand::Rng, list: &[u64]) -> Vec<Range> {
        let last = list.last().copied().unwrap_or(10) + 5;
        let (one, other) = (random.u64(1..=last), random.u64(1..=last));
        let mut ranges = Vec::new();
        for order in [Order::OldestFirst, Order::NewestFirst] {
            ranges.push(Range { order, low: 1, high: last });
            ranges.push(Range { order, low: one.min(other), high: one.max(other) });
            ranges.push(Range { order, low: one, high: u64::MAX - 1 });
            ranges.push(Range { order, low: 1, high: other });
        }
        ranges
    }

    #[test]
    fn a_list_gives_exactly_the_positions_of_a_range_whichever_way_it_is_walked() {
        let random = &mut fastrand::Rng::with_seed(11);
        for _ in 0..400 {
            let len = [0, 1, 2, 15, 16, 17, 400, 6_000][random.usize(..8)];
            let mut list = list(random, len);
            let log = (
                list.first().copied().unwrap_or(0),
                list.last().copied().unwrap_or(0) - list.first().copied().unwrap_or(0),
            );
            for range in ranges(random, &list) {
                for size in [1, 16, 100, 10_000] {
                    let known = random.u64(0..=list.len() as u64) + u64::from(!list.is_empty());
                    let mut run = Run::new(String::new(), 0, log, known, range);
                    let expected = in_order(range, &list);
                    let (found, asked) = read(&mut run, &mut list, size, |_| {});
                    assert_eq!(found, expected, "{range:?} in pieces of {size}");
                    let pieces = expected.len().div_ceil(size.min(MOST_OF_A_PIECE)) as u32;
                    assert!(asked <= pieces + 30, "{asked} pieces asked for {pieces}, {range:?}");
                }
            }
        }
    }

    #[test]
    fn a_list_that_loses_its_head_and_grows_meanwhile_loses_nothing_else() {
        let random = &mut fastrand::Rng::with_seed(12);
        for _ in 0..600 {
            let len = [1, 40, 400, 3_000][random.usize(..4)];
            let mut list = list(random, len);
            let whole = list.clone();
            let (first, last) = (whole[0], whole[whole.len() - 1]);
            let high = random.u64(first..=last);
            let order = if random.bool() { Order::OldestFirst } else { Order::NewestFirst };
            let range = Range { order, low: random.u64(1..=high), high };
            let mut run = Run::new(String::new(), 0, (first, last - first), len as u64, range);
            let (mut gone, mut next) = (0, last);
            let (found, _) = read(&mut run, &mut list, 16, |list| {
                if random.bool() {
                    let going = random.usize(0..50).min(list.len());
                    gone += going;
                    list.drain(..going);
                }
                for _ in 0..random.usize(0..50) {
                    next += 1 + random.u64(0..3);
                    list.push(next);
                }
            });
            // Every position that stayed was found. No position was found twice or outside the range.
            let stayed = in_order(range, whole.get(gone..).unwrap_or_default());
            let missed: Vec<_> = stayed.iter().filter(|it| !found.contains(it)).collect();
            assert!(missed.is_empty(), "{range:?} missed {missed:?}");
            let all = in_order(range, &whole);
            assert!(found.iter().all(|it| all.contains(it)), "{range:?}");
            assert!(found.is_sorted_by(|one, other| range.is_before(*one, *other)), "{range:?}");
        }
    }

    #[test]
    fn how_many_stand_before_a_mark_is_where_the_search_ends() {
        let random = &mut fastrand::Rng::with_seed(13);
        for _ in 0..400 {
            let len = random.usize(1..3_000);
            let list = list(random, len);
            let (first, last) = (list[0], list[len - 1]);
            for mark in [0, first - 1, first, last - 1, last, last + 9, random.u64(first..=last)] {
                let past = Range { order: Order::OldestFirst, low: mark + 1, high: u64::MAX };
                let mut run = Run::new(String::new(), 0, (first, last - first), len as u64, past);
                while run.found_at.is_none() {
                    run.command(COUNTED_AT);
                    run.take(answer(&list, &run)).unwrap();
                }
                let expected = list.iter().filter(|it| **it <= mark).count();
                assert_eq!(run.found_at, Some(expected as i64), "up to {mark}");
            }
        }
    }

    #[test]
    fn an_answer_that_holds_no_numbers_is_refused() {
        let range = Range { order: Order::OldestFirst, low: 1, high: 9 };
        for odd in
            [Value::Nil, Value::Array(vec![Value::Nil]), Value::Array(vec![Value::BulkString(b"x".to_vec())])]
        {
            let mut run = Run::new(String::new(), 0, (0, 9), 9, range);
            run.command(16);
            assert!(run.take(odd).is_err());
        }
    }
}
