//! Kept plans: create, find, approve, run, delete.
//!
//! A kept plan is a frozen set of events with its target. It has no event that was stored later. A plan that needs an
//! approval runs once per approval. Another operator must approve it.

mod apply;
mod approve;
mod document;
mod keep;
mod permit;

use domain::plan::PlanRecord;
use replay::Plan;

pub use self::{
    apply::{AppliedPlan, apply},
    approve::approve,
    document::{GroupReach, KeptPlanDocument, KeptRun, PlanRow, PlanState, rows},
    keep::{NewPlan, keep},
    permit::{ApprovalRule, Permitted, permit},
};
use super::{
    audit::{Action, Actor, audited, facts},
    error::{AppError, NotFound},
    prefix,
    replay::manager,
};
use crate::handle::StoreHandle;

/// The smallest length, in bytes, of a prefix of an id.
const SHORTEST: usize = 6;
/// The smallest length, in bytes, of a prefix that is shown.
const SHOWN: usize = 8;

/// A kept plan with all its parts.
#[derive(Debug, Clone)]
pub struct KeptPlan {
    /// The record with the parts that change.
    pub record: PlanRecord,
    /// The set of events.
    pub plan: Plan,
    /// The target and its options.
    pub run: KeptRun,
}

/// Returns all plans, newest first.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn list(store: &StoreHandle) -> Result<Vec<PlanRecord>, AppError> {
    Ok(store.list_plans().await?)
}

/// Returns for each plan the unique prefix of its id, in a form that [`find`] accepts.
pub fn prefixes(plans: &[PlanRecord]) -> Vec<String> {
    let ids = || plans.iter().map(|plan| plan.id.as_str());
    ids().map(|id| prefix::unique(id, ids(), SHOWN)).collect()
}

/// Finds a plan by its id or by a unique prefix.
///
/// # Errors
/// Returns [`AppError`] when no plan matches, when several match, when the plan cannot be parsed, or when the store
/// fails.
pub async fn find(store: &StoreHandle, id: &str) -> Result<KeptPlan, AppError> {
    whole(store, record(store, id).await?).await
}

async fn whole(store: &StoreHandle, record: PlanRecord) -> Result<KeptPlan, AppError> {
    let unknown = || NotFound::Plan { id: record.id.clone() };
    let text = store.plan_document(&record.id).await?.ok_or_else(unknown)?;
    let (document, run) = document::read(&record.id, &text)?;
    let plan = manager(store).kept_plan(&document)?;
    Ok(KeptPlan { record, plan, run })
}

async fn record(store: &StoreHandle, id: &str) -> Result<PlanRecord, AppError> {
    if let Some(record) = store.plan(id).await? {
        return Ok(record);
    }
    let unknown = || NotFound::Plan { id: id.to_owned() };
    if id.len() < SHORTEST {
        return Err(unknown().into());
    }
    let mut matching = store.list_plans().await?.into_iter().filter(|plan| plan.id.starts_with(id));
    match (matching.next(), matching.next()) {
        (Some(record), None) => Ok(record),
        (Some(_), Some(_)) => Err(NotFound::OnePlan { beginning: id.to_owned() }.into()),
        (None, _) => Err(unknown().into()),
    }
}

/// Deletes a plan and returns its id. Replays of the plan stay.
///
/// # Errors
/// Returns [`AppError`] when the plan does not exist, or when the store fails.
pub async fn delete(store: &StoreHandle, by: &Actor, id: &str) -> Result<String, AppError> {
    let found = record(store, id).await?;
    let action = Action::new("plans delete").to(&found.id).planned(&found.hash);
    let deleting = async {
        match store.delete_plan(&found.id).await? {
            true => Ok(()),
            false => Err(AppError::from(NotFound::Plan { id: found.id.clone() })),
        }
    };
    audited(store, by, action, deleting, |()| facts([])).await.map(|()| found.id)
}
