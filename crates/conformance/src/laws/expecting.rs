//! Laws of conditional appends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::{
    Cursor, Event, Expectation, ExpectationScope, Filter, Position, Retry, StorageFailure, StoreId,
    UnexpectedEvent,
    ordering::KeySource,
    ports::{AppendOutcome, Atomicity, EventStoreError, GroupHolds, RetentionMode, TrimRequest},
    retention::RetentionRule,
};
use tokio::{sync::Barrier, task::JoinSet};

use crate::{Bench, Draft, Harness, Stores};

const RIVALS: usize = 8;

/// Returns an event of a user, with the user as ordering key.
fn event(id: &str, user: &str, event_type: &str) -> Event {
    let draft = Draft::new(id).of_type(event_type).with("userId", user);
    draft.event().with_key_source(KeySource::Entity(0))
}

fn orders_of(user: &str) -> Filter {
    Filter::types(["order.*"]).entity("user", user)
}

/// Returns the expectation that no order of ann is behind a place.
fn no_order_after(head: Cursor) -> Expectation {
    Expectation::none_of(orders_of("ann")).after(head).of_key()
}

/// Returns the expectation in every scope that the store can check.
fn in_each_scope(bench: &Bench, expectation: Expectation) -> Vec<Expectation> {
    let of_store = Expectation { scope: ExpectationScope::Store, ..expectation.clone() };
    match bench.partitions {
        1 => vec![expectation.of_key(), of_store],
        _ => vec![expectation.of_key()],
    }
}

fn stored(answer: &Result<Vec<AppendOutcome>, EventStoreError>) -> Vec<Position> {
    let outcomes = answer.as_ref().expect("the expectation holds");
    let position = |outcome: &AppendOutcome| match outcome {
        AppendOutcome::Stored(position) => *position,
        other => panic!("expected to be stored: {other:?}"),
    };
    outcomes.iter().map(position).collect()
}

/// Only matching events behind the place make the expectation fail. Events before the place and other events do not.
pub async fn an_expectation_that_holds_stores_the_batch(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&[event("before", "ann", "order.placed")]).await;
    let head = bench.store.head().await.unwrap();
    let others = [
        event("type", "ann", "user.registered"),
        event("user", "bob", "order.placed"),
        event("both", "cyd", "user.registered"),
    ];
    bench.store_all(&others).await;
    for (n, expectation) in in_each_scope(&bench, no_order_after(head.clone())).into_iter().enumerate() {
        let batch =
            [event(&format!("a{n}"), "ann", "payment.made"), event(&format!("b{n}"), "ann", "payment.sent")];
        let positions = stored(&bench.store.append_expecting(&batch, &expectation).await);
        assert!(positions[0] < positions[1], "{positions:?}");
        let found = bench.store.get(&[format!("a{n}"), format!("b{n}")]).await.unwrap();
        assert_eq!(found.iter().map(|stored| stored.position).collect::<Vec<_>>(), positions);
    }
    let never = Expectation::none_of(orders_of("dan"));
    for (n, expectation) in in_each_scope(&bench, never).into_iter().enumerate() {
        let batch = [event(&format!("d{n}"), "dan", "user.registered")];
        assert_eq!(stored(&bench.store.append_expecting(&batch, &expectation).await).len(), 1);
    }
    assert_eq!(bench.store.append_expecting(&[], &no_order_after(head)).await, Ok(Vec::new()));
    bench.verify_is_clean().await;
}

/// A matching event behind the place refuses the whole batch. Nothing changes, and the error names the event.
pub async fn an_event_that_is_ruled_out_refuses_the_batch(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store_all(&[event("before", "ann", "order.placed")]).await;
    let head = bench.store.head().await.unwrap();
    bench.store_all(&[event("unrelated", "ann", "user.registered")]).await;
    let at = bench.store_all(&[event("rival", "ann", "order.cancelled")]).await[0];
    let before = bench.store.info().await.unwrap();
    for expectation in in_each_scope(&bench, no_order_after(head)) {
        let batch = [event("a", "ann", "order.placed"), event("b", "ann", "payment.made")];
        let refused = bench.store.append_expecting(&batch, &expectation).await.unwrap_err();
        let rival = UnexpectedEvent {
            position: at,
            id: "rival".to_owned(),
            event_type: "order.cancelled".to_owned(),
        };
        assert_eq!(refused, EventStoreError::Unexpected(rival));
        assert_eq!((refused.kind(), refused.retry()), ("unexpected-event", Retry::Never));
    }
    for expectation in in_each_scope(&bench, Expectation::none_of(orders_of("ann"))) {
        let batch = [event("a", "ann", "user.renamed")];
        let refused = bench.store.append_expecting(&batch, &expectation).await.unwrap_err();
        let EventStoreError::Unexpected(first) = refused else { panic!("{refused}") };
        assert_eq!(first.id, "before");
    }
    assert_eq!(bench.store.info().await.unwrap(), before);
    let head = bench.store.head().await.unwrap();
    let answer =
        bench.store.append_expecting(&[event("a", "ann", "order.placed")], &no_order_after(head)).await;
    assert_eq!(stored(&answer).len(), 1, "decided again, behind the rival");
}

/// A stored batch is `AlreadyStored`, even if later events match the expectation. A batch that contradicts the log is a
/// conflict.
pub async fn a_repeated_conditional_append_is_already_stored(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let head = bench.store.head().await.unwrap();
    for expectation in in_each_scope(&bench, no_order_after(head.clone())) {
        let batch = [event("a", "ann", "order.placed"), event("b", "ann", "order.paid")];
        let answer = bench.store.append_expecting(&batch, &expectation).await.unwrap();
        let at = |outcome: &AppendOutcome| match outcome {
            AppendOutcome::Stored(at) | AppendOutcome::AlreadyStored(at) => AppendOutcome::AlreadyStored(*at),
            other => panic!("{other:?}"),
        };
        let expected: Vec<AppendOutcome> = answer.iter().map(at).collect();
        let again = bench.store.append_expecting(&batch, &expectation).await;
        assert_eq!(again.as_ref(), Ok(&expected), "its own events are no rivals");
    }
    bench.store_all(&[event("later", "ann", "order.cancelled")]).await;
    for expectation in in_each_scope(&bench, no_order_after(head)) {
        let batch = [event("a", "ann", "order.placed"), event("b", "ann", "order.paid")];
        let again = bench.store.append_expecting(&batch, &expectation).await.unwrap();
        assert!(again.iter().all(|it| matches!(it, AppendOutcome::AlreadyStored(_))), "{again:?}");
        let other = [event("a", "ann", "order.changed"), event("c", "ann", "order.paid")];
        let conflict = bench.store.append_expecting(&other, &expectation).await.unwrap();
        assert!(
            matches!(conflict[..], [AppendOutcome::Conflict(_), AppendOutcome::NotStored]),
            "{conflict:?}"
        );
        let half = [event("a", "ann", "order.placed"), event("c", "ann", "order.paid")];
        let refused = bench.store.append_expecting(&half, &expectation).await.unwrap_err();
        assert_eq!(refused.kind(), "unexpected-event", "half of it is new, and was decided too early");
    }
    assert_eq!(bench.count(Filter::default()).await, 3);
}

/// A place is refused if it is in another store, beyond the head, or before removed events.
pub async fn an_expectation_names_a_place_of_this_log(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let start = bench.store.head().await.unwrap();
    bench.store_all(&[event("a", "ann", "order.placed"), event("b", "ann", "order.placed")]).await;
    let head = bench.store.head().await.unwrap();
    let batch = [event("c", "ann", "order.placed")];
    let answer = |after: Cursor| {
        let (store, batch) = (bench.store.clone(), batch.clone());
        async move { store.append_expecting(&batch, &no_order_after(after)).await.unwrap_err() }
    };
    let foreign = Cursor { store: StoreId(head.store.0 ^ 1), ..head.clone() };
    assert_eq!(answer(foreign).await.kind(), "foreign-cursor");
    let beyond = head.sequences.iter().map(|sequence| sequence + 1_000).collect();
    assert_eq!(answer(Cursor { sequences: beyond, ..head.clone() }).await.kind(), "lost-cursor");
    assert_eq!(answer(start.clone()).await.kind(), "unexpected-event");
    bench
        .trim(&TrimRequest {
            rule: RetentionRule { max_events: Some(0), ..RetentionRule::default() },
            holds: Vec::new(),
            limit: 100,
            dry_run: false,
            groups: GroupHolds::default(),
        })
        .await;
    let lost = answer(start).await;
    assert_eq!(lost.kind(), "lost-cursor");
    assert!(lost.to_string().contains("retention"), "{lost}");
    let known = bench.store.append_expecting(&batch, &no_order_after(head)).await;
    assert_eq!(stored(&known).len(), 1);
    let none = Expectation::none_of(Filter::types(["order.placed"]).entity("user", "bob")).of_key();
    let answer = bench.store.append_expecting(&[event("d", "bob", "order.placed")], &none).await;
    assert_eq!(stored(&answer).len(), 1, "what was removed does not count");
}

/// An expectation is refused if no single step can check it. Examples are several partitions, several keys, and a store
/// that keeps no history.
pub async fn an_expectation_that_no_step_can_check_is_refused(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let of_store = Expectation::none_of(orders_of("ann"));
    let ann = [event("a", "ann", "order.placed")];
    let answer = bench.store.append_expecting(&ann, &of_store).await;
    if bench.partitions == 1 {
        assert_eq!(stored(&answer).len(), 1);
    } else {
        let refused = answer.unwrap_err();
        assert_eq!((refused.kind(), refused.retry()), ("uncheckable-expectation", Retry::Never));
        assert!(refused.to_string().contains("of_key"), "{refused}");
    }
    let two = [event("b", "ann", "order.placed"), event("c", "bob", "order.placed")];
    let of_key = Expectation::none_of(orders_of("cyd")).of_key();
    let refused = bench.store.append_expecting(&two, &of_key).await.unwrap_err();
    assert_eq!(refused.kind(), "uncheckable-expectation");
    assert!(refused.to_string().contains("user=ann"), "{refused}");
    let unknown = bench.store.get(&["b".to_owned(), "c".to_owned()]).await.unwrap();
    assert_eq!(unknown.len(), 0);
    if let Some(bench) = Bench::keeping(h, RetentionMode::UntilDelivered).await {
        let refused = bench.store.append_expecting(&ann, &of_store.of_key()).await.unwrap_err();
        assert_eq!(refused.kind(), "uncheckable-expectation");
    }
}

/// Of eight callers on four handles with one expectation, one succeeds. The other seven get the first stored event.
pub async fn of_eight_callers_with_one_expectation_one_succeeds(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut handles = Vec::new();
    for _ in 0..4 {
        handles.push(bench.storage.open().await);
    }
    for round in 0..10 {
        let head = bench.store.head().await.unwrap();
        let (start, mut rivals) = (Arc::new(Barrier::new(RIVALS)), JoinSet::new());
        for rival in 0..RIVALS {
            let (store, start) = (handles[rival % handles.len()].clone(), Arc::clone(&start));
            let expectation = match bench.partitions == 1 && rival % 2 == 0 {
                true => Expectation { scope: ExpectationScope::Store, ..no_order_after(head.clone()) },
                false => no_order_after(head.clone()),
            };
            let batch = [event(&format!("r{round}-{rival}"), "ann", "order.placed")];
            rivals.spawn(async move {
                start.wait().await;
                append(&*store, &batch, &expectation).await
            });
        }
        let answers = rivals.join_all().await;
        let won: Vec<Position> = answers.iter().filter(|it| it.is_ok()).flat_map(stored).collect();
        let [position] = won[..] else { panic!("{answers:?}") };
        for refused in answers.iter().filter_map(|answer| answer.as_ref().err()) {
            let EventStoreError::Unexpected(first) = refused else { panic!("{refused}") };
            assert_eq!(first.position, position);
        }
    }
    assert_eq!(bench.count(orders_of("ann")).await, 10);
}

/// Callers that read, decide and append behind their reads produce one sequence of decisions. Other writers append
/// without an expectation at the same time. No number is assigned twice, and none is missing.
pub async fn decisions_behind_what_was_read_are_one_sequence(h: &impl Harness) {
    const DECISIONS: usize = 5;
    let bench = Bench::new(h).await;
    let mut callers = JoinSet::new();
    for caller in 0..RIVALS {
        let store = bench.storage.open().await;
        callers.spawn(async move {
            for decision in 0..DECISIONS {
                loop {
                    let head = store.head().await.unwrap();
                    let known = store.count(&Arc::new(orders_of("ann")), Some(&head)).await.unwrap();
                    let id = format!("c{caller}-{decision}");
                    let draft = Draft::new(&id).of_type("order.placed").with("userId", "ann");
                    let numbered = draft.with("data", known).event().with_key_source(KeySource::Entity(0));
                    match append(&*store, &[numbered], &no_order_after(head)).await {
                        Ok(_) => break,
                        Err(EventStoreError::Unexpected(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    let writing = Arc::new(AtomicBool::new(true));
    let (store, goes_on) = (bench.storage.open().await, Arc::clone(&writing));
    let writer = tokio::spawn(async move {
        let mut n = 0;
        while goes_on.load(Ordering::Relaxed) {
            n += 1;
            store.append(&[event(&format!("n{n}"), "ann", "note.taken")], Atomicity::Each).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    while let Some(caller) = callers.join_next().await {
        caller.unwrap();
    }
    writing.store(false, Ordering::Relaxed);
    writer.await.unwrap();
    let orders = bench.all(orders_of("ann")).await;
    let numbers: Vec<u64> =
        orders.iter().map(|order| order.event.value().unwrap()["data"].as_u64().unwrap()).collect();
    assert_eq!(numbers, Vec::from_iter(0..(RIVALS * DECISIONS) as u64));
    bench.verify_is_clean().await;
}

/// Appends that do not match an expectation refuse nothing, even in every partition and without a pause.
pub async fn appends_that_do_not_match_stand_in_no_ones_way(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let writing = Arc::new(AtomicBool::new(true));
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let (store, goes_on) = (bench.storage.open().await, Arc::clone(&writing));
        writers.spawn(async move {
            let mut n = 0;
            while goes_on.load(Ordering::Relaxed) {
                n += 1;
                let id = format!("w{writer}-{n}");
                store
                    .append(&[event(&id, &format!("user {n}"), "order.placed")], Atomicity::Each)
                    .await
                    .unwrap();
                // A store in memory would otherwise never let another task run.
                tokio::task::yield_now().await;
            }
        });
    }
    for n in 0..20 {
        let head = bench.store.head().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let batch = [event(&format!("own-{n}"), "ann", "order.placed")];
        let answer = append(&*bench.store, &batch, &no_order_after(head)).await;
        assert_eq!(stored(&answer).len(), 1);
    }
    writing.store(false, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
}

/// Appends a batch and retries while the store is busy.
async fn append(
    store: &dyn Stores,
    batch: &[Event],
    expectation: &Expectation,
) -> Result<Vec<AppendOutcome>, EventStoreError> {
    loop {
        match store.append_expecting(batch, expectation).await {
            Err(EventStoreError::Storage(StorageFailure::Busy { .. })) => tokio::task::yield_now().await,
            answer => return answer,
        }
    }
}
