//! Many concurrent callers share appends, and no caller can harm another.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod faulty;

use std::{sync::Arc, time::Duration};

use conformance::FaultScript;
use domain::{
    Entity, Event, Limits, Position,
    group::partition_of,
    ports::{EventStore, RetentionMode, SystemClock},
};
use event_replay_bus::{PublishError, PublishSettings, Published, Publisher};
use faulty::{Fault, Faulty, busy, event, full, publisher, publisher_with, store};
use storage_memory::MemoryEngine;
use tokio::task::JoinHandle;

type Answer = Result<Published, PublishError>;

/// A store with appends that take 10 milliseconds.
fn slow(faults: impl IntoIterator<Item = Fault>) -> Faulty {
    faulty::slow(Duration::from_millis(10), faults)
}

fn publish(publisher: &Arc<Publisher>, json: String) -> JoinHandle<Answer> {
    let publisher = Arc::clone(publisher);
    tokio::spawn(async move { publisher.publish(json.as_bytes()).await })
}

/// Starts an append, so that the next calls have to wait for it.
async fn keep_busy(publisher: &Arc<Publisher>) -> JoinHandle<Answer> {
    let first = publish(publisher, event("first", 1));
    tokio::time::sleep(Duration::from_millis(1)).await;
    first
}

fn batch_sizes(store: &Faulty) -> Vec<usize> {
    store.batches.lock().unwrap().iter().map(Vec::len).collect()
}

#[tokio::test(start_paused = true)]
async fn callers_that_publish_at_once_share_an_append_in_the_order_of_their_calls() {
    let store = slow([]);
    let publisher = publisher(&store);
    let first = keep_busy(&publisher).await;
    let callers: Vec<_> = (0..64).map(|n| publish(&publisher, event(&format!("e{n}"), n))).collect();
    for (n, caller) in (0..).zip(callers) {
        assert_eq!(caller.await.unwrap(), Ok(Published::Stored(Position::new(0, n + 2))));
    }
    assert_eq!(first.await.unwrap(), Ok(Published::Stored(Position::new(0, 1))));
    assert_eq!(batch_sizes(&store), [1, 64]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_alone_waits_for_nothing_but_the_store() {
    let store = slow([]);
    let publisher = publisher(&store);
    let began = tokio::time::Instant::now();
    for n in 0..3 {
        publisher.publish(event(&n.to_string(), n).as_bytes()).await.unwrap();
    }
    let (took, appends) = (began.elapsed(), Duration::from_millis(30));
    assert!(took >= appends && took < appends + Duration::from_millis(5), "{took:?}");
    assert_eq!(batch_sizes(&store), [1, 1, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_shared_append_is_bounded_in_events_and_in_bytes() {
    let store = slow([]);
    let publisher = publisher(&store);
    let first = keep_busy(&publisher).await;
    let mut callers: Vec<_> = (0..1_500).map(|n| publish(&publisher, event(&n.to_string(), n))).collect();
    let wide = "x".repeat(400 * 1024);
    for n in 0..3 {
        let json =
            event(&format!("wide{n}"), n).replace(r#""userId":"#, &format!(r#""w":"{wide}","userId":"#));
        callers.push(publish(&publisher, json));
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    first.await.unwrap().unwrap();
    assert_eq!(batch_sizes(&store), [1, 1_000, 502, 1]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_refused_is_refused_to_its_caller_alone() {
    let store = slow([]);
    let publisher = publisher(&store);
    let gone = event("gone", 1).replace(r#""userId":"u""#, r#""userId":"gone""#);
    publisher.publish(gone.as_bytes()).await.unwrap();
    store.erase(&Entity::new("user", "gone")).await.unwrap();
    let first = keep_busy(&publisher).await;
    let callers = [event("a", 1), event("a", 2), gone, event("a", 1), event("b", 1)]
        .map(|json| publish(&publisher, json));
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(caller.await.unwrap());
    }
    first.await.unwrap().unwrap();
    let [a, b] = [3, 4].map(|sequence| Position::new(0, sequence));
    assert_eq!(
        answers,
        [
            Ok(Published::Stored(a)),
            Err(PublishError::Conflict { id: "a".to_owned(), position: a }),
            Err(PublishError::Erased { id: "gone".to_owned() }),
            Ok(Published::AlreadyStored(a)),
            Ok(Published::Stored(b)),
        ]
    );
    assert_eq!(batch_sizes(&store), [1, 1, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_settled_for_every_caller_by_appending_the_same_batch_again() {
    for fault in [Fault::AnswerLost, Fault::RequestLost] {
        let store = slow([fault.clone()]);
        let publisher = publisher(&store);
        let callers: Vec<_> = (0..10).map(|n| publish(&publisher, event(&n.to_string(), n))).collect();
        for (n, caller) in (0..).zip(callers) {
            let position = Position::new(0, n + 1);
            let expected = match fault {
                Fault::AnswerLost => Published::AlreadyStored(position),
                _ => Published::Stored(position),
            };
            assert_eq!(caller.await.unwrap(), Ok(expected));
        }
        let batches = store.batches.lock().unwrap();
        assert_eq!((batches.len(), &batches[0]), (2, &batches[1]));
        assert_eq!(batches[0].len(), 10);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_fails_the_callers_of_the_shared_append_and_no_later_ones() {
    let lasting = vec![Fault::Fails(busy()); 7];
    for (faults, kind) in [(vec![Fault::Fails(full())], "full"), (lasting, "busy")] {
        let store = slow(faults);
        let publisher = publisher(&store);
        let first = publish(&publisher, event("first", 1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        let later: Vec<_> = (0..5).map(|n| publish(&publisher, event(&n.to_string(), n))).collect();
        assert_eq!(first.await.unwrap().unwrap_err().kind(), kind);
        for caller in later {
            caller.await.unwrap().unwrap();
        }
    }
    let store = slow(vec![Fault::Fails(full())]);
    let publisher = publisher(&store);
    let together: Vec<_> = (0..5).map(|n| publish(&publisher, event(&n.to_string(), n))).collect();
    for caller in together {
        assert_eq!(caller.await.unwrap(), Err(PublishError::Store(full().into())));
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_too_large_for_the_store_is_cut_and_one_event_that_is_fails_alone() {
    let store = slow([]).with_max_events(16);
    let limits = Limits { max_event_bytes: 4 << 20, ..Limits::default() };
    let publisher = publisher_with(&store, PublishSettings { limits, ..PublishSettings::default() });
    let too_large = format!(r#""w":"{}","userId":"#, "x".repeat(2 << 20));
    let json = |n: u64| match n {
        5 => event("5", n).replace(r#""userId":"#, &too_large),
        _ => event(&n.to_string(), n),
    };
    let callers: Vec<_> = (0..40).map(|n| publish(&publisher, json(n))).collect();
    for (n, caller) in callers.into_iter().enumerate() {
        let answer = caller.await.unwrap();
        match n {
            5 => assert_eq!(answer.unwrap_err().kind(), "batch-too-large"),
            _ => assert!(matches!(answer, Ok(Published::Stored(_))), "{n}: {answer:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_caller_whose_append_is_under_way_may_be_dropped() {
    let store = slow([]);
    let publisher = publisher(&store);
    let first = keep_busy(&publisher).await;
    let others: Vec<_> = (0..5).map(|n| publish(&publisher, event(&n.to_string(), n))).collect();
    tokio::task::yield_now().await;
    first.abort();
    for other in others {
        assert!(other.await.unwrap().is_ok());
    }
    assert_eq!(batch_sizes(&store), [1, 5]);
    let again = publisher.publish(event("first", 1).as_bytes()).await;
    assert_eq!(again, Ok(Published::AlreadyStored(Position::new(0, 1))), "it was with the store already");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_dropped_while_it_waits_is_not_appended() {
    let store = slow([]);
    let publisher = publisher(&store);
    let first = keep_busy(&publisher).await;
    let [dropped, stays] = ["dropped", "stays"].map(|id| publish(&publisher, event(id, 1)));
    tokio::task::yield_now().await;
    dropped.abort();
    assert!(stays.await.unwrap().is_ok());
    first.await.unwrap().unwrap();
    assert_eq!(*store.batches.lock().unwrap(), [["first"], ["stays"]]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_no_longer_polled_blocks_no_other_caller() {
    let publisher = publisher(&slow([]));
    let first = event("first", 1);
    let mut first = Box::pin(publisher.publish(first.as_bytes()));
    let not_yet = tokio::time::timeout(Duration::from_millis(1), &mut first).await;
    assert!(not_yet.is_err());
    let json = event("second", 1);
    let second = publisher.publish(json.as_bytes());
    let second = tokio::time::timeout(Duration::from_secs(60), second).await.unwrap();
    assert_eq!(second, Ok(Published::Stored(Position::new(0, 2))));
    assert_eq!(first.await, Ok(Published::Stored(Position::new(0, 1))));
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_store_is_an_unknown_outcome_and_the_next_call_works() {
    let store = slow([Fault::Panics]);
    let publisher = publisher(&store);
    let callers: Vec<_> = (0..3).map(|n| publish(&publisher, event(&n.to_string(), n))).collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap_err().kind(), "unknown");
    }
    let next = publish(&publisher, event("next", 1));
    let next = tokio::time::timeout(Duration::from_secs(60), next).await.expect("it is not left waiting");
    assert_eq!(next.unwrap(), Ok(Published::Stored(Position::new(0, 1))));
}

/// A store with two partitions, a publisher, and the partition of the events of the user `dead`.
fn parted() -> (Faulty, Arc<Publisher>, u16) {
    let engine = MemoryEngine::partitioned(Arc::new(SystemClock), RetentionMode::History, 2);
    let store = Faulty::new(engine, FaultScript::taking(Duration::from_millis(10)));
    let publisher = publisher(&store);
    let [dead, alive] = ["dead", "alive"].map(|user| {
        let event = publisher.admit(of_user("e", user).as_bytes()).unwrap();
        partition_of(&event.ordering_key(), store.partition_count())
    });
    assert_ne!(dead, alive);
    (store, publisher, dead)
}

fn of_user(id: &str, user: &str) -> String {
    let json = event(id, 1).replace(r#""orderId":"o""#, &format!(r#""orderId":"{user}""#));
    json.replace(r#""userId":"u""#, &format!(r#""userId":"{user}""#))
}

/// The other events are answered immediately. The failed events and later events of their keys are retried in order.
#[tokio::test(start_paused = true)]
async fn a_partition_that_cannot_append_delays_no_other_and_keeps_its_order() {
    let (store, publisher, dead) = parted();
    store.script.reaches(dead, false);
    let began = tokio::time::Instant::now();
    let waiting: Vec<_> = (0..3).map(|n| publish(&publisher, of_user(&format!("dead{n}"), "dead"))).collect();
    for n in 0..5 {
        publish(&publisher, of_user(&format!("early{n}"), "alive")).await.unwrap().unwrap();
    }
    let later = publish(&publisher, of_user("dead3", "dead"));
    for n in 0..5 {
        publish(&publisher, of_user(&format!("late{n}"), "alive")).await.unwrap().unwrap();
    }
    assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_millis(150)).await;
    store.script.reaches(dead, true);
    for caller in waiting.into_iter().chain([later]) {
        assert!(matches!(caller.await.unwrap(), Ok(Published::Stored(_))));
    }
    let stored = faulty::stored_json(&store).await;
    let dead: Vec<&str> =
        stored.iter().filter_map(|json| json.split('"').nth(3)).filter(|id| id.starts_with("dead")).collect();
    assert_eq!(dead, ["dead0", "dead1", "dead2", "dead3"]);
    assert_eq!(stored.len(), 14);
}

#[tokio::test(start_paused = true)]
async fn what_stays_out_of_reach_is_told_as_such_and_to_its_callers_alone() {
    let (store, publisher, dead) = parted();
    store.script.reaches(dead, false);
    let first = publish(&publisher, of_user("dead0", "dead"));
    tokio::time::sleep(Duration::from_millis(15)).await;
    let second = publish(&publisher, of_user("dead1", "dead"));
    publish(&publisher, of_user("alive", "alive")).await.unwrap().unwrap();
    for caller in [first, second] {
        assert_eq!(caller.await.unwrap().unwrap_err().kind(), "unavailable");
    }
    store.script.reaches(dead, true);
    let again = publish(&publisher, of_user("dead0", "dead")).await.unwrap();
    assert!(matches!(again, Ok(Published::Stored(_))), "{again:?}");
}

/// One partition stores an event, but its answer is lost. Then the partition is unreachable, also for the retries.
#[tokio::test(start_paused = true)]
async fn what_one_partition_left_unknown_is_not_told_as_failed_by_a_later_try() {
    let (store, publisher, dead) = parted();
    store.script.plan(move |call| call.name() == "append" && call.partition == Some(dead), Fault::AnswerLost);
    let first = publish(&publisher, of_user("dead0", "dead"));
    let other = publish(&publisher, of_user("alive", "alive"));
    tokio::time::sleep(Duration::from_millis(11)).await;
    store.script.reaches(dead, false);
    other.await.unwrap().unwrap();
    let error = first.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), "unknown", "{error}");
    assert_eq!(store.inner.count(&Arc::default(), None).await.unwrap(), 2);
}

#[test]
fn a_runtime_that_ends_leaves_the_publisher_usable_by_another() {
    let store = slow([]);
    let publisher = publisher(&store);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let json = event("cut off", 1);
        let call = publisher.publish(json.as_bytes());
        assert!(tokio::time::timeout(Duration::from_millis(1), call).await.is_err());
    });
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let answer = other.block_on(publisher.publish(event("next", 1).as_bytes()));
    assert_eq!(answer, Ok(Published::Stored(Position::new(0, 1))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_caller_s_events_keep_their_order_while_others_give_up() {
    let store = store(vec![Fault::AnswerLost; 3]);
    let publisher = publisher(&store);
    let callers: Vec<_> = (0..64_u64)
        .map(|caller| {
            let publisher = Arc::clone(&publisher);
            tokio::spawn(async move {
                for n in 0..20 {
                    let json = event(&format!("{caller}/{n}"), n);
                    // Every fourth caller drops some of its calls immediately.
                    if caller % 4 == 0 && n % 3 == 0 {
                        let call = publisher.publish(json.as_bytes());
                        let _ = tokio::time::timeout(Duration::ZERO, call).await;
                    } else {
                        publisher.publish(json.as_bytes()).await.unwrap();
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    // The event of a dropped call may still be on its way to the store. This event is appended after it.
    publisher.publish(event("last/0", 1).as_bytes()).await.unwrap();
    let stored = faulty::stored_json(&store).await;
    for caller in 0..64 {
        let prefix = format!(r#"{{"id":"{caller}/"#);
        let numbers: Vec<u64> = stored
            .iter()
            .filter_map(|json| json.strip_prefix(&prefix)?.split('"').next()?.parse().ok())
            .collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "caller {caller}: {numbers:?}");
        assert!(numbers.len() == 20 || caller % 4 == 0, "caller {caller}: {numbers:?}");
    }
    assert!(batch_sizes(&store).len() < 64 * 20, "appends were shared");
    let _: &Event = &store.get(&["last/0".to_owned()]).await.unwrap()[0].event;
}
