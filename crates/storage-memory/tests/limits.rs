//! Tests of the limits of one call.

use conformance::Draft;
use domain::ports::{Atomicity, EventStore, EventStoreError};
use event_replay_storage_memory::MemoryEngine;
use store::Store;

#[tokio::test]
async fn a_batch_beyond_the_limit_is_refused_whole() {
    let store = Store::new(MemoryEngine::default());
    let event = Draft::new("e").event();
    let batch = vec![event; event_replay_storage_memory::MAX_BATCH_EVENTS + 1];
    let refusal = store.append(&batch, Atomicity::Each).await;
    assert!(matches!(refusal, Err(EventStoreError::BatchTooLarge { .. })), "{refusal:?}");
    let big = Draft::new("big").with("data", "x".repeat(1_000_000)).event();
    let batch = vec![big; event_replay_storage_memory::MAX_BATCH_BYTES / 1_000_000 + 1];
    let refusal = store.append(&batch, Atomicity::Each).await;
    assert!(matches!(refusal, Err(EventStoreError::BatchTooLarge { .. })), "{refusal:?}");
    assert_eq!(store.info().await.unwrap().events, 0);
    let whole = vec![Draft::new("e").event(); event_replay_storage_memory::MAX_BATCH_EVENTS];
    assert_eq!(store.append(&whole, Atomicity::Each).await.unwrap().len(), whole.len());
}
