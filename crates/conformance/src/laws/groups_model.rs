//! The law that groups agree with the model. The parts of the model are in a separate module.

use crate::{Bench, Harness, groups_model::Run, model::seeds};

/// Number of operations in one round.
const STEPS: usize = 100;

/// For every sequence of operations from two processes, groups agree with the model. The law covers leases, states,
/// lanes, ledgers, dead letters and results. A failing round prints the seed that reproduces it.
pub async fn groups_agree_with_the_model(h: &impl Harness) {
    for seed in seeds(h.partitions()) {
        let mut run = Run::new(Bench::new(h).await, seed).await;
        for step in 0..STEPS {
            run.step(step).await;
        }
        run.finish().await;
    }
}
