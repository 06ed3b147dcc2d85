//! Namespaces of several partitions on a real server: the slots of their keys, and how they are found, made, finished
//! and removed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;

use std::{collections::BTreeSet, sync::Arc};

use conformance::{Draft, ManualClock};
use domain::{
    Event, Filter, StorageFailure,
    ports::{AppendOutcome, Atomicity, EventStore, EventStoreError, ReadRequest, RetentionMode},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use harness::{Namespace, RedisHarness, slot};
use store::Store;

async fn namespace(partitions: u16) -> Namespace {
    RedisHarness::of(partitions).await.namespace(ManualClock::default(), RetentionMode::History)
}

async fn fill(store: &Store, count: usize) {
    for batch in Draft::many("e", count).chunks(100) {
        store.append(batch, Atomicity::Each).await.unwrap();
    }
}

async fn count(store: &Store) -> u64 {
    store.count(&Arc::new(Filter::default()), None).await.unwrap()
}

/// Returns every key of the namespace.
async fn keys(namespace: &Namespace) -> Vec<String> {
    namespace.say(&["KEYS", &format!("{{{}:*", namespace.name)]).await
}

/// Returns the tag of a key.
fn tag(key: &str) -> &str {
    key.split_once('{').unwrap().1.split_once('}').unwrap().0
}

fn options(namespace: &Namespace, partitions: Option<u16>) -> RedisOptions {
    RedisOptions { partitions, ..namespace.options() }
}

/// All keys of partition `i` of `P` are in one slot, in the i-th of P equal parts of the slots. The only other key is
/// the signpost.
#[tokio::test]
async fn every_partition_lies_in_its_own_part_of_the_slots() {
    for partitions in [2, 4, 16] {
        let namespace = namespace(partitions).await;
        let engine = RedisEngine::create(namespace.options()).await.unwrap();
        let store = Store::new(engine.clone());
        fill(&store, 40 * usize::from(partitions)).await;
        let tags: BTreeSet<String> = keys(&namespace).await.iter().map(|key| tag(key).to_owned()).collect();
        let root = format!("{}:0", namespace.name);
        let mut parts: Vec<u32> = tags
            .iter()
            .filter(|tag| **tag != root)
            .map(|tag| {
                let partition: u32 = tag.split(':').nth(1).unwrap().parse().unwrap();
                assert_eq!(slot(tag) / (16_384 / u32::from(partitions)), partition, "{tag}");
                partition
            })
            .collect();
        parts.sort_unstable();
        assert_eq!(parts, Vec::from_iter(0..u32::from(partitions)));
        let at_the_root: Vec<String> =
            keys(&namespace).await.into_iter().filter(|key| tag(key) == root).collect();
        assert_eq!(at_the_root, [format!("{{{root}}}:meta")]);
        engine.remove_namespace().await.unwrap();
        assert_eq!(keys(&namespace).await, [""; 0]);
    }
}

/// A caller that opens a namespace need not know the number of partitions, and does not change it.
#[tokio::test]
async fn a_namespace_is_found_with_any_number_of_partitions() {
    for partitions in [1, 2, 64] {
        let namespace = namespace(partitions).await;
        let made = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
        fill(&made, 50).await;
        let head = made.head().await.unwrap();
        for asked in [None, Some(1), Some(8)] {
            let engine = RedisEngine::create(options(&namespace, asked)).await.unwrap();
            let found = Store::new(engine.clone());
            assert_eq!((engine.partition_count(), count(&found).await), (partitions, 50));
            assert_eq!(found.head().await.unwrap(), head);
            let opened = RedisEngine::open(options(&namespace, asked)).await.unwrap();
            assert_eq!(opened.partition_count(), partitions);
        }
        assert!(RedisEngine::exists(&options(&namespace, None)).await.unwrap());
    }
}

#[tokio::test]
async fn a_namespace_has_a_power_of_two_of_partitions_up_to_64() {
    let namespace = namespace(1).await;
    for wrong in [0, 3, 12, 65, 128, u16::MAX] {
        let refused = RedisEngine::create(options(&namespace, Some(wrong))).await.unwrap_err();
        assert!(
            matches!(&refused, StorageFailure::Foreign(text) if text.contains(&wrong.to_string())),
            "{refused}"
        );
    }
    assert_eq!(keys(&namespace).await, [""; 0], "nothing was made");
    let usual = RedisEngine::create(options(&namespace, None)).await.unwrap();
    assert_eq!(usual.partition_count(), 1);
}

/// If several callers make a namespace with different numbers of partitions at once, one number wins. All use the same
/// store.
#[tokio::test]
async fn makers_at_once_make_one_namespace() {
    for _ in 0..10 {
        let namespace = namespace(4).await;
        let mut makers = tokio::task::JoinSet::new();
        for wanted in [4, 16, 4, 1, 16, 2] {
            let options = options(&namespace, Some(wanted));
            makers.spawn(async move { RedisEngine::create(options).await.map(Store::new) });
        }
        let made: Vec<Store> = makers.join_all().await.into_iter().filter_map(Result::ok).collect();
        // Callers that found a namespace begun with another number got an error. No caller got half a store.
        assert!(!made.is_empty());
        let found = Store::new(RedisEngine::open(options(&namespace, None)).await.unwrap());
        let head = found.head().await.unwrap();
        for store in &made {
            assert_eq!(store.head().await.unwrap(), head);
        }
        fill(&made[0], 20).await;
        assert_eq!(count(&found).await, 20);
    }
}

/// A creation that was interrupted at any point is finished by the next caller, with the original settings.
#[tokio::test]
async fn a_making_that_was_cut_short_is_finished() {
    for made in 1..=4_u16 {
        let namespace = Namespace { keeps: RetentionMode::UntilDelivered, ..namespace(4).await };
        let whole = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
        let id = whole.info().await.unwrap().id;
        let meta = |partition| namespace.key_in(partition, "meta");
        let mut gone = vec![format!("{{{}:0}}:meta", namespace.name)];
        gone.extend((0..4 - made).map(meta));
        for key in gone {
            let _: i64 = namespace.say(&["DEL", &key]).await;
        }
        assert!(
            !RedisEngine::exists(&namespace.options()).await.unwrap(),
            "it is not there before all of it is"
        );
        let unavailable = RedisEngine::open(options(&namespace, None)).await.unwrap_err();
        assert!(matches!(unavailable, StorageFailure::Unavailable(_)), "{unavailable}");
        let other = RedisEngine::create(options(&namespace, Some(16))).await.unwrap_err();
        assert!(
            matches!(&other, StorageFailure::Foreign(text) if text.contains("of 4 partitions")),
            "{other}"
        );
        let asked = RedisOptions { keeps: RetentionMode::History, ..options(&namespace, None) };
        let finished = Store::new(RedisEngine::create(asked).await.unwrap());
        let info = finished.info().await.unwrap();
        assert_eq!((info.id, info.keeps, info.head.sequences.len()), (id, RetentionMode::UntilDelivered, 4));
        fill(&finished, 20).await;
        assert_eq!(count(&finished).await, 20);
    }
}

/// If only the signpost is lost, as after a failover, the next caller that makes the namespace writes it again.
#[tokio::test]
async fn a_lost_signpost_is_put_up_again() {
    let namespace = namespace(4).await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    fill(&store, 60).await;
    let _: i64 = namespace.say(&["DEL", &format!("{{{}:0}}:meta", namespace.name)]).await;
    let engine = RedisEngine::create(options(&namespace, None)).await.unwrap();
    let again = Store::new(engine.clone());
    assert_eq!((engine.partition_count(), count(&again).await), (4, 60));
    assert_eq!(again.head().await.unwrap(), store.head().await.unwrap());
}

/// The remains of a namespace are not taken for a namespace in creation. A namespace without one partition is not
/// taken for a whole one.
#[tokio::test]
async fn remains_are_refused_and_named() {
    let namespace = namespace(4).await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    fill(&store, 60).await;
    let _: i64 = namespace.say(&["DEL", &namespace.key_in(2, "meta")]).await;
    for answer in
        [RedisEngine::open(namespace.options()).await, RedisEngine::create(namespace.options()).await]
    {
        let refused = answer.unwrap_err();
        assert!(
            matches!(&refused, StorageFailure::Corrupt(text) if text.contains("partition 2")),
            "{refused}"
        );
    }
    let _: i64 = namespace.say(&["DEL", &format!("{{{}:0}}:meta", namespace.name)]).await;
    let refused = RedisEngine::create(namespace.options()).await.unwrap_err();
    assert!(matches!(&refused, StorageFailure::Foreign(text) if text.contains("remains")), "{refused}");
}

/// A program that supports only one partition refuses the namespace by its layout.
#[tokio::test]
async fn the_signpost_is_of_a_layout_of_its_own() {
    let namespace = namespace(4).await;
    RedisEngine::create(namespace.options()).await.unwrap();
    let root = format!("{{{}:0}}:meta", namespace.name);
    let layout: String = namespace.say(&["HGET", &root, "layout"]).await;
    assert_eq!(layout, "3-parts");
    let of_a_partition: String = namespace.say(&["HGET", &namespace.key_in(3, "meta"), "layout"]).await;
    assert_eq!(of_a_partition, "3");
}

/// If a part of a batch fails and other parts are stored, the outcome of the whole is unknown. When it is appended
/// again later, the stored events are recognised.
#[tokio::test]
async fn a_batch_that_failed_in_one_partition_is_settled_by_appending_it_again() {
    let namespace = namespace(4).await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    let batch: Vec<Event> = Draft::many("e", 40);
    let log = namespace.key_in(2, "log:0");
    let _: i64 = namespace.say(&["SADD", &log, "not a log"]).await;
    // The answer has an outcome for each event. The second time, the events of the other partitions are already
    // stored.
    for is_new in [true, false] {
        let failed = store.append(&batch, Atomicity::Each).await.unwrap_err();
        assert_eq!(failed.kind(), "corrupt", "{failed}");
        let EventStoreError::PartiallyFailed(outcomes) = failed else { panic!("{failed}") };
        assert_eq!(outcomes.len(), 40);
        let taken = outcomes.iter().flatten().filter(|outcome| match outcome {
            AppendOutcome::Stored(at) => is_new && at.partition != 2,
            AppendOutcome::AlreadyStored(at) => !is_new && at.partition != 2,
            _ => false,
        });
        let refused = outcomes.iter().filter(|outcome| matches!(outcome, Err(StorageFailure::Corrupt(_))));
        let (taken, refused) = (taken.count(), refused.count());
        assert!(taken > 0 && refused > 0 && taken + refused == 40, "{outcomes:?}");
    }
    // The outcome of an all-or-nothing batch is unknown as a whole.
    let other = Draft::many("f", 40);
    let failed = store.append(&other, Atomicity::AllOrNothing).await.unwrap_err();
    assert_eq!(failed.kind(), "unknown", "{failed}");
    assert!(failed.to_string().contains("partition 2"), "{failed}");
    let _: i64 = namespace.say(&["DEL", &log]).await;
    let outcomes = store.append(&batch, Atomicity::Each).await.unwrap();
    let stored = |outcome: &&AppendOutcome| matches!(outcome, AppendOutcome::Stored(at) if at.partition == 2);
    let again =
        |outcome: &&AppendOutcome| matches!(outcome, AppendOutcome::AlreadyStored(at) if at.partition != 2);
    let (new, known) = (outcomes.iter().filter(stored).count(), outcomes.iter().filter(again).count());
    assert!(new > 0 && known > 0 && new + known == 40, "{outcomes:?}");
    store.append(&other, Atomicity::AllOrNothing).await.unwrap();
    let page = store.read(&ReadRequest::new(Filter::default(), 100)).await.unwrap();
    assert_eq!(page.events.len(), 80);
}
