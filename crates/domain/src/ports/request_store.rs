//! The port of requests that clients may send again.

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    error::StorageFailure,
    request::{RecordedAnswer, RequestId, RequestState},
};

/// A caller's attempt to begin a request.
#[derive(Debug, Clone, Copy)]
pub struct RequestClaim<'a> {
    /// Name of this attempt. No two attempts share one.
    pub claim: &'a str,
    /// Digest of the whole content of the request.
    pub digest: &'a str,
    /// Time for which this attempt owns the request. Afterwards another attempt may begin it.
    pub lease: Duration,
    /// Time for which the store keeps the request, counted from its beginning. It is at least as long as `lease`.
    pub keep: Duration,
}

/// Keeps requests and their answers for a limited time. All times are the store's clock.
///
/// Laws:
/// - If several attempts begin one request concurrently, exactly one MUST get [`RequestState::New`]. The others get
///   [`RequestState::Running`], until the lease of the first ends or the request is finished.
/// - After `finish_request` with an answer, every handle MUST get that answer, until `keep` is over.
/// - A request of the same id with another digest MUST get [`RequestState::Different`], while the store keeps the
///   first request.
/// - `finish_request` without an answer MUST remove the request at once.
/// - `finish_request` under a claim that is not the newest of its request MUST change nothing.
/// - Later calls of `begin_request` MUST remove expired requests, in bounded steps.
/// - All of these calls MUST also succeed in a full store, as far as the storage has room in reserve.
/// - After [`StorageFailure::Unknown`], the change may have been made.
#[async_trait]
pub trait RequestStore: Send + Sync {
    /// Begins a request, if the store does not know it.
    async fn begin_request(
        &self,
        id: &RequestId,
        claim: RequestClaim<'_>,
    ) -> Result<RequestState, StorageFailure>;

    /// Keeps the answer of a request, or removes the request. Returns whether the claim was still the newest.
    async fn finish_request(
        &self,
        id: &RequestId,
        claim: &str,
        answer: Option<&RecordedAnswer>,
    ) -> Result<bool, StorageFailure>;

    /// Returns the number of kept requests.
    async fn remembered_requests(&self) -> Result<u64, StorageFailure>;
}
