//! A replay manager with all that a store offers.

use std::sync::Arc;

use domain::ports::{Clock, EventValidator, Stores};
use replay::ReplayManager;

/// A manager of replays over a store: to targets and to groups, with checkpoints, retention, and dead letters that go when
/// they have been closed for long. Without a validator, plans cannot say what today's schemas would refuse. The clock
/// should be the store's.
///
/// With the feature `conditions`, replays whose filters have one can be resumed.
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
