//! Requests that a client may send twice. The client names a request by a key, and the store keeps the first answer.

use serde::{Deserialize, Serialize};

/// Identifies one request of one client.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Client: the id of its token. Empty for a client without a token.
    pub principal: String,
    /// HTTP method and path.
    pub route: String,
    /// Key that the client gave the request.
    pub key: String,
}

/// The recorded answer to a request. It is sent again for a repeated request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordedAnswer {
    /// HTTP status.
    pub status: u16,
    /// Media type of the body.
    pub media: String,
    /// Body of the answer.
    pub body: String,
}

/// State of a request when it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestState {
    /// The request is new. The caller executes it under its claim.
    New,
    /// Another claim executes the request.
    Running,
    /// The request was executed, with this answer.
    Answered(RecordedAnswer),
    /// A request with other content has the same id.
    Different,
}
