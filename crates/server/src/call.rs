//! The input and the output of a handler.

use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

use axum::{body::Body, response::Response};
use event_replay::app::audit::Actor;
use http::{HeaderMap, request::Parts};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::{
    access::Principal,
    app::App,
    body,
    problem::{Code, Problem},
    query::{Query, bad, unknown},
    shape::Member,
};

/// The result of a handler.
pub(crate) type Answer = Result<Response, Problem>;

/// The type of a handler in the table of routes.
pub(crate) type Handler = fn(Call) -> Pin<Box<dyn Future<Output = Answer> + Send>>;

/// A request, as its handler sees it.
pub(crate) struct Call {
    pub(crate) app: Arc<App>,
    /// The sender of the request.
    pub(crate) principal: Principal,
    /// The parameters of the path, percent-decoded.
    pub(crate) path: Vec<(String, String)>,
    pub(crate) query: Query,
    pub(crate) parts: Parts,
    pub(crate) body: Body,
}

impl Call {
    /// The actor for the audit.
    pub(crate) fn actor(&self) -> Actor {
        self.principal.actor()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Returns a parameter of the path. The table of routes names each parameter, so that it always exists.
    pub(crate) fn path(&self, name: &str) -> &str {
        self.path.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }

    /// Parses a parameter of the path.
    pub(crate) fn read_path<T>(
        &self,
        name: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Problem> {
        read(self.path(name)).map_err(|error| bad(name, &error))
    }

    /// Returns the decompressed body.
    pub(crate) async fn bytes(&mut self) -> Result<axum::body::Bytes, Problem> {
        body::read(std::mem::take(&mut self.body), &self.parts.headers).await
    }

    /// Parses the body as a JSON object. A member that is not in `members` is refused. A member that is null counts as
    /// left out.
    pub(crate) async fn json<T: DeserializeOwned>(&mut self, members: &[Member]) -> Result<T, Problem> {
        body::check_json(&self.parts.headers)?;
        let bytes = self.bytes().await?;
        let text: &[u8] = if bytes.trim_ascii().is_empty() { b"{}" } else { &bytes };
        let mut object: BTreeMap<String, &RawValue> = serde_json::from_slice(text).map_err(|error| {
            Problem::new(Code::BadRequest, format!("the body is not a JSON object: {error}"))
        })?;
        if let Some(member) = object.keys().find(|name| !members.iter().any(|member| member.name == *name)) {
            return Err(unknown(member, members.iter().map(|member| member.name)));
        }
        let named = object.len();
        object.retain(|_, value| value.get() != "null");
        let parsed = match object.len() == named {
            true => serde_json::from_slice(text),
            false => serde_json::to_vec(&object).and_then(|rest| serde_json::from_slice(&rest)),
        };
        parsed.map_err(|error| Problem::new(Code::BadParameter, format!("the body: {error}")))
    }

    /// Parses the body as a JSON array.
    pub(crate) async fn json_list<T: DeserializeOwned>(&mut self) -> Result<Vec<T>, Problem> {
        body::check_json(&self.parts.headers)?;
        let bytes = self.bytes().await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            let code = if error.is_data() { Code::BadParameter } else { Code::BadRequest };
            Problem::new(code, format!("the body is not the JSON array that this route takes: {error}"))
        })
    }

    /// Whether the `Accept` header of the request lists this media type.
    pub(crate) fn accepts(&self, media: &str) -> bool {
        let accepted = self.headers().get_all(http::header::ACCEPT).iter();
        accepted.filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|range| {
            range.split(';').next().is_some_and(|range| range.trim().eq_ignore_ascii_case(media))
        })
    }
}
