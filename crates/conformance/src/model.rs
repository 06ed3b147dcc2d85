//! Random sequences of operations. Each result is compared with a naive model of the store.
//!
//! The model shares no code with any adapter. It is a list of events, and it evaluates filters on the parsed JSON.
//! Names come from small pools, so ids repeat and entities have several events. The pools contain texts that look like
//! separators or patterns.

mod generator;
mod oracle;
mod run;
mod wanted;

use std::{hash::BuildHasher, str::FromStr};

use crate::{Bench, Harness, model::run::Run};

/// Number of operations in one round.
const STEPS: usize = 80;
/// Number of rounds for storages of one partition. With more partitions, each round takes longer, so fewer rounds run.
const DEFAULT_ROUNDS: u64 = 8;

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// Returns the seeds of the rounds, starting from a given or random seed.
pub(crate) fn seeds(partitions: u16) -> impl Iterator<Item = u64> {
    let random = || std::hash::RandomState::new().hash_one("seed");
    let first: u64 = setting("EVENT_REPLAY_SEED").unwrap_or_else(random);
    let usual = (DEFAULT_ROUNDS / u64::from(partitions)).max(2);
    let rounds = setting("EVENT_REPLAY_ROUNDS").unwrap_or(usual);
    (0..rounds).map(move |round| first.wrapping_add(round))
}

/// For every sequence of operations, a store gives the same results as the model. The law covers outcomes, pages in
/// both orders, counts, trims, erasures, replay counts and checkpoints. A failing round prints the seed that reproduces
/// it.
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
