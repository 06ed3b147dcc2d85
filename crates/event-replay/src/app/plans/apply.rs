//! Running a kept plan.

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

/// A plan whose run may begin.
#[derive(Debug, Clone)]
pub struct AppliedPlan {
    /// The plan.
    pub kept: KeptPlan,
    /// What of it was erased or trimmed since it was made. The rest is sent.
    pub losses: PlanLosses,
    /// That it may run.
    pub permitted: Permitted,
}

/// Begins to run a plan: checks it, uses its approval, and writes both down. `target` is that of the run as it is shown, where
/// it is not consumer groups.
///
/// # Errors
/// When the plan is expired or changed, another operator has not approved it, its approval is used, it goes elsewhere, a group of
/// it is gone, or the store fails. A plan that was approved is refused where events of it are gone.
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

/// Why it needs an approval, which it has; none: it needs none.
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
    // The settings may ask for more than when the plan was made, never for less.
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
