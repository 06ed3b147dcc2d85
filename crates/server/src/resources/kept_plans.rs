//! Kept plans: create, show, approve by another operator, and run.

use ::replay::{GroupReplayOptions, ReplaySummary};
use domain::ports::Order;
use event_replay::{
    app::{
        clock,
        documents::{Deleted, ReplayStartedDocument},
        plans::{self, AppliedPlan, KeptPlanDocument, NewPlan, PlanRow},
        replay::{self, Receiver},
        replay_request::PlannedReplay,
        walk::EventWalk,
    },
    text::name,
};
use http::StatusCode;
use serde::Deserialize;

use super::{
    events::{self, cursor},
    filter::{self, DEFAULT_LIMIT},
    plans::{BATCH_SIZE, CHECK_SCHEMAS, DELAY, GROUP, RATE, StartBody, plan_members},
};
use crate::{
    answer::{json, json_with, rows},
    call::{Answer, Call},
    shape::{Member, Shape},
};

/// The members of the body that keeps a plan.
pub(crate) const KEEP: &[Member] =
    plan_members![Member::new("mark", Shape::Cursor), CHECK_SCHEMAS, GROUP, RATE, DELAY, BATCH_SIZE,];
/// The members of the body of an approval.
pub(crate) const APPROVE: &[Member] = &[Member::new("hash", Shape::Text)];

/// Handles `POST /v1/kept-plans`: stores the plan of a replay into consumer groups.
pub(crate) async fn keep(mut call: Call) -> Answer {
    let body: StartBody = call.json(KEEP).await?;
    let planned = body.plan.planned()?;
    let store = &call.app.store;
    let groups = body.plan.groups(&body.group)?;
    replay::check_groups(store, &groups).await?;
    let checks = body.plan.check_schemas.unwrap_or(true);
    let manager = match checks {
        true => replay::manager_with_schemas(store, &call.app.settings).await?,
        false => replay::manager_with_upcasters(store, &call.app.settings)?,
    };
    let (pace, batch_size) = body.pace()?.resolve(Receiver::Service);
    let all = planned.selection.is_all();
    let PlannedReplay { plan, .. } = planned.plan(store, &manager, checks, None).await?;
    let new = NewPlan { target: None, groups, pace, batch_size, all };
    let kept = plans::keep(store, &call.actor(), &call.app.settings, plan, new).await?;
    json_with(StatusCode::CREATED, &KeptPlanDocument::of(&kept, clock().now()))
}

/// Handles `GET /v1/kept-plans`: lists kept plans, newest first.
pub(crate) async fn list(call: Call) -> Answer {
    let limit = call.query.read("limit", filter::limit)?.unwrap_or(DEFAULT_LIMIT);
    let mut kept = plans::list(&call.app.store).await?;
    kept.truncate(limit as usize);
    rows(&plans::rows(&kept, clock().now()), call.accepts("application/x-ndjson"))
}

/// Handles `GET /v1/kept-plans/{id}`: returns a kept plan.
pub(crate) async fn show(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let kept = plans::find(&call.app.store, &id).await?;
    json(&KeptPlanDocument::of(&kept, clock().now()))
}

/// Handles `GET /v1/kept-plans/{id}/events`: returns exactly the events of the plan, oldest first.
pub(crate) async fn events(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let after = call.query.read("after", cursor)?;
    let limit = call.query.read("limit", filter::limit)?.unwrap_or(DEFAULT_LIMIT);
    let kept = plans::find(&call.app.store, &id).await?;
    let plan = &kept.plan;
    // A plan without events has an empty range.
    let until = plan.end().or(plan.after.as_ref()).cloned();
    let limit = if plan.end().is_some() { limit } else { 0 };
    let ports = call.app.store.ports().clone();
    let walk = EventWalk::new(ports, (*plan.filter).clone(), Order::OldestFirst, Some(limit))
        .after(after.or_else(|| plan.after.clone()))
        .until(until);
    let path = format!("{}/v1/kept-plans/{id}/events", call.app.options.base_path);
    let query = call.parts.uri.query().map(str::to_owned);
    events::page(walk, &path, query.as_deref()).await
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ApproveBody {
    hash: Option<String>,
}

/// Handles `POST /v1/kept-plans/{id}/approvals`: allows one run of the plan of another operator.
pub(crate) async fn approve(mut call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let body: ApproveBody = call.json(APPROVE).await?;
    let record = plans::approve(&call.app.store, &call.actor(), &id, body.hash.as_deref()).await?;
    json_with(StatusCode::CREATED, &PlanRow::of(&record, clock().now()))
}

/// Handles `POST /v1/kept-plans/{id}/runs`: sends exactly the events of the plan to its groups.
pub(crate) async fn run(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let (store, by) = (&call.app.store, call.actor());
    let AppliedPlan { kept, permitted, .. } =
        plans::apply(store, &by, &call.app.settings, &id, None, None).await?;
    let manager = replay::manager(store);
    let options = GroupReplayOptions {
        batch_size: kept.run.batch_size,
        pace: kept.run.pace,
        all: kept.run.all,
        ..GroupReplayOptions::to(kept.run.groups.iter().map(|group| group.name.clone()))
    };
    let record = replay::start(store, &by, &manager, &kept.plan, &permitted, &options).await?;
    let started = ReplaySummary::of(&record).map_err(event_replay::app::AppError::from)?;
    let deserted = manager.groups_without_consumers(&started.id).await;
    let deserted = deserted.map_err(event_replay::app::AppError::from)?;
    json_with(StatusCode::ACCEPTED, &ReplayStartedDocument::of(&started, &deserted))
}

/// Handles `DELETE /v1/kept-plans/{id}`: deletes a kept plan.
pub(crate) async fn delete(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let deleted = plans::delete(&call.app.store, &call.actor(), &id).await?;
    json(&Deleted { deleted: &deleted })
}
