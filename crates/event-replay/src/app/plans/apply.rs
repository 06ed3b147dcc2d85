//! The run of a kept plan.

use domain::{
    plan::{PlanRecord, PlanRun},
    ports::event_store::ProgressCallback,
};
use replay::PlanLosses;

use super::{
    KeptPlan, find,
    permit::{ApprovalRule, Permitted},
};
use crate::{
    app::{
        approval,
        audit::{Action, Actor, audited, facts},
        error::{AppError, Conflict},
        replay::manager,
        store::clock,
    },
    handle::StoreHandle,
    settings::Settings,
};

/// A plan that is permitted to run.
#[derive(Debug, Clone)]
pub struct AppliedPlan {
    /// The plan.
    pub kept: KeptPlan,
    /// The events of the plan that were erased or trimmed after its creation. The remaining events are sent.
    pub losses: PlanLosses,
    /// The permission to run.
    pub permitted: Permitted,
}

/// Starts the run of a plan. It checks the plan, uses its approval, and stores both the run and its audit entry.
/// `target` is the target of the run as it is shown, or `None` for consumer groups.
///
/// # Errors
/// Returns [`AppError`] when the plan has expired or has changed, when the approval of another operator is missing, or
/// when its approval was used. Also returns it when the plan has another target, when one of its groups was deleted, or
/// when the store fails. An approved plan is also refused when some of its events were removed.
pub async fn apply(
    store: &StoreHandle,
    by: &Actor,
    settings: &Settings,
    id: &str,
    target: Option<&str>,
    progress: Option<ProgressCallback>,
) -> Result<AppliedPlan, AppError> {
    let kept = find(store, id).await?;
    let action = Action::new("plans apply").to(&kept.record.id).planned(&kept.record.hash);
    let applying = async {
        let reason = check(store, settings, &kept, target).await?;
        let losses = manager(store).losses(&kept.plan, progress).await?;
        if reason.is_some() && !losses.is_none() {
            let id = kept.record.id.clone();
            return Err(Conflict::PlanLostEvents { id, missing: losses.missing }.into());
        }
        let approval = kept.record.approval.clone().filter(|_| reason.is_some());
        let applied = Some(PlanRun { by: by.operator.clone(), at: clock().now(), approval });
        let after = PlanRecord { approval: None, applied, ..kept.record.clone() };
        match store.replace_plan(&kept.record, &after).await? {
            true => Ok((after, losses)),
            false => Err(AppError::from(Conflict::PlanInUse { id: kept.record.id.clone() })),
        }
    };
    let outcome = |(after, losses): &(PlanRecord, PlanLosses)| {
        let approval = after.applied.as_ref().and_then(|run| run.approval.as_ref());
        let by = approval.map(|approval| approval.by.clone());
        facts([("missing", losses.missing.into()), ("approvedBy", by.into())])
    };
    let (record, losses) = audited(store, by, action, applying, outcome).await?;
    let permitted = Permitted { plan: Some(record.id.clone()) };
    Ok(AppliedPlan { kept: KeptPlan { record, ..kept }, losses, permitted })
}

/// Checks the plan. Returns the rule that requires its approval, which the plan has. Returns `None` if the plan needs
/// no approval.
async fn check(
    store: &StoreHandle,
    settings: &Settings,
    kept: &KeptPlan,
    target: Option<&str>,
) -> Result<Option<String>, AppError> {
    let KeptPlan { record, plan, run } = kept;
    let id = || record.id.clone();
    if record.is_expired(clock().now()) {
        return Err(Conflict::PlanExpired { id: id(), at: record.expires_at }.into());
    }
    approval::check(&record.hash, &plan.computed_hash()?)?;
    let asked = target.unwrap_or("groups");
    if asked != run.target {
        return Err(Conflict::PlanGoesElsewhere {
            id: id(),
            to: run.target.clone(),
            asked: asked.to_owned(),
        }
        .into());
    }
    let existing = store.groups().await?;
    for group in &run.groups {
        let is_it = |record: &domain::group::GroupRecord| {
            (record.spec.name.as_str(), record.created_at) == (group.name.as_str(), group.created_at)
        };
        if !existing.iter().any(is_it) {
            return Err(Conflict::PlanGroupGone { id: id(), group: group.name.clone() }.into());
        }
    }
    // The plan needs an approval if the rule required one at its creation, or if the current settings require one.
    let rule = ApprovalRule::of(settings).reason(plan.total_events, &run.destinations());
    let Some(reason) = record.approval_reason.clone().or(rule) else { return Ok(None) };
    match &record.approval {
        Some(approval) if approval.by != record.created_by => {
            approval::check(&approval.hash, &record.hash)?;
            Ok(Some(reason))
        }
        _ => Err(Conflict::PlanNotApproved { id: id(), reason }.into()),
    }
}
