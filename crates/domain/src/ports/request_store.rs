//! Requests that clients may send again.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    error::StorageFailure,
    request::{RecordedAnswer, RequestId, RequestState},
};

/// How a caller begins a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestClaim<'a> {
    /// Names this attempt. No two attempts share one.
    pub claim: &'a str,
    /// A digest of everything that the request says.
    pub digest: &'a str,
    /// How long the request is this attempt's. Afterwards another attempt may begin it.
    pub lease: Duration,
    /// How long the request is remembered, counted from when it began. At least as long as `lease`.
    pub keep: Duration,
}

/// Remembers requests and their answers for a while. All times are the store's clock.
///
/// Laws:
/// - Of attempts that begin one request at once, exactly one MUST be told [`RequestState::New`], and the others
///   [`RequestState::Running`], until its lease ends or it is finished.
/// - After `finish_request` with an answer every handle MUST be told that answer, until `keep` is over.
/// - A request of the same id with another digest MUST be told [`RequestState::Different`], while the first is remembered.
/// - `finish_request` without an answer MUST forget the request at once.
/// - `finish_request` under a claim that is not the newest of its request MUST change nothing.
/// - What is no longer remembered MUST be removed by later calls of `begin_request`, in bounded steps.
/// - All of it MUST also be done where the store is full, as far as the storage has room kept back.
/// - After [`StorageFailure::Unknown`] the change may have been made.
#[async_trait]
pub trait RequestStore: Send + Sync {
    /// Begins a request, if it is not known.
    async fn begin_request(
        &self,
        id: &RequestId,
        claim: RequestClaim<'_>,
    ) -> Result<RequestState, StorageFailure>;

    /// Keeps the answer of a request, or forgets the request; whether the claim was still the newest.
    async fn finish_request(
        &self,
        id: &RequestId,
        claim: &str,
        answer: Option<&RecordedAnswer>,
    ) -> Result<bool, StorageFailure>;

    /// How many requests are remembered.
    async fn remembered_requests(&self) -> Result<u64, StorageFailure>;
}
