//! Draws events, filters and rules from small pools.

use std::time::Duration;

use fastrand::Rng;
use jiff::{Timestamp, tz::Offset};

use super::wanted::Wanted;
use crate::Draft;

const IDS: &[&str] = &["e", "e:", "{e}", "e*", "e?", "[e", "e\\", "e\r\n", "\u{1b}e", "\u{202e}e", "E", "é"];
const TYPES: &[&str] =
    &["user.registered", "user.profile.updated", "user.*", "user", "lab:{x}", "\u{1b}[31m"];
const SOURCES: &[&str] = &["s", "s:", "S", "{s}", "s\n"];
const CORRELATIONS: &[&str] = &["c", "c:c", "c*", "\u{202e}c"];
const ENTITIES: &[&str] = &["x", "x:", "{x}", "*", "x\\"];
const KINDS: &[&str] = &["user", "lab", "targetUser", "x:{*}"];
const PATTERNS: &[&str] =
    &["user.*", "user", "user.registered", "*", "*.updated", "u*r.*", "lab:{x}", "none", "lab:*"];

/// First timestamp of events, in seconds since the Unix epoch.
const EPOCH: i64 = 1_705_314_600;

pub(super) struct Generator {
    pub(super) rng: Rng,
    seed: u64,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { rng: Rng::with_seed(seed), seed }
    }

    fn pick(&mut self, pool: &[&str]) -> String {
        pool[self.rng.usize(..pool.len())].to_owned()
    }

    pub(super) fn one_in(&mut self, n: u32) -> bool {
        self.rng.u32(..n) == 0
    }

    pub(super) fn id(&mut self) -> String {
        format!("{}{}", self.pick(IDS), self.rng.u32(..8))
    }

    pub(super) fn entity(&mut self) -> (String, String) {
        (self.pick(KINDS), self.pick(ENTITIES))
    }

    /// Draws the JSON of an event. An id has two contents, one of them rare, and each content has two spellings.
    /// Appends thus meet repeats and conflicts.
    pub(super) fn event(&mut self) -> String {
        let id = self.id();
        let variant = u64::from(self.one_in(6));
        let draft = self.content(&id, variant);
        if self.one_in(4) { draft.json_respelled() } else { draft.json() }
    }

    /// Returns the content of an id. The same seed and variant always give the same content.
    fn content(&self, id: &str, variant: u64) -> Draft {
        let mixed = id.bytes().fold(self.seed ^ (variant << 32), |sum, byte| {
            sum.wrapping_mul(0x0100_0000_01b3).wrapping_add(u64::from(byte))
        });
        let mut own = Self::new(mixed);
        let mut draft = Draft::new(id)
            .of_type(&own.pick(TYPES))
            .with("source", own.pick(SOURCES))
            .with(
                "data",
                serde_json::json!({"n": own.rng.i64(0..10), "variant": variant, "text": "\r\n\u{9b}"}),
            )
            .at(&own.timestamp());
        if own.rng.bool() {
            draft = draft.with("correlationId", own.pick(CORRELATIONS));
        }
        for _ in 0..own.rng.usize(..4) {
            let (kind, entity) = own.entity();
            draft = draft.with(&format!("{kind}Id"), entity);
        }
        draft
    }

    /// Draws one of a few instants, so that many are equal. Some instants are a year earlier.
    pub(super) fn instant(&mut self) -> Timestamp {
        let late = if self.one_in(8) { 365 * 24 * 3600 } else { 0 };
        let nanosecond = [0, 1, 500_000_000, 999_999_999][self.rng.usize(..4)];
        Timestamp::new(EPOCH + self.rng.i64(0..5) - late, nanosecond).unwrap()
    }

    /// Draws an instant in one of many spellings.
    fn timestamp(&mut self) -> String {
        let instant = self.instant();
        let minutes = [0, 0, 90, -300, 345][self.rng.usize(..5)];
        if minutes == 0 {
            return instant.to_string();
        }
        instant.display_with_offset(Offset::from_seconds(minutes * 60).unwrap()).to_string()
    }

    fn some(&mut self, pool: &[&str]) -> Vec<String> {
        (0..self.rng.usize(1..=3)).map(|_| self.pick(pool)).collect()
    }

    /// Draws a filter with few parts, so that most filters match some events.
    pub(super) fn wanted(&mut self) -> Wanted {
        let mut wanted = Wanted::default();
        for _ in 0..self.rng.usize(..4) {
            match self.rng.u32(..8) {
                0 => wanted.types = self.some(PATTERNS),
                1 => wanted.sources = self.some(SOURCES),
                2 => wanted.correlations = self.some(CORRELATIONS),
                3 => wanted.ids = (0..self.rng.usize(1..30)).map(|_| self.id()).collect(),
                4 => wanted.from = Some(self.instant()),
                5 => wanted.to = Some(self.instant()),
                6 => wanted.at_least = Some(self.rng.i64(0..10)),
                _ => wanted.entities = (0..self.rng.usize(1..=3)).map(|_| self.entity()).collect(),
            }
        }
        wanted
    }

    /// Draws the types of a retention rule. Most rules apply to all types.
    pub(super) fn rule_types(&mut self) -> Vec<String> {
        if self.one_in(3) { self.some(PATTERNS) } else { Vec::new() }
    }

    pub(super) fn seconds(&mut self, below: u64) -> Duration {
        Duration::from_secs(self.rng.u64(..below))
    }
}
