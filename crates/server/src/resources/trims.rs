//! Trims, which remove the oldest events. A trim needs the hash of a dry run.

use event_replay::{
    app::{
        approval,
        retention::{self, TrimRequest},
    },
    text::{name, number},
};
use replay::RetentionReport;
use serde::{Deserialize, Serialize};

use super::{
    filter::{NAMES, Texts},
    redrives::confirmed,
};
use crate::{
    answer::json,
    body::Whole,
    call::{Answer, Call},
    query::bad,
    shape::{Member, Shape},
};

/// The members of the body of a trim.
pub(crate) const MEMBERS: &[Member] = &[
    Member::new("maxAge", Shape::Duration),
    Member::new("maxEvents", Shape::Whole(0, u64::MAX)),
    Member::new("maxBytes", Shape::Whole(0, u64::MAX)),
    Member::new("toCheckpoint", Shape::Text),
    Member::new("type", NAMES),
    Member::new("dryRun", Shape::Flag),
    Member::new("hash", Shape::Text),
];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Body {
    max_age: Option<String>,
    max_events: Option<Whole>,
    max_bytes: Option<Whole>,
    to_checkpoint: Option<String>,
    #[serde(rename = "type")]
    types: Texts,
    dry_run: bool,
    hash: Option<String>,
}

/// The events that a trim would remove, and the hash that confirms it.
#[derive(Serialize)]
struct Preview {
    #[serde(flatten)]
    report: RetentionReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

/// Handles `POST /v1/trims`: trims the log, or previews the trim.
pub(crate) async fn trim(mut call: Call) -> Answer {
    let body: Body = call.json(MEMBERS).await?;
    let max_age = body.max_age.as_deref().map(number::duration).transpose();
    let request = TrimRequest {
        max_age: max_age.map_err(|error| bad("maxAge", &error))?,
        max_events: body.max_events.map(|events| events.0),
        max_bytes: body.max_bytes.map(|bytes| bytes.0),
        to_checkpoint: body.to_checkpoint.clone(),
        types: body.types.read("type", name::name)?,
    };
    request.check()?;
    let (store, settings) = (&call.app.store, &call.app.settings);
    let rules = request.rules(store, settings).await?;
    let would = retention::apply(store, settings, &rules, true, None).await?;
    let confirmation = retention::confirmation(&would, settings);
    let hash = confirmation.map(|confirmation| approval::hash(&confirmation, &format!("{rules:?}")));
    if body.dry_run {
        return json(&Preview { report: would, hash });
    }
    if let Some(hash) = hash {
        confirmed(body.hash.as_deref(), &hash)?;
    }
    json(&retention::trim(store, &call.actor(), settings, &rules, None).await?)
}
