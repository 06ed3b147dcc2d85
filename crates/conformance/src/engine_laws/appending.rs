//! Laws of appending.

use std::{collections::BTreeSet, time::Duration};

use domain::{
    Event, Filter, Position,
    event::{DeliveryOptions, Priority},
    ordering::KeySource,
    ports::{
        AppendOutcome, Atomicity, Clock as _, Order,
        engine::{Appended, Guard, IdState, RemovalKind, RowId, SpaceKind, Transaction, log::stored_at},
    },
};

use crate::{Draft, EngineBench, EngineHarness};

fn number() -> RowId {
    RowId::of(SpaceKind::Counter, "n")
}

/// All events of a batch are visible with every index entry, also through other handles. The writes of its transaction
/// are visible as well.
pub async fn append_stores_a_batch_whole_and_performs_its_transaction(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let row = RowId::of(SpaceKind::Group, "g");
    let mut with = Transaction::new();
    with.guard(Guard::Absent(row.clone())).put(row.clone(), "made").add(number(), 3);
    let events: Vec<Event> = (0..4)
        .map(|n| Draft::new(&format!("e{n}")).with("correlationId", "c").with("userId", "u").event())
        .collect();
    let appended = bench.append_with(&events, Atomicity::AllOrNothing, &with).await;
    let Appended::Done(outcomes) = appended else { panic!("{appended:?}") };
    let mut last = 0;
    for outcome in &outcomes {
        let AppendOutcome::Stored(position) = outcome else { panic!("{outcomes:?}") };
        assert!(position.sequence > last && position.partition == bench.partition, "{outcomes:?}");
        last = position.sequence;
    }
    assert_eq!(outcomes.len(), 4);
    assert_eq!(bench.row(&row).await, Some(b"made".to_vec()));
    assert_eq!(bench.row(&number()).await, Some(b"3".to_vec()));
    let mut other = bench;
    other.another_handle().await;
    let mut by_entity = Filter::default();
    by_entity.add_entity(domain::Entity::new("user", "u"));
    for filter in [Filter::default(), Filter::correlation("c"), by_entity] {
        let found = other.scan(filter, Order::OldestFirst, 10).await;
        assert_eq!(super::ids(&found), ["e0", "e1", "e2", "e3"]);
    }
    let state = other.state().await;
    let bytes: usize = events.iter().map(Event::size_bytes).sum();
    assert_eq!((state.head, state.events, state.bytes), (last, 4, bytes as u64));
}

/// If a guard does not hold, neither events nor rows are written, and the outcome names the guard.
pub async fn append_whose_guard_does_not_hold_changes_nothing(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    bench.store(&Draft::many("before", 1)).await;
    let before = bench.state().await;
    for atomicity in [Atomicity::Each, Atomicity::AllOrNothing] {
        let mut with = Transaction::new();
        with.guard(Guard::Absent(number())).guard(Guard::Present(number())).add(number(), 1);
        let appended = bench.append_with(&Draft::many("e", 2), atomicity, &with).await;
        assert_eq!(appended, Appended::Refused { guard: 1 });
        assert_eq!(bench.row(&number()).await, None);
        assert_eq!(bench.ids().await, ["before-0"]);
        assert_eq!(bench.state().await, before);
    }
    // The same events may be stored later.
    assert_eq!(bench.store(&Draft::many("e", 2)).await.len(), 2);
}

/// The transaction is performed even if every event is already stored, or if the batch is empty.
pub async fn append_performs_its_transaction_where_nothing_is_new(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let events = Draft::many("e", 2);
    let sequences = bench.store(&events).await;
    let mut with = Transaction::new();
    with.add(number(), 1);
    let appended = bench.append_with(&events, Atomicity::Each, &with).await;
    let stored = |sequence| AppendOutcome::AlreadyStored(Position::new(bench.partition, sequence));
    assert_eq!(appended, Appended::Done(sequences.into_iter().map(stored).collect()));
    assert_eq!(bench.append_with(&[], Atomicity::Each, &with).await, Appended::Done(Vec::new()));
    assert_eq!(bench.row(&number()).await, Some(b"2".to_vec()));
    // The guards are evaluated in these cases as well.
    with.guard(Guard::Absent(number()));
    let refused = Appended::Refused { guard: 0 };
    assert_eq!(bench.append_with(&events, Atomicity::Each, &with).await, refused);
    assert_eq!(bench.append_with(&[], Atomicity::Each, &with).await, refused);
    assert_eq!(bench.row(&number()).await, Some(b"2".to_vec()));
}

/// Within a batch, the first event of an id is stored. The same content again is already stored, and other content is a
/// conflict.
pub async fn append_answers_repeats_within_a_batch(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let one = Draft::new("one");
    let batch = [
        one.event(),
        one.event_respelled(),
        one.clone().with("data", 7).event(),
        Draft::new("other").event(),
        one.event(),
    ];
    let outcomes = bench.append(&batch).await;
    let AppendOutcome::Stored(first) = outcomes[0] else { panic!("{outcomes:?}") };
    let AppendOutcome::Stored(other) = outcomes[3] else { panic!("{outcomes:?}") };
    assert!(first.sequence < other.sequence, "{outcomes:?}");
    let expected = [
        AppendOutcome::Stored(first),
        AppendOutcome::AlreadyStored(first),
        AppendOutcome::Conflict(first),
        AppendOutcome::Stored(other),
        AppendOutcome::AlreadyStored(first),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(bench.ids().await, ["one", "other"]);
}

/// Repeats across batches get the same outcomes. An event that differs from a conflicting event may equal the stored
/// event.
pub async fn append_answers_repeats_of_what_is_stored(h: &impl EngineHarness) {
    let mut bench = EngineBench::new(h).await;
    let draft = Draft::new("one");
    let at = Position::new(bench.partition, bench.store(&[draft.event()]).await[0]);
    let changed = draft.clone().with("data", 7);
    bench.another_handle().await;
    let outcomes = bench.append(&[changed.event(), draft.event_respelled(), changed.event()]).await;
    let expected =
        [AppendOutcome::Conflict(at), AppendOutcome::AlreadyStored(at), AppendOutcome::Conflict(at)];
    assert_eq!(outcomes, expected);
    let log = bench.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!(log[0].as_ref().unwrap().event.json(), draft.json());
}

/// An all-or-nothing batch is not stored if one event conflicts with the log, was erased, or contradicts another event.
pub async fn append_stores_nothing_of_a_refused_whole(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    bench.store(&[Draft::new("kept").event(), Draft::new("gone").event()]).await;
    let log = bench.log().await;
    bench.remove(&log[1..], RemovalKind::Erase, &Transaction::new()).await;
    let at = Position::new(bench.partition, super::sequence_of(&log[0]));
    let fresh = Draft::new("fresh").event();
    let conflict = Draft::new("kept").with("data", 7).event();
    let erased = Draft::new("gone").event();
    let whole = async |batch: &[Event]| match bench
        .append_with(batch, Atomicity::AllOrNothing, &Transaction::new())
        .await
    {
        Appended::Done(outcomes) => outcomes,
        refused => panic!("nothing was demanded: {refused:?}"),
    };
    let outcomes = whole(&[fresh.clone(), conflict]).await;
    assert_eq!(outcomes, [AppendOutcome::NotStored, AppendOutcome::Conflict(at)]);
    let outcomes = whole(&[fresh.clone(), erased, Draft::new("kept").event()]).await;
    let expected = [AppendOutcome::NotStored, AppendOutcome::Erased, AppendOutcome::AlreadyStored(at)];
    assert_eq!(outcomes, expected);
    let contradiction = [fresh.clone(), Draft::new("fresh").with("data", 7).event()];
    let outcomes = whole(&contradiction).await;
    assert!(matches!(outcomes[..], [AppendOutcome::NotStored, AppendOutcome::Conflict(_)]), "{outcomes:?}");
    assert_eq!(bench.ids().await, ["kept"]);
    assert!(matches!(whole(&[fresh]).await[..], [AppendOutcome::Stored(_)]));
}

/// A read returns the bytes of an event, its ordering key and the delivery options of its publisher.
pub async fn append_keeps_what_an_event_carries(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let options = DeliveryOptions {
        priority: Priority::Critical,
        expires_at: Some("2024-06-01T12:00:00.123456789Z".parse().unwrap()),
        retries: Some(u16::MAX),
        reports_error: true,
    };
    let draft = Draft::new("odd \u{202e}\r\n{id}").with("userId", "u:{1}*").with("correlationId", "c\u{1b}");
    let event = draft.event_respelled().with_options(options).with_key_source(KeySource::Correlation);
    let sequences = bench.store(std::slice::from_ref(&event)).await;
    let read = bench.storage.open().await.at(bench.partition, &sequences).await.unwrap();
    let stored = read[0].as_ref().expect("it is there").as_ref().expect("no damage");
    assert_eq!(stored.event.json(), event.json());
    assert_eq!(stored.event.options(), options);
    assert_eq!(stored.event.ordering_key(), event.ordering_key());
    assert_eq!(stored.position, Position::new(bench.partition, sequences[0]));
    assert_eq!(stored.stored_at, bench.clock.now());
    assert_eq!((stored.replay_count, stored.last_replay_at), (0, None));
}

/// Sequences rise for each of eight writers, and each sequence is assigned once.
pub async fn sequences_rise_and_are_unique_under_eight_writers(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let mut writers = Vec::new();
    for (writer, engine) in bench.handles(8).await.into_iter().enumerate() {
        let partition = bench.partition;
        writers.push(tokio::spawn(async move {
            let mut sequences = Vec::new();
            for n in 0..20 {
                let batch = Draft::many(&format!("w{writer}-{n}"), 3);
                let with = Transaction::new();
                let appended = engine.append(partition, &batch, Atomicity::Each, &with).await.unwrap();
                let Appended::Done(outcomes) = appended else { panic!("{appended:?}") };
                for outcome in outcomes {
                    let AppendOutcome::Stored(position) = outcome else { panic!("{outcome:?}") };
                    sequences.push(position.sequence);
                }
            }
            sequences
        }));
    }
    let mut all = BTreeSet::new();
    for writer in writers {
        let sequences = writer.await.unwrap();
        assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
        for sequence in sequences {
            assert!(all.insert(sequence), "{sequence} was given twice");
        }
    }
    let log: Vec<u64> = bench.log().await.iter().map(super::sequence_of).collect();
    assert_eq!(log, all.into_iter().collect::<Vec<u64>>());
}

/// The sequence of a removed event is never assigned again, even if the log is empty or a new handle appends.
pub async fn sequences_are_not_given_again_after_a_removal(h: &impl EngineHarness) {
    let mut bench = EngineBench::new(h).await;
    let last = *bench.store(&Draft::many("e", 3)).await.last().unwrap();
    let log = bench.log().await;
    bench.remove(&log, RemovalKind::Oldest, &Transaction::new()).await;
    assert_eq!(bench.state().await.head, last);
    bench.another_handle().await;
    // A trim frees the ids.
    let again = bench.store(&Draft::many("e", 3)).await;
    assert!(again[0] > last, "{again:?} after {last}");
}

/// If the clock steps back, an event gets the stored time of the previous event.
pub async fn stored_times_never_fall(h: &impl EngineHarness) {
    let mut bench = EngineBench::new(h).await;
    let noon = bench.clock.now();
    for (n, seconds) in [10i64, -500, 20, -1, 15].into_iter().enumerate() {
        bench.clock.set(noon + jiff::SignedDuration::from_secs(seconds));
        // The stored time of the last event also counts for another handle.
        bench.another_handle().await;
        bench.store(&Draft::many(&format!("e{n}"), 2)).await;
    }
    let times: Vec<_> = bench.log().await.iter().map(stored_at).collect();
    assert!(times.is_sorted(), "{times:?}");
    let newest = noon + Duration::from_secs(20);
    assert_eq!(times.last(), Some(&newest), "{times:?}");
    assert_eq!(times[0], noon + Duration::from_secs(10));
}

/// A stored batch and its transaction survive after every handle is closed and the storage is restarted.
pub async fn an_append_survives_the_last_handle(h: &impl EngineHarness) {
    let bench = EngineBench::new(h).await;
    let mut with = Transaction::new();
    with.add(number(), 1);
    let appended = bench.append_with(&Draft::many("e", 3), Atomicity::Each, &with).await;
    assert!(matches!(appended, Appended::Done(_)), "{appended:?}");
    let before = bench.state().await;
    let bench = bench.reopened().await;
    assert_eq!(bench.ids().await, ["e-0", "e-1", "e-2"]);
    let known = bench.engine.locate(bench.partition, &["e-2"]).await.unwrap();
    assert_eq!(known, [Some(IdState::Stored(before.head))]);
    assert_eq!(bench.row(&number()).await, Some(b"1".to_vec()));
    assert_eq!(bench.state().await, before);
}
