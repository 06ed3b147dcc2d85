//! The port of kept plans of replays.

use async_trait::async_trait;

use crate::{error::StorageFailure, plan::PlanRecord};

/// Keeps plans. The replay engine defines the text of a plan's document. A store does not parse it.
///
/// Laws:
/// - `add_plan` MUST keep record and document as they are given, in one step. It MUST refuse an id that exists,
///   without a change.
/// - `list_plans` MUST return the newest plans first: sorted by the time at which they were made, then by id.
/// - `replace_plan` MUST change a record only if it still equals `before`, for any number of concurrent changes. It
///   MUST NOT change the document.
/// - `delete_plan` MUST remove record and document in one step.
/// - Trimming and erasing remove no plan.
/// - After [`StorageFailure::Unknown`], the change may have been made.
#[async_trait]
pub trait PlanStore: Send + Sync {
    /// Keeps a plan. Returns whether its id was free.
    async fn add_plan(&self, plan: &PlanRecord, document: &str) -> Result<bool, StorageFailure>;

    /// Returns the record of a plan.
    async fn plan(&self, id: &str) -> Result<Option<PlanRecord>, StorageFailure>;

    /// Returns the document of a plan.
    async fn plan_document(&self, id: &str) -> Result<Option<String>, StorageFailure>;

    /// Returns the record of every plan, the newest first.
    async fn list_plans(&self) -> Result<Vec<PlanRecord>, StorageFailure>;

    /// Replaces the record of a plan, which keeps its id. Returns whether the record still equaled `before`.
    async fn replace_plan(&self, before: &PlanRecord, after: &PlanRecord) -> Result<bool, StorageFailure>;

    /// Removes a plan. Returns whether there was one.
    async fn delete_plan(&self, id: &str) -> Result<bool, StorageFailure>;
}
