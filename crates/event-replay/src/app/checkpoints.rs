//! The checkpoints of a store.

use replay::Checkpoints;

use super::store::clock;
use crate::handle::StoreHandle;

/// What makes, finds and compares the checkpoints of a store.
pub fn checkpoints(store: &StoreHandle) -> Checkpoints {
    Checkpoints::new(store.ports().clone(), store.ports().clone(), clock())
}
