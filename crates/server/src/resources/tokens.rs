//! Tokens of clients.

use domain::token::Role;
use event_replay::{
    app::tokens::{self, NewToken},
    text::{name, number},
};
use http::StatusCode;
use serde::Deserialize;

use super::filter::Texts;
use crate::{
    answer::{json, json_with, rows},
    call::{Answer, Call},
    query::bad,
    shape::{Member, Shape},
};

/// Handles `GET /v1/tokens`: lists tokens by name, without secrets.
pub(crate) async fn list(call: Call) -> Answer {
    let tokens = tokens::list(&call.app.store).await?;
    rows(&tokens, call.accepts("application/x-ndjson"))
}

/// The members of the body that creates a token.
pub(crate) const CREATE: &[Member] = &[
    Member::required("name", Shape::Name),
    Member::new("role", Shape::Several(&ROLE)),
    Member::new("group", Shape::Several(&Shape::Group)),
    Member::new("expiresIn", Shape::Duration),
];
const ROLE: Shape = Shape::Word(&["read", "content", "publish", "consume", "operate", "approve", "admin"]);

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CreateBody {
    name: String,
    role: Texts,
    group: Texts,
    expires_in: Option<String>,
}

/// Handles `POST /v1/tokens`: creates a token. Only this response contains the secret.
pub(crate) async fn create(mut call: Call) -> Answer {
    let body: CreateBody = call.json(CREATE).await?;
    let role = |text: &str| text.parse::<Role>().map_err(|error| error.to_string());
    let expiry = |text: &str| tokens::expiry(number::duration(text)?).map_err(|error| error.to_string());
    let expires_at = body.expires_in.as_deref().map(expiry).transpose();
    let new = NewToken {
        name: name::name(&body.name).map_err(|error| bad("name", &error))?,
        roles: body.role.read("role", role)?.into_iter().collect(),
        groups: body.group.read("group", name::group)?.into_iter().collect(),
        expires_at: expires_at.map_err(|error| bad("expiresIn", &error))?,
    };
    let made = tokens::create(&call.app.store, &call.actor(), new).await?;
    json_with(StatusCode::CREATED, &made)
}

/// Handles `DELETE /v1/tokens/{token}`: revokes a token by its name or id.
pub(crate) async fn revoke(call: Call) -> Answer {
    let token = call.read_path("token", name::name)?;
    let revoked = tokens::revoke(&call.app.store, &call.actor(), &token).await?;
    json(&revoked)
}
