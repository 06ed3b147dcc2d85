//! Server-sent events: a response in parts, which are produced one after the other.

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::StatusCode;

use crate::{answer::raw, call::Answer, problem::Problem};

/// A response that is sent in parts.
pub(crate) trait Parts: Send + 'static {
    /// The name in the log output.
    const NAME: &'static str;

    /// Returns the next part, or `None` at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Problem>> + Send;
}

/// Returns the response. If a part fails, the connection is cut. The client then knows that the response is incomplete.
pub(crate) fn server_sent(parts: impl Parts) -> Answer {
    let chunks = stream::unfold(Some(parts), |parts| async move { part_of(parts?).await });
    Ok(raw(StatusCode::OK, "text/event-stream", Body::from_stream(chunks)))
}

/// Returns the next part, and the state for the parts after it.
async fn part_of<P: Parts>(mut parts: P) -> Option<(std::io::Result<Bytes>, Option<P>)> {
    match parts.next().await {
        Ok(part) => part.map(|part| (Ok(part), Some(parts))),
        Err(problem) => {
            tracing::warn!(?problem, "a stream of {} was cut", P::NAME);
            Some((Err(std::io::Error::other("the store failed")), None))
        }
    }
}
