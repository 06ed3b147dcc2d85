//! The approval of a plan by another operator.

use domain::plan::{PlanApproval, PlanRecord};

use super::{KeptPlan, find};
use crate::{
    app::{
        approval,
        audit::{Action, Actor, audited, facts},
        error::{AppError, Conflict},
        replay::manager,
        store::clock,
    },
    handle::StoreHandle,
};

/// Approves a plan for one run. `hash`, if given, is the hash of the plan that the operator has inspected.
///
/// # Errors
/// Returns [`AppError`] when the plan has expired, when the same operator made it, when it is approved already, or when
/// it needs no approval. Also returns it when the hash differs, when the log lacks some of the plan's events, or when
/// the store fails.
pub async fn approve(
    store: &StoreHandle,
    by: &Actor,
    id: &str,
    hash: Option<&str>,
) -> Result<PlanRecord, AppError> {
    let kept = find(store, id).await?;
    let action = Action::new("plans approve").to(&kept.record.id).planned(&kept.record.hash);
    let approving = async {
        if let Some(hash) = hash {
            approval::check(hash, &kept.record.hash)?;
        }
        check(store, by, &kept).await?;
        let at = clock().now();
        let approval = PlanApproval { by: by.operator.clone(), at, hash: kept.record.hash.clone() };
        let after = PlanRecord { approval: Some(approval), ..kept.record.clone() };
        match store.replace_plan(&kept.record, &after).await? {
            true => Ok(after),
            false => Err(Conflict::PlanInUse { id: kept.record.id.clone() }.into()),
        }
    };
    audited(store, by, action, approving, |_| facts([("createdBy", kept.record.created_by.clone().into())]))
        .await
}

async fn check(store: &StoreHandle, by: &Actor, kept: &KeptPlan) -> Result<(), AppError> {
    let record = &kept.record;
    let id = || record.id.clone();
    if record.is_expired(clock().now()) {
        return Err(Conflict::PlanExpired { id: id(), at: record.expires_at }.into());
    }
    if record.approval_reason.is_none() {
        return Err(Conflict::NoApprovalNeeded { id: id() }.into());
    }
    if record.created_by == by.operator {
        return Err(Conflict::OwnPlan { id: id(), operator: by.operator.clone() }.into());
    }
    if let Some(approval) = &record.approval {
        return Err(Conflict::PlanApproved { id: id(), by: approval.by.clone() }.into());
    }
    approval::check(&record.hash, &kept.plan.computed_hash()?)?;
    let losses = manager(store).losses(&kept.plan, None).await?;
    match losses.is_none() {
        true => Ok(()),
        false => Err(Conflict::PlanLostEvents { id: id(), missing: losses.missing }.into()),
    }
}
