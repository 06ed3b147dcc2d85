//! The audit of operator actions.

use event_replay::{
    app::audit::{self, AuditQuery},
    text::{name, time},
};

use super::filter::{self, DEFAULT_LIMIT, LIMIT};
use crate::{
    answer::rows,
    call::{Answer, Call},
    query::Parameter,
    shape::Shape,
};

/// The query parameters of the list.
pub(crate) const PARAMETERS: &[Parameter] = &[
    Parameter::repeated("operator", Shape::Text, "Actions of this operator."),
    Parameter::repeated("action", Shape::Text, "These actions, such as groups reset, or all of groups."),
    Parameter::new("subject", Shape::Name, "Actions on this: a group, a replay, a checkpoint."),
    Parameter::new("from", Shape::Time, "Actions that began at or after this time."),
    Parameter::new("to", Shape::Time, "Actions that began at or before this time."),
    LIMIT,
];

/// Handles `GET /v1/audit`: lists actions, newest first.
pub(crate) async fn list(call: Call) -> Answer {
    let query = AuditQuery {
        operators: call.query.all("operator", |text| Ok(text.to_owned()))?,
        actions: call.query.all("action", |text| Ok(text.to_owned()))?,
        subject: call.query.read("subject", name::name)?,
        from: call.query.read("from", time::point)?,
        to: call.query.read("to", time::point)?,
        limit: Some(call.query.read("limit", filter::limit)?.unwrap_or(DEFAULT_LIMIT)),
    };
    let actions = audit::list(&call.app.store, &query).await?;
    rows(&actions, call.accepts("application/x-ndjson"))
}
