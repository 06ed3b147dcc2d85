//! Idempotency keys: the server stores the response to a request, and returns it again for a repeat.
//!
//! A client sends a key of its choice in the `Idempotency-Key` header. A repeat with the same key and the same content
//! gets the recorded response, from every server of the store. A key belongs to one client and one route.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use domain::{
    ports::RequestClaim,
    request::{RecordedAnswer, RequestId, RequestState},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{
    app::App,
    call::{Answer, Call},
    problem::{Code, Problem, Repeat},
    routes::Route,
};

/// The header with the key of the client.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The header that marks a recorded response.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Maximum length of a key, in bytes.
const LONGEST_KEY: usize = 128;
/// Lease of the server that runs a request. It is longer than the time limit of a request.
const LEASE: Duration = Duration::from_secs(60);
/// Time for which a response is kept.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
/// Maximum size of a kept response, in bytes. A larger response is not kept.
const LONGEST_ANSWER: usize = 256 * 1024;

/// Calls a route, or returns the recorded response for the key of the request.
pub(crate) async fn call(route: &'static Route, mut call: Call, request_id: &str) -> Answer {
    let Some(key) = key_of(route, &call)? else { return (route.run)(call).await };
    let id = RequestId {
        principal: call.principal.key().to_owned(),
        route: format!("{} {}", route.verb.as_str(), call.parts.uri.path()),
        key,
    };
    let digest = digest(&mut call).await?;
    let attempt = Attempt { app: Arc::clone(&call.app), id, claim: Uuid::now_v7().to_string() };
    let claim = RequestClaim { claim: &attempt.claim, digest: &digest, lease: LEASE, keep: KEEP };
    match attempt.app.store.begin_request(&attempt.id, claim).await? {
        RequestState::New => {
            let answer = (route.run)(call).await;
            attempt.finish(answer, request_id).await
        }
        RequestState::Running => {
            Err(Problem::new(Code::StillRunning, "the first request under this key is still running")
                .repeat(Repeat::Later))
        }
        RequestState::Answered(answer) => Ok(again(answer)),
        RequestState::Different => {
            Err(Problem::new(Code::KeyReused, "another request was sent under this key")
                .hint("give each request a key of its own, and send a repeat as the first was sent"))
        }
    }
}

/// Returns the key of a request. Returns `None` if the request has no key, or if its route keeps no responses.
fn key_of(route: &Route, call: &Call) -> Result<Option<String>, Problem> {
    let mut given = call.headers().get_all(IDEMPOTENCY_KEY).iter();
    let Some(first) = given.next().filter(|_| route.keeps_answers()) else { return Ok(None) };
    let text = first.to_str().unwrap_or_default();
    let is_plain =
        (1..=LONGEST_KEY).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    match is_plain && given.next().is_none() {
        true => Ok(Some(text.to_owned())),
        false => Err(Problem::new(
            Code::BadRequest,
            format!(
                "the header Idempotency-Key has one key of 1 to {LONGEST_KEY} visible characters of ASCII"
            ),
        )),
    }
}

/// Returns a digest of the query, the media type and the body. The body is read for the digest, and put back
/// decompressed.
async fn digest(call: &mut Call) -> Result<String, Problem> {
    let body = call.bytes().await?;
    let mut digest = Sha256::new();
    let media = call.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    for part in [call.parts.uri.query().unwrap_or_default().as_bytes(), media, &body] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    call.parts.headers.remove(header::CONTENT_ENCODING);
    call.body = Body::from(body);
    Ok(domain::hex(&digest.finalize()))
}

/// A request that this server runs.
struct Attempt {
    app: Arc<App>,
    id: RequestId,
    claim: String,
}

impl Attempt {
    /// Keeps a response, unless a repeat of the request could give another response.
    async fn finish(&self, answer: Answer, request_id: &str) -> Answer {
        let is_final = match &answer {
            Ok(response) => response.status().is_success(),
            Err(problem) => problem.status().is_client_error() && problem.repeats() == Repeat::Never,
        };
        if !is_final {
            self.keep(None).await;
            return answer;
        }
        let response =
            answer.unwrap_or_else(|problem| problem.answer(&self.app.options.base_path, request_id));
        let (parts, body) = response.into_parts();
        let bytes =
            body.collect().await.map(http_body_util::Collected::to_bytes).map_err(|error| {
                Problem::new(Code::Internal, format!("the answer cannot be read: {error}"))
            })?;
        let media = parts.headers.get(header::CONTENT_TYPE).and_then(|media| media.to_str().ok());
        let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= LONGEST_ANSWER);
        let recorded = text.map(|text| RecordedAnswer {
            status: parts.status.as_u16(),
            media: media.unwrap_or_default().to_owned(),
            body: text.to_owned(),
        });
        self.keep(recorded.as_ref()).await;
        Ok(Response::from_parts(parts, Body::from(bytes)))
    }

    /// Keeps a response, or releases the key without one. A failure does not undo the request. Repeats then get
    /// `still-running` until the lease ends.
    async fn keep(&self, answer: Option<&RecordedAnswer>) {
        if let Err(error) = self.app.store.finish_request(&self.id, &self.claim, answer).await {
            tracing::warn!(%error, route = %self.id.route, "the answer to a request was not kept");
        }
    }
}

/// Returns a response from its record.
fn again(answer: RecordedAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let headers = response.headers_mut();
    if let Ok(media) = HeaderValue::try_from(answer.media) {
        headers.insert(header::CONTENT_TYPE, media);
    }
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
    response
}
