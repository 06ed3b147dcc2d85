//! Tests of the order of actions around a batch. Mocks of the two ports check it.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::{sync::Arc, time::Duration};

use domain::{
    Filter, Position, StorageFailure,
    group::LaneResult,
    ports::{
        DeliveryOutcome, ReplayCommand, ReplayDelivery, ReplayLease, ReplayRecord, ReplayState, ReplayStore,
        ReplayStoreError, ReplayTarget, ReplayUpdate, SystemClock, TargetError,
    },
};
use event_replay_replay::{ReplayManager, ReplayOptions};
use jiff::Timestamp;
use mockall::{Sequence, mock};
use support::{store, unpaced};

mock! {
    Counts {}
    #[async_trait::async_trait]
    impl ReplayStore for Counts {
        async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError>;
        async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError>;
        async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError>;
        async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError>;
        async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError>;
        async fn lease_replay(
            &self,
            id: &str,
            token: u64,
            duration: Duration,
        ) -> Result<Option<ReplayLease>, ReplayStoreError>;
        async fn update_replay(
            &self,
            lease: &ReplayLease,
            update: &ReplayUpdate,
        ) -> Result<ReplayState, ReplayStoreError>;
        async fn request(&self, id: &str, command: ReplayCommand) -> Result<Option<ReplayState>, ReplayStoreError>;
        async fn steer(&self, id: &str, steering: &str) -> Result<Option<ReplayState>, ReplayStoreError>;
        async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError>;
        async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError>;
    }
}

mock! {
    Target {}
    #[async_trait::async_trait]
    impl ReplayTarget for Target {
        async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError>;
    }
}

/// Runs a replay on a store that refuses records, so that the replay writes only replay counts.
async fn replay(mut counts: MockCounts, mut target: MockTarget) -> event_replay_replay::ReplayReport {
    let denied = |_: &ReplayRecord| Err(StorageFailure::Denied("read-only".to_owned()).into());
    counts.expect_create_replay().times(1).returning(denied);
    let store = store(4).await;
    let manager = ReplayManager::new(store.clone(), Arc::new(counts), store, None, Arc::new(SystemClock));
    let options = ReplayOptions { batch_size: 2, ..unpaced() };
    manager.replay_events(Filter::default(), &options, &mut target).await.unwrap()
}

fn handled(batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError> {
    Ok(vec![DeliveryOutcome::Handled; batch.len()])
}

/// If the count rose before the delivery, it would claim a replay that a crash then prevents.
#[tokio::test]
async fn an_event_counts_as_replayed_after_it_is_with_the_target_and_once() {
    let (mut counts, mut target, mut order) = (MockCounts::new(), MockTarget::new(), Sequence::new());
    for first in [1, 3] {
        let is_batch =
            move |batch: &[ReplayDelivery]| batch[0].stored.position.sequence == first && batch.len() == 2;
        target.expect_deliver().withf(is_batch).times(1).in_sequence(&mut order).returning(handled);
        let is_counted = move |positions: &[Position], _: &Timestamp| {
            positions.iter().map(|position| position.sequence).eq([first, first + 1])
        };
        counts
            .expect_record_replayed()
            .withf(is_counted)
            .times(1)
            .in_sequence(&mut order)
            .returning(|_, _| Ok(()));
    }
    assert_eq!(replay(counts, target).await.successful_replays, 4);
}

/// Events that the target did not take are not counted, and no later event is sent.
#[tokio::test]
async fn a_batch_that_fails_for_good_is_neither_counted_nor_passed() {
    let (mut counts, mut target) = (MockCounts::new(), MockTarget::new());
    target.expect_deliver().times(1).returning(|_| Err(TargetError::Failed("broken".to_owned())));
    counts.expect_record_replayed().never();
    let report = replay(counts, target).await;
    assert_eq!((report.successful_replays, report.failed_replays, report.remaining), (0, 2, 2));
}
