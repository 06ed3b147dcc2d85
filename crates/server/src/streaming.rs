//! Server-sent events: an answer in parts, which are made one after the other.

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::StatusCode;

use crate::{answer::raw, call::Answer, problem::Problem};

/// Something that is sent in parts.
pub(crate) trait Parts: Send + 'static {
    /// Its name in the log.
    const NAME: &'static str;

    /// The next part; none at the end.
    fn next(&mut self) -> impl Future<Output = Result<Option<Bytes>, Problem>> + Send;
}

/// The answer with its parts. If one cannot be made, the connection is cut: a client must not take a beginning for the whole.
pub(crate) fn server_sent(parts: impl Parts) -> Answer {
    let chunks = stream::unfold(Some(parts), |parts| async move { part_of(parts?).await });
    Ok(raw(StatusCode::OK, "text/event-stream", Body::from_stream(chunks)))
}

/// The next part, and what comes after it.
async fn part_of<P: Parts>(mut parts: P) -> Option<(std::io::Result<Bytes>, Option<P>)> {
    match parts.next().await {
        Ok(part) => part.map(|part| (Ok(part), Some(parts))),
        Err(problem) => {
            tracing::warn!(?problem, "a stream of {} was cut", P::NAME);
            Some((Err(std::io::Error::other("the store failed")), None))
        }
    }
}
