//! Entity tags: a client reads a resource, and changes it only if it is still the same.
//!
//! A response with a resource has the `ETag` header. A client that sends the tag in `If-None-Match` gets 304 and no content while
//! the resource is the same. A client that sends the tag in `If-Match` with a change gets 412 if the resource is another one by
//! then. The server compares the tags before it begins the change, not within the change.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    call::{Answer, Call},
    problem::{Code, Problem},
    query::Query,
    repeats,
    routes::Route,
};

/// Number of bytes of the digest in a tag.
const DIGEST: usize = 12;

/// Calls a route, and applies the conditions of the request.
pub(crate) async fn call(route: &'static Route, call: Call, request_id: &str) -> Answer {
    if let Some(wanted) = condition(call.headers(), &header::IF_MATCH)? {
        check(route, reading(&call), &wanted).await?;
    }
    let Some(members) = route.tagged else { return repeats::call(route, call, request_id).await };
    let known = condition(call.headers(), &header::IF_NONE_MATCH)?;
    let answer = repeats::call(route, call, request_id).await?;
    if answer.status() != StatusCode::OK || !is_json(&answer) {
        return Ok(answer);
    }
    let (tag, mut answer) = tagged(answer, members).await?;
    if known.is_some_and(|known| known.matches(&tag)) {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
        answer.headers_mut().remove(header::CONTENT_TYPE);
        *answer.body_mut() = Body::empty();
    }
    Ok(answer)
}

/// The value of a condition.
struct Condition(String);

impl Condition {
    /// Whether the condition names a tag. `*` names every tag. Tags of this server are strong, and a weak one is compared as one.
    fn matches(&self, tag: &str) -> bool {
        self.0.split(',').map(str::trim).any(|one| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag)
    }
}

fn condition(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Condition>, Problem> {
    // An empty header says nothing.
    let Some(value) = headers.get(name).filter(|value| !value.is_empty()) else { return Ok(None) };
    let text = value.to_str().ok().filter(|text| *text == "*" || text.split(',').all(is_tag));
    let text = text.ok_or_else(|| {
        Problem::new(Code::BadRequest, format!("the header {name} is not * or a list of entity tags"))
            .hint("send the ETag of a response as it is, with its quotes")
    })?;
    Ok(Some(Condition(text.to_owned())))
}

/// Whether a text is an entity tag: visible characters in quotes, without a comma, and `W/` before them or not.
fn is_tag(text: &str) -> bool {
    let text = text.trim_start_matches(' ');
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    inner.is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_graphic() && !b"\",".contains(&byte)))
}

/// Refuses a change if the resource of the route has another tag. A route without such a resource refuses the condition: a
/// condition that is ignored is worse than an error.
async fn check(route: &'static Route, reading: Call, wanted: &Condition) -> Result<(), Problem> {
    let Some((resource, members)) = route.resource().and_then(|route| Some((route, route.tagged?))) else {
        return Err(Problem::new(
            Code::BadRequest,
            "this route takes no If-Match: it changes no single resource",
        ));
    };
    let (tag, _) = tagged((resource.run)(reading).await?, members).await?;
    match wanted.matches(&tag) {
        true => Ok(()),
        false => Err(Problem::new(Code::Stale, "If-Match names another state of the resource")
            .hint("read it again, and decide again")),
    }
}

/// Returns a call that reads the resource of another call.
fn reading(call: &Call) -> Call {
    Call {
        app: Arc::clone(&call.app),
        principal: call.principal.clone(),
        path: call.path.clone(),
        query: Query::default(),
        parts: http::Request::new(()).into_parts().0,
        body: Body::empty(),
    }
}

fn is_json(answer: &Response) -> bool {
    answer.headers().get(header::CONTENT_TYPE).is_some_and(|media| media == "application/json")
}

/// Adds the tag of a document to its response.
async fn tagged(answer: Response, members: &[&str]) -> Result<(String, Response), Problem> {
    let (mut parts, body) = answer.into_parts();
    let body =
        body.collect().await.map_err(|error| Problem::new(Code::Internal, error.to_string()))?.to_bytes();
    let tag = tag_of(&body, members);
    if let Ok(value) = HeaderValue::try_from(&tag) {
        parts.headers.insert(header::ETAG, value);
    }
    Ok((tag, Response::from_parts(parts, Body::from(body))))
}

/// Returns the tag of a document: a digest of these members, or of the whole document if there are none.
fn tag_of(document: &[u8], members: &[&str]) -> String {
    let digest = match (members, serde_json::from_slice::<Map<String, Value>>(document)) {
        ([_, ..], Ok(mut object)) => {
            object.retain(|name, _| members.contains(&name.as_str()));
            Sha256::digest(Value::Object(object).to_string())
        }
        _ => Sha256::digest(document),
    };
    format!("\"{}\"", domain::hex(&digest[..DIGEST]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_the_named_members_alone() {
        let tag = |text: &str, members: &[&str]| tag_of(text.as_bytes(), members);
        assert_eq!(tag(r#"{"name":"g","lag":1}"#, &["name"]), tag(r#"{"lag":2,"name":"g"}"#, &["name"]));
        assert_ne!(tag(r#"{"name":"g"}"#, &["name"]), tag(r#"{"name":"h"}"#, &["name"]));
        assert_ne!(tag(r#"{"name":"g","lag":1}"#, &[]), tag(r#"{"name":"g","lag":2}"#, &[]));
    }

    #[test]
    fn a_condition_is_a_list_of_tags_in_quotes() {
        let reads = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_MATCH, HeaderValue::try_from(text).unwrap());
            condition(&headers, &header::IF_MATCH).is_ok()
        };
        assert!(["*", "\"ab\"", "W/\"ab\"", "\"ab\", W/\"cd\",\"\""].into_iter().all(reads));
        assert!(!["ab", "{}", "\"ab", "\"a b\"", "\"ab\",", "*, \"ab\"", "w/\"ab\""].into_iter().any(reads));
    }

    #[test]
    fn a_condition_names_tags() {
        let matches = |text: &str| Condition(text.to_owned()).matches("\"ab\"");
        assert!(matches("\"ab\"") && matches("W/\"ab\"") && matches("\"cd\", \"ab\"") && matches("*"));
        assert!(!matches("\"abc\"") && !matches("ab") && !matches(""));
    }
}
