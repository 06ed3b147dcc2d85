//! Kept plans of replays.

use async_trait::async_trait;

use crate::{error::StorageFailure, plan::PlanRecord};

/// Keeps plans. A plan's document is a text of the replay engine's own; a store does not look inside.
///
/// Laws:
/// - `add_plan` MUST keep record and document as they are given, in one step, and MUST refuse an id that exists without a
///   change.
/// - `list_plans` MUST give the newest first, by when they were made and then by id.
/// - `replace_plan` MUST change a record only where it is `before` still, however many change it at once. It MUST leave the
///   document.
/// - `delete_plan` MUST remove record and document in one step.
/// - Neither trimming nor erasing removes a plan.
/// - After [`StorageFailure::Unknown`] the change may have been made.
#[async_trait]
pub trait PlanStore: Send + Sync {
    /// Keeps a plan; whether its id was free.
    async fn add_plan(&self, plan: &PlanRecord, document: &str) -> Result<bool, StorageFailure>;

    /// The record of a plan.
    async fn plan(&self, id: &str) -> Result<Option<PlanRecord>, StorageFailure>;

    /// The document of a plan.
    async fn plan_document(&self, id: &str) -> Result<Option<String>, StorageFailure>;

    /// The record of every plan, the newest first.
    async fn list_plans(&self) -> Result<Vec<PlanRecord>, StorageFailure>;

    /// Exchanges the record of a plan, which keeps its id; whether it was `before` still.
    async fn replace_plan(&self, before: &PlanRecord, after: &PlanRecord) -> Result<bool, StorageFailure>;

    /// Removes a plan; whether there was one.
    async fn delete_plan(&self, id: &str) -> Result<bool, StorageFailure>;
}
