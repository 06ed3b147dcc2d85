//! Keeping a plan.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    plan::PlanRecord,
    time::{earlier, later},
};
use replay::{Pace, Plan};
use uuid::Uuid;

use super::{
    KeptPlan,
    document::{GroupReach, KeptRun, written},
    permit::ApprovalRule,
};
use crate::{
    app::{
        audit::{Action, Actor, audited, facts},
        error::AppError,
        groups::GroupPosition,
        replay::check_groups,
        store::clock,
    },
    handle::StoreHandle,
    settings::Settings,
};

/// How long an expired plan is kept still.
const KEPT_EXPIRED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Where a plan that is to be kept goes, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPlan {
    /// The target as people know it, without secrets; none: consumer groups.
    pub target: Option<String>,
    /// The groups that it goes to; none: all that there are.
    pub groups: Vec<String>,
    /// How fast it goes.
    pub pace: Pace,
    /// Events handed over at once.
    pub batch_size: usize,
    /// Whether every event of the store may be meant.
    pub all: bool,
}

/// Keeps a plan. Plans that expired 30 days ago are removed.
///
/// # Errors
/// When it goes to groups that are not there, or the store fails.
pub async fn keep(
    store: &StoreHandle,
    by: &Actor,
    settings: &Settings,
    plan: Plan,
    new: NewPlan,
) -> Result<KeptPlan, AppError> {
    let groups = match &new.target {
        Some(_) => Vec::new(),
        None => reach(store, settings, &plan, &new.groups).await?,
    };
    let target = new.target.unwrap_or_else(|| "groups".to_owned());
    let run = KeptRun { target, groups, batch_size: new.batch_size, pace: new.pace, all: new.all };
    let now = clock().now();
    let record = PlanRecord {
        id: Uuid::now_v7().to_string(),
        hash: plan.plan_hash.clone(),
        created_at: now,
        created_by: by.operator.clone(),
        expires_at: later(now, settings.plans.valid_for),
        total_events: plan.total_events,
        to: run.to(),
        approval_reason: ApprovalRule::of(settings).reason(plan.total_events, &run.destinations()),
        approval: None,
        applied: None,
    };
    let document = written(&plan.to_document()?, &run);
    let action = Action::new("plans create").to(&record.id).planned(&record.hash);
    let action = action.with("events", record.total_events).with("to", record.to.as_str());
    let keeping = async {
        for old in store.list_plans().await? {
            if old.is_expired(earlier(now, KEPT_EXPIRED)) {
                store.delete_plan(&old.id).await?;
            }
        }
        // An id that is drawn at random is free.
        store.add_plan(&record, &document).await.map_err(AppError::from)
    };
    audited(store, by, action, keeping, |_| facts([("expiresAt", record.expires_at.to_string().into())]))
        .await?;
    Ok(KeptPlan { record, plan, run })
}

impl KeptRun {
    /// The names by which a setting may ask for an approval.
    pub(super) fn destinations(&self) -> Vec<&str> {
        match self.groups.as_slice() {
            [] => vec![self.target.as_str()],
            groups => groups.iter().map(|group| group.name.as_str()).collect(),
        }
    }
}

/// The groups that a plan goes to, and what each would take of it.
async fn reach(
    store: &StoreHandle,
    settings: &Settings,
    plan: &Plan,
    names: &[String],
) -> Result<Vec<GroupReach>, AppError> {
    check_groups(store, names).await?;
    let wanted: BTreeSet<&String> = names.iter().collect();
    let mut reached = Vec::new();
    for record in store.groups().await? {
        if !wanted.is_empty() && !wanted.contains(&record.spec.name) {
            continue;
        }
        let Some(status) = store.group(&record.spec.name).await? else { continue };
        let group = GroupPosition::of(store, &settings.holds, status).await?;
        let spec = &record.spec;
        let taken = plan.by_type.iter().filter(|(event_type, _)| spec.takes(event_type));
        reached.push(GroupReach {
            name: spec.name.clone(),
            created_at: record.created_at,
            consumers: group.status.consumers.len(),
            lag: group.lag,
            would_take: taken.map(|(_, events)| events).sum(),
        });
    }
    Ok(reached)
}
