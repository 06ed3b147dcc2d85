//! The law that groups agree with the model, whose parts are in a module of its own.

use crate::{Bench, Harness, groups_model::Run, model::seeds};

/// Operations of one round.
const STEPS: usize = 100;

/// On every sequence of operations from two processes, groups are as the model says: leases, states, lanes, ledgers,
/// dead letters and results. A round's failure names the seed that repeats it.
pub async fn groups_agree_with_the_model(h: &impl Harness) {
    for seed in seeds(h.partitions()) {
        let mut run = Run::new(Bench::new(h).await, seed).await;
        for step in 0..STEPS {
            run.step(step).await;
        }
        run.finish().await;
    }
}
