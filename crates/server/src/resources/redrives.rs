//! Redrive and discard of dead letters.

use std::sync::Arc;

use domain::{DeadLetterState, ports::DeadLetterQuery};
use event_replay::{
    app::{
        approval,
        dead_letters::{self, LetterSelection, PAGE},
        documents::{DiscardDocument, RedrivePreview},
        letter_edits,
    },
    text::{name, number},
};
use http::StatusCode;
use replay::{
    Cancel,
    redrive::{DiscardReport, Letters},
};
use serde::{Deserialize, Serialize};

use super::{
    filter::{FilterBody, NAMES, Texts, filter_members},
    plans::{ALL, LIMIT},
};
use crate::{
    answer::{json, json_with},
    body::Whole,
    call::{Answer, Call},
    problem::Problem,
    query::{bad, contradiction},
    shape::{Member, Shape},
};

/// The members of the body of a redrive.
pub(crate) const REDRIVE: &[Member] = filter_members![ID, GROUP, FINGERPRINT, ALL, LIMIT, DRY_RUN];
/// The members of the body of a discard.
pub(crate) const DISCARD: &[Member] = filter_members![
    ID,
    GROUP,
    FINGERPRINT,
    ALL,
    LIMIT,
    DRY_RUN,
    Member::required("reason", Shape::Like(r"\S")),
    Member::new("hash", Shape::Text),
];
const ID: Member = Member::new("id", NAMES);
const GROUP: Member = Member::new("group", Shape::Group);
const FINGERPRINT: Member = Member::new("fingerprint", NAMES);
const DRY_RUN: Member = Member::new("dryRun", Shape::Flag);

/// The members of the body of a restoration.
pub(crate) const RESTORE: &[Member] = filter_members![ID, GROUP, FINGERPRINT, ALL, LIMIT];

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LettersBody {
    #[serde(flatten)]
    filter: FilterBody,
    id: Texts,
    group: Option<String>,
    fingerprint: Texts,
    all: bool,
    limit: Option<Whole>,
    dry_run: bool,
    reason: Option<String>,
    hash: Option<String>,
}

impl LettersBody {
    fn letters(&self, verb: &'static str) -> Result<Letters, Problem> {
        self.letters_in(verb, DeadLetterState::Open)
    }

    fn letters_in(&self, verb: &'static str, state: DeadLetterState) -> Result<Letters, Problem> {
        let group = self.group.as_deref().map(name::group).transpose();
        let limit = self.limit.map(|limit| number::limit(&limit.0.to_string())).transpose();
        let query = DeadLetterQuery {
            group: group.map_err(|error| bad("group", &error))?,
            fingerprints: self.fingerprint.read("fingerprint", name::name)?.into_iter().collect(),
            states: vec![state],
            filter: Arc::new(self.filter.filter()?),
            after: None,
            limit: PAGE,
        };
        let selection = LetterSelection {
            ids: self.id.read("id", name::name)?,
            all: self.all,
            limit: limit.map_err(|error| bad("limit", &error))?,
            query,
        };
        Ok(selection.resolve(verb)?)
    }

    /// Returns the canonical text of the request, for the hash.
    fn text(&self, letters: &Letters) -> String {
        let which = match letters {
            Letters::Ids(ids) => format!("{ids:?}"),
            Letters::Matching(query) => {
                let filter = serde_json::to_string(&*query.filter).unwrap_or_default();
                format!("{:?} {:?} {} {filter}", query.group, query.fingerprints, query.limit)
            }
        };
        format!("discard {which} {:?}", self.reason)
    }
}

/// Handles `POST /v1/redrives`: sends dead letters to their groups again. An open dead letter is sent once. A second
/// request does not send it again.
pub(crate) async fn redrive(mut call: Call) -> Answer {
    let body: LettersBody = call.json(REDRIVE).await?;
    let letters = body.letters("redrive")?;
    let store = &call.app.store;
    let letters = dead_letters::check_chosen(store, letters).await?;
    if body.dry_run {
        let requested = dead_letters::count_open(store, &letters).await?;
        return json(&RedrivePreview { dry_run: true, requested });
    }
    let report = dead_letters::redrive(store, &call.actor(), letters, false, &(), &Cancel::default()).await?;
    json_with(StatusCode::ACCEPTED, &report)
}

/// The number of dead letters that a discard would close, and the hash that confirms it.
#[derive(Serialize)]
struct Preview {
    #[serde(flatten)]
    document: DiscardDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
}

/// Handles `POST /v1/discards`: closes dead letters without handling them. Without explicit ids, the request needs the
/// hash of a dry run.
pub(crate) async fn discard(mut call: Call) -> Answer {
    let body: LettersBody = call.json(DISCARD).await?;
    let Some(reason) = body.reason.as_deref().filter(|reason| !reason.trim().is_empty()) else {
        return Err(bad("reason", "it is missing; it is kept with each dead letter"));
    };
    let letters = body.letters("discard")?;
    let store = &call.app.store;
    let letters = dead_letters::check_chosen(store, letters).await?;
    let confirmation = dead_letters::confirmation(store, &letters).await?;
    let hash = confirmation.map(|confirmation| approval::hash(&confirmation, &body.text(&letters)));
    if body.dry_run {
        let requested = dead_letters::count_open(store, &letters).await?;
        let report = DiscardReport { requested, ..DiscardReport::default() };
        return json(&Preview { document: DiscardDocument { dry_run: true, report }, hash });
    }
    if let Some(hash) = hash {
        confirmed(body.hash.as_deref(), &hash)?;
    }
    let report = dead_letters::discard(store, &call.actor(), letters, reason).await?;
    json(&DiscardDocument { dry_run: false, report })
}

/// Handles `POST /v1/restores`: opens discarded dead letters again.
pub(crate) async fn restore(mut call: Call) -> Answer {
    let body: LettersBody = call.json(RESTORE).await?;
    let letters = body.letters_in("restore", DeadLetterState::Discarded)?;
    let letters = dead_letters::check_chosen(&call.app.store, letters).await?;
    json(&letter_edits::restore(&call.app.store, &call.actor(), letters).await?)
}

/// Refuses a request that needs a confirmation and has no hash or the wrong hash.
pub(crate) fn confirmed(given: Option<&str>, found: &str) -> Result<(), Problem> {
    match given {
        Some(given) => Ok(approval::check(given, found)?),
        None => Err(contradiction("hash", "it is missing; it confirms what a dry run counted")
            .hint("send the same request with \"dryRun\": true, and then with the hash of its answer")),
    }
}
