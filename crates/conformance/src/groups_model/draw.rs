//! Draws names, blocked keys (ledger rows), lane progress and dead letters from small pools.

use std::time::Duration;

use domain::{
    Position,
    dead_letter::{Failure, NewDeadLetter},
    group::{BlockedKey, Key, LaneFailure, LaneProgress, LaneRetry},
};
use fastrand::Rng;
use jiff::Timestamp;

/// Number of events in each partition of the log.
pub(super) const EVENTS: usize = 12;
pub(super) const GROUPS: &[&str] = &["g", "g:", "{g}*'"];
pub(super) const CONSUMERS: &[&str] = &["c", "c:", "C", "\u{202e}c"];
pub(super) const REPLAYS: &[&str] = &["r", "r:{0}"];
const KEYS: &[(&str, &str)] = &[("user", "u"), ("user", "u:"), ("user:", "u"), ("all", ""), ("*", "\r\n")];

pub(super) struct Draw {
    pub(super) rng: Rng,
    now: Timestamp,
}

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), now: Timestamp::UNIX_EPOCH }
    }

    /// Sets the current time.
    pub(super) fn at(&mut self, now: Timestamp) {
        self.now = now;
    }

    pub(super) fn pick<T: Copy>(&mut self, pool: &[T]) -> T {
        pool[self.rng.usize(..pool.len())]
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    pub(super) fn key(&mut self) -> Key {
        let (kind, id) = self.pick(KEYS);
        Key::new(kind, id)
    }

    /// Draws a sequence in the log, or slightly after its end.
    pub(super) fn sequence(&mut self) -> u64 {
        self.rng.u64(1..=EVENTS as u64 + 2)
    }

    /// Draws some rising sequences.
    pub(super) fn positions(&mut self) -> Vec<u64> {
        let chance = self.rng.u32(2..6);
        let mut positions: Vec<u64> = (1..=EVENTS as u64).filter(|_| self.rng.u32(..chance) == 0).collect();
        if positions.is_empty() {
            positions.push(self.sequence());
        }
        positions
    }

    pub(super) fn row(&mut self) -> BlockedKey {
        let position = self.sequence();
        BlockedKey {
            key: self.key(),
            position,
            through: position + self.rng.u64(..3),
            claimed_to: position - self.rng.u64(..2),
            attempts: self.rng.u32(..5),
            ends: self.rng.u32(..3),
            due: self.rng.bool().then(|| self.now + Duration::from_millis(self.rng.u64(..9_999))),
            error: self.pick(&["", "no", "\u{202e}'\r\n"]).to_owned(),
            failures: self.earlier(),
            since: self.now,
        }
    }

    /// Draws progress of an unfinished batch. Only `claimed_to` shows whether the batch has claimed references.
    pub(super) fn progress(&mut self, references: usize) -> LaneProgress {
        let claimed_to = self.rng.u32(..=references as u32);
        let mut progress = LaneProgress { claimed_to, ..LaneProgress::default() };
        for index in 0..claimed_to {
            match self.rng.u32(..3) {
                0 => {
                    progress.done.insert(index);
                }
                1 => progress.retries.push(LaneRetry {
                    index,
                    attempts: 1,
                    ends: 2,
                    due: self.now,
                    error: "no".to_owned(),
                    failures: Vec::new(),
                }),
                _ => {}
            }
        }
        progress
    }

    /// Draws progress of a finished batch. Each reference was handled, given up on or skipped.
    pub(super) fn last_progress(&mut self, references: usize) -> LaneProgress {
        let mut progress = LaneProgress { claimed_to: references as u32, ..LaneProgress::default() };
        for index in 0..references as u32 {
            progress.done.insert(index);
            match self.rng.u32(..4) {
                0 => progress.failed.push(LaneFailure { index, error: format!("no {index}") }),
                1 => progress.skipped.push(index),
                _ => {}
            }
        }
        progress
    }

    fn earlier(&mut self) -> Vec<Failure> {
        let failure = |n| Failure { at: self.now, errors: vec![format!("before {n}")] };
        (0..self.rng.usize(..3)).map(failure).collect()
    }

    pub(super) fn dead_letter(&mut self, partition: u16) -> NewDeadLetter {
        NewDeadLetter {
            position: Position::new(partition, self.sequence()),
            attempts: self.rng.u32(1..4),
            failure: Failure { at: self.now, errors: vec![format!("no {}", self.rng.u32(..9))] },
            earlier: self.earlier(),
            fingerprint: format!("f{}", self.rng.u32(..3)),
            replay_id: self.rng.bool().then(|| self.pick(REPLAYS).to_owned()),
            parked: self.rng.bool(),
        }
    }
}
