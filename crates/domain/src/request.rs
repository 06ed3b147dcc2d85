//! Requests that a client may send twice: under a key of the client's, and with the answer to the first.

use serde::{Deserialize, Serialize};

/// Names one request of one client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// The client: the id of its token; empty for a client without one.
    pub principal: String,
    /// The method and the path.
    pub route: String,
    /// The key that the client gave the request.
    pub key: String,
}

/// The answer to a request, as it is given again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedAnswer {
    /// The HTTP status.
    pub status: u16,
    /// The media type of the body.
    pub media: String,
    /// The body.
    pub body: String,
}

/// What is known of a request when it comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestState {
    /// Nothing: it is the caller's to do now, under the caller's claim.
    New,
    /// It is being done under another claim.
    Running,
    /// It was done, with this answer.
    Answered(RecordedAnswer),
    /// Another request has its key.
    Different,
}
