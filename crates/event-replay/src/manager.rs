//! A replay manager with every function that a store supports.

use std::sync::Arc;

use domain::ports::{Clock, EventValidator, Stores};
use replay::ReplayManager;

/// Returns a replay manager over a store. It replays to targets and to groups, and it has checkpoints and retention. It
/// removes dead letters that have been closed for long. Without a validator, a plan does not count the events that the
/// current schemas refuse. The clock should be the clock of the store.
///
/// With the feature `conditions`, the manager can resume a replay with a condition in its filter.
pub fn replay_manager(
    store: &Arc<dyn Stores>,
    validator: Option<Arc<dyn EventValidator>>,
    clock: Arc<dyn Clock>,
) -> ReplayManager {
    let manager = ReplayManager::new(store.clone(), store.clone(), store.clone(), validator, clock)
        .with_groups(store.clone())
        .with_dead_letters(store.clone());
    with_conditions(manager)
}

#[cfg(feature = "conditions")]
fn with_conditions(manager: ReplayManager) -> ReplayManager {
    manager
        .with_conditions(Arc::new(|text: &str| conditions::compile(text).map_err(|error| error.to_string())))
}

#[cfg(not(feature = "conditions"))]
fn with_conditions(manager: ReplayManager) -> ReplayManager {
    manager
}
