//! What happens to the commits of a consumer on their way to the store.

use std::time::Duration;

use async_trait::async_trait;
use conformance::{EngineCall, EngineHook, TransactionExt};
use domain::{
    StorageFailure,
    ports::engine::{SpaceKind, Transaction},
};

/// Delays commits to segments; and, as a fault, takes their fencing away.
pub(crate) struct Commits {
    /// How long a commit is under way before it reaches the store.
    pub(crate) take: Duration,
    /// A fault: the store accepts commits under old leases.
    pub(crate) unfenced: bool,
}

#[async_trait]
impl EngineHook for Commits {
    async fn before(&self, call: &EngineCall<'_>) -> Result<(), StorageFailure> {
        if !self.take.is_zero() && call.is_segment_commit() {
            tokio::time::sleep(self.take).await;
        }
        Ok(())
    }

    fn transaction(&self, transaction: &Transaction) -> Transaction {
        match self.unfenced && transaction.is_segment_commit() {
            true => transaction.without_guards_on(SpaceKind::Fence),
            false => transaction.clone(),
        }
    }
}
