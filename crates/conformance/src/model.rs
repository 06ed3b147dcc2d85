//! Random sequences of operations, each answer compared with a naive model of the store.
//!
//! The model shares no code with any adapter: it is a list of events, and it reads filters off the parsed JSON. Names
//! are drawn from small pools, so that ids repeat, entities gather events, and texts that look like separators or
//! patterns meet each other.

mod generator;
mod oracle;
mod run;
mod wanted;

use std::{hash::BuildHasher, str::FromStr};

use crate::{Bench, Harness, model::run::Run};

/// Operations of one round.
const STEPS: usize = 80;
/// Rounds of storages of one partition: with more of them a round has more to look at.
const DEFAULT_ROUNDS: u64 = 8;

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// The seeds of the rounds to run, from a drawn or given seed on.
pub(crate) fn seeds(partitions: u16) -> impl Iterator<Item = u64> {
    let random = || std::hash::RandomState::new().hash_one("seed");
    let first: u64 = setting("EVENT_REPLAY_SEED").unwrap_or_else(random);
    let usual = (DEFAULT_ROUNDS / u64::from(partitions)).max(2);
    let rounds = setting("EVENT_REPLAY_ROUNDS").unwrap_or(usual);
    (0..rounds).map(move |round| first.wrapping_add(round))
}

/// On every sequence of operations a store answers as the model does: outcomes, pages in both orders, counts, trims,
/// erasures, replay counts, checkpoints. A round's failure names the seed that repeats it.
pub async fn agrees_with_the_model(h: &impl Harness) {
    for seed in seeds(h.partitions()) {
        let bench = Bench::new(h).await;
        let mut run = Run::new(bench, seed).await;
        for step in 0..STEPS {
            run.step(step).await;
        }
        run.finish().await;
    }
}
