//! Plans of replays, and replays that a client starts with the hash of their plan.

use domain::ports::ReplayCommand;
use event_replay::{
    app::{
        bounds::BoundsRequest,
        documents::{Deleted, ReplayRequestedDocument, ReplayStartedDocument},
        missed::{MissedCause, MissedRequest},
        replay::{self, PaceRequest, Receiver, ReplaySelection, StopRequest},
        replay_request::{self, PlannedSelection, ReplayRequest},
        replays,
    },
    text::{name, number},
};
use http::StatusCode;
use serde::Deserialize;

use super::{
    events::cursor,
    filter::{AFTER_EVENT_MEMBER, FilterBody, Texts, UNTIL_EVENT_MEMBER},
};
use crate::{
    answer::{json, json_with},
    body::Whole,
    call::{Answer, Call},
    problem::{Code, Problem},
    query::{bad, contradiction},
    shape::{Member, Shape},
};

pub(super) const ALL: Member = Member::new("all", Shape::Flag);
pub(super) const LIMIT: Member = Member::new("limit", NUMBER_OF_EVENTS);
pub(super) const CHECKPOINT: Member = Member::new("checkpoint", Shape::Text);
pub(super) const ALLOW_GAP: Member = Member::new("allowGap", Shape::Flag);
pub(super) const MISSED: Member = Member::new("missed", Shape::Group);
pub(super) const CAUSE: Member = Member::new("cause", Shape::Like("^(start|reset|types)$"));
pub(super) const CHECK_SCHEMAS: Member = Member::new("checkSchemas", Shape::Flag);
pub(super) const GROUP: Member = Member::new("group", Shape::Several(&Shape::Group));
pub(super) const RATE: Member = Member::new("rate", Shape::Rate);
pub(super) const DELAY: Member =
    Member::new("delay", Shape::Either(&Shape::Whole(0, 86_400_000), &Shape::Pause));
pub(super) const BATCH_SIZE: Member = Member::new("batchSize", Shape::Whole(1, 10_000));
/// The shape of a number of events, from 1.
pub(super) const NUMBER_OF_EVENTS: Shape = Shape::Whole(1, i64::MAX as u64);
/// The shape of a number of failed events in a text, or of a share of events in percent.
const SHARE: Shape =
    Shape::Like(r"^([1-9][0-9]{0,17}|([1-9][0-9]?(\.[0-9]{1,6})?|0\.[0-9]{0,5}[1-9]|100)%)$");

/// Returns the members that describe the events of a plan, and further members.
macro_rules! plan_members {
    ($($more:expr),* $(,)?) => {
        $crate::resources::filter::filter_members![
            $crate::resources::filter::AFTER_EVENT_MEMBER,
            $crate::resources::filter::UNTIL_EVENT_MEMBER,
            $crate::resources::plans::ALL,
            $crate::resources::plans::LIMIT,
            $crate::resources::plans::CHECKPOINT,
            $crate::resources::plans::ALLOW_GAP,
            $crate::resources::plans::MISSED,
            $crate::resources::plans::CAUSE,
            $($more,)*
        ]
    };
}
pub(super) use plan_members;

/// The members of the body of a plan.
pub(crate) const PLAN: &[Member] = plan_members![Member::new("mark", Shape::Cursor), CHECK_SCHEMAS,];
/// The members of the body that starts a replay.
pub(crate) const START: &[Member] = plan_members![
    Member::required("mark", Shape::Cursor),
    Member::required("hash", Shape::Text),
    GROUP,
    RATE,
    DELAY,
    BATCH_SIZE,
    Member::new("ramp", Shape::List(&NUMBER_OF_EVENTS)),
    Member::new("stopAfterFailures", Shape::Either(&Shape::Whole(1, u64::MAX), &SHARE)),
];
/// The members of a pace.
pub(crate) const PACE: &[Member] = &[RATE, DELAY];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PlanBody {
    #[serde(flatten)]
    filter: FilterBody,
    after_event: Option<String>,
    until_event: Option<String>,
    pub(super) all: bool,
    limit: Option<Whole>,
    checkpoint: Option<String>,
    allow_gap: bool,
    missed: Option<String>,
    cause: Option<String>,
    mark: Option<String>,
    pub(super) check_schemas: Option<bool>,
}

impl PlanBody {
    fn bounds(&self) -> Result<BoundsRequest, Problem> {
        let event = |member: Member, text: &Option<String>| {
            text.as_deref().map(name::name).transpose().map_err(|error| bad(member.name, &error))
        };
        Ok(BoundsRequest {
            after: event(AFTER_EVENT_MEMBER, &self.after_event)?,
            until: event(UNTIL_EVENT_MEMBER, &self.until_event)?,
        })
    }

    fn cause(&self) -> Result<Option<MissedCause>, Problem> {
        let known = |name: &String| {
            MissedCause::of_name(name).ok_or_else(|| bad("cause", "a cause is start, reset or types"))
        };
        self.cause.as_ref().map(known).transpose()
    }

    /// Returns the groups of a replay of this plan: the named ones, or the group that missed the events.
    pub(super) fn groups(&self, named: &Texts) -> Result<Vec<String>, Problem> {
        let named = named.read("group", name::group)?;
        match &self.missed {
            None => Ok(named),
            Some(group) if named.iter().all(|named| named == group) => Ok(vec![group.clone()]),
            Some(_) => Err(contradiction("group", "it is another group than missed; leave it out")),
        }
    }

    pub(super) fn planned(&self) -> Result<PlannedSelection, Problem> {
        let filter = self.filter.filter()?;
        let bounds = self.bounds()?;
        let selection = match (&self.missed, &self.checkpoint) {
            (Some(_), Some(_)) => {
                return Err(contradiction("missed", "it is given beside checkpoint; leave one of them out"));
            }
            (Some(group), None) => ReplaySelection::Missed(MissedRequest {
                group: name::group(group).map_err(|error| bad("missed", &error))?,
                cause: self.cause()?,
                filter,
                bounds,
            }),
            (None, None) => ReplaySelection::Slice { filter, bounds, all: self.all },
            (None, Some(checkpoint)) => ReplaySelection::Recovery {
                checkpoint: checkpoint.clone(),
                filter,
                bounds,
                allow_gap: self.allow_gap,
            },
        };
        let limit = self.limit.map(|limit| number::limit(&limit.0.to_string()));
        let mark = self.mark.as_deref().map(cursor);
        Ok(PlannedSelection {
            selection,
            limit: limit.transpose().map_err(|error| bad("limit", &error))?,
            mark: mark.transpose().map_err(|error| bad("mark", &error))?,
        })
    }
}

/// Handles `POST /v1/plans`: returns the plan of a replay with its mark and hash. Nothing is stored.
pub(crate) async fn plan(mut call: Call) -> Answer {
    let body: PlanBody = call.json(PLAN).await?;
    let planned = body.planned()?;
    let store = &call.app.store;
    let checks = body.check_schemas.unwrap_or(true);
    let manager = match checks {
        true => replay::manager_with_schemas(store, &call.app.settings).await?,
        false => replay::manager_with_upcasters(store, &call.app.settings)?,
    };
    let planned = planned.plan(store, &manager, checks, None).await?;
    json(&planned.document())
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct StartBody {
    #[serde(flatten)]
    pub(super) plan: PlanBody,
    hash: Option<String>,
    pub(super) group: Texts,
    rate: Option<f64>,
    delay: Option<Delay>,
    batch_size: Option<Whole>,
    ramp: Vec<Whole>,
    stop_after_failures: Option<Limit>,
}

/// A number of failed events, or a share of them such as `2%`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Limit {
    Events(Whole),
    Text(String),
}

/// A delay: milliseconds, or a number with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Delay {
    Milliseconds(Whole),
    Text(String),
}

impl StartBody {
    pub(super) fn pace(&self) -> Result<PaceRequest, Problem> {
        if self.rate.is_some() && self.delay.is_some() {
            return Err(contradiction("rate", "it is given beside delay; leave one of them out"));
        }
        let rate = self.rate.map(|rate| number::rate(&rate.to_string())).transpose();
        let delay = self.delay.as_ref().map(|delay| match delay {
            Delay::Milliseconds(milliseconds) => number::delay(&milliseconds.0.to_string()),
            Delay::Text(text) => number::delay(text),
        });
        let batch_size = self.batch_size.map(|size| number::batch_size(&size.0.to_string()));
        Ok(PaceRequest {
            delay: delay.transpose().map_err(|error| bad("delay", &error))?,
            rate: rate.map_err(|error| bad("rate", &error))?,
            batch_size: batch_size.transpose().map_err(|error| bad("batchSize", &error))?,
        })
    }
}

impl StartBody {
    fn stops(&self) -> Result<StopRequest, Problem> {
        for events in &self.ramp {
            number::limit(&events.0.to_string()).map_err(|error| bad("ramp", &error))?;
        }
        let failure_limit = self.stop_after_failures.as_ref().map(|limit| match limit {
            Limit::Events(events) => number::failure_limit(&events.0.to_string()),
            Limit::Text(text) => number::failure_limit(text),
        });
        Ok(StopRequest {
            ramp: self.ramp.iter().map(|events| events.0).collect(),
            failure_limit: failure_limit.transpose().map_err(|error| bad("stopAfterFailures", &error))?,
        })
    }
}

/// Handles `POST /v1/replays`: replays exactly the set of a plan into consumer groups.
pub(crate) async fn start(mut call: Call) -> Answer {
    let body: StartBody = call.json(START).await?;
    let (Some(hash), Some(_)) = (&body.hash, &body.plan.mark) else {
        return Err(Problem::new(Code::BadParameter, "hash, mark: both name the plan that is to be run")
            .hint("POST /v1/plans with the same filter; send its planHash as hash, and its mark"));
    };
    let request = ReplayRequest {
        planned: body.plan.planned()?,
        hash: hash.clone(),
        groups: body.plan.groups(&body.group)?,
        pace: body.pace()?,
        stops: body.stops()?,
    };
    let started = replay_request::start(&call.app.store, &call.actor(), &call.app.settings, request).await?;
    json_with(
        StatusCode::ACCEPTED,
        &ReplayStartedDocument::of(&started.replay, &started.groups_without_consumers),
    )
}

async fn request(call: Call, command: ReplayCommand) -> Answer {
    let id = call.read_path("id", name::name)?;
    let requested = replays::request(&call.app.store, &call.actor(), &id, command).await?;
    json(&ReplayRequestedDocument::of(&requested))
}

/// Handles `POST /v1/replays/{id}/pause`: requests a pause.
pub(crate) async fn pause(call: Call) -> Answer {
    request(call, ReplayCommand::Pause).await
}

/// Handles `POST /v1/replays/{id}/resume`: requests a resume.
pub(crate) async fn resume(call: Call) -> Answer {
    request(call, ReplayCommand::Resume).await
}

/// Handles `POST /v1/replays/{id}/cancel`: requests a cancel.
pub(crate) async fn cancel(call: Call) -> Answer {
    request(call, ReplayCommand::Cancel).await
}

/// `POST /v1/replays/{id}/pace`.
pub(crate) async fn pace(mut call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let body: StartBody = call.json(PACE).await?;
    let pace = body.pace()?;
    if pace.rate.is_none() && pace.delay.is_none() {
        return Err(contradiction("rate", "neither rate nor delay is given; give one of them"));
    }
    let (pace, _) = pace.resolve(Receiver::Service);
    json(&replays::set_pace(&call.app.store, &call.actor(), &id, pace).await?)
}

/// Handles `DELETE /v1/replays/{id}`: deletes the record of a finished replay.
pub(crate) async fn delete(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let deleted = replays::delete(&call.app.store, &call.actor(), &id).await?;
    json(&Deleted { deleted: &deleted })
}
