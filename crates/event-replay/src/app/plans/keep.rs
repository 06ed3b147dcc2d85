//! The creation of a kept plan.

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

/// The time for which an expired plan is kept.
const KEPT_EXPIRED: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The target of a new plan and its options.
#[derive(Debug, Clone, PartialEq)]
pub struct NewPlan {
    /// The display name of the target, without secrets. `None`: consumer groups.
    pub target: Option<String>,
    /// The groups. Empty: all groups.
    pub groups: Vec<String>,
    /// The pace.
    pub pace: Pace,
    /// The number of events per batch.
    pub batch_size: usize,
    /// Whether a replay of all events is permitted.
    pub all: bool,
}

/// Stores a plan. Also removes plans that expired more than 30 days ago.
///
/// # Errors
/// Returns [`AppError`] when a group of the plan does not exist, or when the store fails.
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
        // A new UUID never collides with a stored id.
        store.add_plan(&record, &document).await.map_err(AppError::from)
    };
    audited(store, by, action, keeping, |_| facts([("expiresAt", record.expires_at.to_string().into())]))
        .await?;
    Ok(KeptPlan { record, plan, run })
}

impl KeptRun {
    /// Returns the names by which a setting can require an approval.
    pub(super) fn destinations(&self) -> Vec<&str> {
        match self.groups.as_slice() {
            [] => vec![self.target.as_str()],
            groups => groups.iter().map(|group| group.name.as_str()).collect(),
        }
    }
}

/// Returns the groups of a plan, each with the number of events that it would handle.
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
