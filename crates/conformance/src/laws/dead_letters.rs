//! Laws of dead letters: finding, redriving and closing them.

use std::{sync::Arc, time::Duration};

use domain::{
    DeliveryOptions, Entity, Event, Filter, Priority, TypePattern,
    dead_letter::{DeadLetter, DeadLetterState, LetterEdit, NewDeadLetter},
    group::{GroupKey, GroupSpec, Key, LaneOrigin, MAX_LANE_REFERENCES, segment_of},
    ordering::KeySource,
    ports::{AppendOutcome, Clock as _, DeadLetterChange, DeadLetterCount, DeadLetterQuery, SegmentCommit},
};

use super::{
    append::ODD,
    support::{batch, given_up, keep_newest, row, seen, spec},
};
use crate::{Bench, Draft, Harness, Stores};

use DeadLetterState::{Discarded, Handled, Open, Redriving};

fn ids(letters: &[DeadLetter]) -> Vec<String> {
    letters.iter().map(|letter| letter.id.clone()).collect()
}

fn states(letters: &[DeadLetter]) -> Vec<DeadLetterState> {
    letters.iter().map(|letter| letter.state).collect()
}

async fn found(store: &dyn Stores, query: DeadLetterQuery) -> Vec<String> {
    let letters = store.dead_letters(&DeadLetterQuery { limit: 100, ..query }).await.unwrap();
    letters.iter().map(|letter| letter.event.id().to_owned()).collect()
}

/// The list is sorted by creation time, oldest first, and then by id. It contains each dead letter once, at every page
/// size and through every handle.
pub async fn dead_letters_are_listed_oldest_first_over_pages(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let positions = bench.store_all(&Draft::many("e", 12)).await;
    bench.make_group(&spec("g", 1), 0).await;
    let lease = bench.only("g", "c").await;
    // The dead letters are created in reverse log order, four at a time.
    for chunk in positions.rchunks(4) {
        bench.clock.advance(Duration::from_secs(1));
        let dead_letters = chunk.iter().map(|position| given_up(&bench, *position)).collect();
        bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(lease.clone(), 12, 12) }).await;
    }
    let letters = bench.letters().await;
    assert_eq!(letters.len(), 12);
    assert!(letters.is_sorted_by(|one, other| (one.created_at, &one.id) < (other.created_at, &other.id)));
    assert!(letters[..4].iter().all(|letter| letter.position.sequence > 8), "{letters:?}");
    for limit in [1, 2, 5, 12, 13] {
        let store = bench.storage.open().await;
        let mut read: Vec<DeadLetter> = Vec::new();
        loop {
            let after = read.last().map(|letter| letter.id.clone());
            let query = DeadLetterQuery { after, limit, ..DeadLetterQuery::default() };
            let page = store.dead_letters(&query).await.unwrap();
            assert!(page.len() <= limit, "{} in a page of {limit}", page.len());
            if page.is_empty() {
                break;
            }
            read.extend(page);
            assert!(read.len() <= letters.len(), "more than there are, in pages of {limit}");
        }
        assert_eq!(ids(&read), ids(&letters), "in pages of {limit}");
    }
}

/// Ids are UUIDs of version 7, and sort by creation time.
pub async fn ids_of_dead_letters_sort_as_they_were_made(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (_, letters) = bench.dead_letters_for(&Draft::many("e", 20)).await;
    let events: Vec<&str> = letters.iter().map(|letter| letter.event.id()).collect();
    assert_eq!(events, Vec::from_iter((0..20).map(|n| format!("e-{n}"))));
    let ids = ids(&letters);
    assert!(ids.is_sorted_by(|one, other| one < other), "{ids:?}");
    for id in &ids {
        let parts: Vec<&str> = id.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id}");
        let is_digit = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        assert!(parts.iter().all(|part| part.chars().all(is_digit)), "{id}");
        assert!(parts[2].starts_with('7') && parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
    }
}

/// A page after a purged dead letter continues behind its place.
pub async fn a_page_goes_on_behind_a_letter_that_was_purged(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (_, letters) = bench.dead_letters_for(&Draft::many("e", 6)).await;
    let gone = [0, 2, 3, 5].map(|n: usize| letters[n].id.clone());
    bench.store.discard(&gone, "no").await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.store.purge_dead_letters(bench.clock.now()).await.unwrap(), 4);
    for (n, letter) in letters.iter().enumerate() {
        let left: Vec<String> =
            [1, 4].into_iter().filter(|other| *other > n).map(|n| format!("e-{n}")).collect();
        for query in [
            DeadLetterQuery::default(),
            DeadLetterQuery { group: Some("g".to_owned()), states: vec![Open], ..DeadLetterQuery::default() },
        ] {
            let query = DeadLetterQuery { after: Some(letter.id.clone()), ..query };
            let store = bench.storage.open().await;
            assert_eq!(found(&*store, query.clone()).await, left, "after e-{n}: {query:?}");
        }
    }
}

/// A query selects by group, fingerprint, state and a filter of the event. All parts must match.
pub async fn dead_letters_match_every_part_of_a_query(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let event = |n: usize| {
        let draft = Draft::new(&format!("e-{n}")).of_type(["a.b", "c"][n % 2]);
        draft.with("userId", format!("u{}", n % 3)).event()
    };
    let positions = bench.store_all(&Vec::from_iter((0..6).map(event))).await;
    for (group, made) in [("g", 0..4), ("h", 3..6)] {
        bench.make_group(&spec(group, 1), 0).await;
        let lease = bench.only(group, "c").await;
        let of =
            |n: usize| NewDeadLetter { fingerprint: format!("f{}", n / 2), ..given_up(&bench, positions[n]) };
        for n in made {
            let dead_letters = vec![of(n)];
            bench.clock.advance(Duration::from_secs(1));
            bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(lease.clone(), 0, 0) }).await;
        }
    }
    let letters = bench.letters().await;
    bench.store.discard(&[letters[0].id.clone(), letters[4].id.clone()], "no").await.unwrap();
    bench.store.redrive(&[letters[1].id.clone()]).await.unwrap();
    let store = &*bench.storage.open().await;
    let of_group = |group: &str| Some(group.to_owned());
    let prints = |prints: &[&str]| prints.iter().map(|print| (*print).to_owned()).collect();
    let filter = |filter: Filter| Arc::new(filter);
    let user = |id: &str| filter(Filter::of_entity(Entity::new("user", id)));
    let types = |pattern: &str| Filter { types: vec![TypePattern::new(pattern)], ..Filter::default() };
    let any = DeadLetterQuery::default();
    for (query, expected) in [
        (any.clone(), &["e-0", "e-1", "e-2", "e-3", "e-3", "e-4", "e-5"][..]),
        (DeadLetterQuery { group: of_group("g"), ..any.clone() }, &["e-0", "e-1", "e-2", "e-3"]),
        (DeadLetterQuery { group: of_group("G"), ..any.clone() }, &[]),
        (
            DeadLetterQuery { fingerprints: prints(&["f0", "f2", "x"]), ..any.clone() },
            &["e-0", "e-1", "e-4", "e-5"],
        ),
        (DeadLetterQuery { states: vec![Open], ..any.clone() }, &["e-2", "e-3", "e-4", "e-5"]),
        (DeadLetterQuery { states: vec![Discarded, Redriving], ..any.clone() }, &["e-0", "e-1", "e-3"]),
        (DeadLetterQuery { states: vec![Handled], ..any.clone() }, &[]),
        (DeadLetterQuery { filter: user("u1"), ..any.clone() }, &["e-1", "e-4"]),
        (DeadLetterQuery { filter: filter(types("a.*")), ..any.clone() }, &["e-0", "e-2", "e-4"]),
        (
            DeadLetterQuery {
                group: of_group("h"),
                fingerprints: prints(&["f1", "f2"]),
                states: vec![Open],
                filter: filter(types("c")),
                ..any.clone()
            },
            &["e-5"],
        ),
    ] {
        assert_eq!(found(store, query.clone()).await, expected, "{query:?}");
    }
}

/// Dead letters are found by id. Unknown ids are left out.
pub async fn dead_letters_are_found_by_id(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (_, letters) = bench.dead_letters_for(&Draft::many("e", 3)).await;
    let asked = [letters[2].id.clone(), "unknown".to_owned(), letters[0].id.clone(), String::new()];
    let mut read = bench.storage.open().await.dead_letters_by_id(&asked).await.unwrap();
    read.sort_by_key(|letter| letter.created_at);
    let expected = [&letters[0], &letters[2]].map(seen);
    assert_eq!(read.iter().map(seen).collect::<Vec<_>>(), expected);
    assert!(bench.store.dead_letters_by_id(&[]).await.unwrap().is_empty());
}

/// Groups, fingerprints, replays and failures of any text are returned unchanged. The event keeps its ordering key and
/// its delivery options.
pub async fn a_dead_letter_keeps_every_text_and_delivery_option(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let options = DeliveryOptions {
        priority: Priority::High,
        expires_at: Some(bench.clock.now()),
        retries: Some(7),
        reports_error: true,
    };
    let event = Draft::new("e").with("userId", "u").with("correlationId", "c").event();
    let event = event.with_key_source(KeySource::Correlation).with_options(options);
    let position = bench.store_all(std::slice::from_ref(&event)).await[0];
    for name in ODD {
        bench.make_group(&spec(name, 1), 0).await;
        let lease = bench.only(name, "c").await;
        let new = NewDeadLetter {
            replay_id: Some((*name).to_owned()),
            fingerprint: (*name).to_owned(),
            failure: super::support::failure(&bench, name),
            ..given_up(&bench, position)
        };
        let dead_letters = vec![new.clone()];
        bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(lease, 1, 1) }).await;
        let query = DeadLetterQuery {
            group: Some((*name).to_owned()),
            fingerprints: [(*name).to_owned()].into(),
            limit: 9,
            ..DeadLetterQuery::default()
        };
        let read = bench.storage.open().await.dead_letters(&query).await.unwrap();
        let [letter] = &read[..] else { panic!("{name:?}: {read:?}") };
        assert_eq!(
            (&letter.group, &letter.fingerprint, &letter.history),
            (&new.fingerprint, &new.fingerprint, &vec![new.failure])
        );
        assert_eq!(letter.replay_id, new.replay_id);
        assert_eq!((letter.event.json(), letter.event.options()), (event.json(), options));
        assert_eq!(letter.event.ordering_key(), bench.all(Filter::default()).await[0].event.ordering_key());
        assert!(bench.is_a_part || letter.event.ordering_key().to_string() == "correlation=c");
    }
    assert_eq!(bench.letters().await.len(), ODD.len());
}

/// A redrive sets open dead letters to redriving. It adds one reference for each to the lane (replay queue) of the
/// segment of its key. Dead letters in other states are not added again.
pub async fn redrive_queues_each_open_letter_once(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let event = |n: usize| {
        let draft = Draft::new(&format!("e-{n}")).with("userId", "u").with("labId", format!("l{n}"));
        draft.event().with_key_source(KeySource::Entity(0))
    };
    let events: Vec<Event> = (0..8).map(event).collect();
    let positions = bench.store_all(&events).await;
    for (group, key) in [("own", GroupKey::Event), ("lab", GroupKey::Entity("lab".to_owned()))] {
        if bench.is_a_part && key != GroupKey::Event {
            // Several partitions support no other ordering key.
            continue;
        }
        let spec = GroupSpec { key, ..spec(group, 8) };
        bench.make_group(&spec, 0).await;
        let lease = bench.lease(group, "c").await.held[0].clone();
        let dead_letters = positions.iter().map(|position| given_up(&bench, *position)).collect();
        bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(lease, 8, 8) }).await;
        let query =
            DeadLetterQuery { group: Some(group.to_owned()), limit: 100, ..DeadLetterQuery::default() };
        let letters = bench.store.dead_letters(&query).await.unwrap();
        bench.store.discard(&[letters[0].id.clone()], "no").await.unwrap();
        bench.clock.advance(Duration::from_secs(1));
        let mut asked = ids(&letters);
        asked.extend(["unknown".to_owned(), letters[1].id.clone()]);
        let mut expected = vec![DeadLetterChange::Unchanged(Discarded)];
        expected.extend([DeadLetterChange::Done; 7]);
        expected.extend([DeadLetterChange::Unknown, DeadLetterChange::Unchanged(Redriving)]);
        assert_eq!(bench.store.redrive(&asked).await.unwrap(), expected);
        let again = bench.storage.open().await.redrive(&ids(&letters)[1..]).await.unwrap();
        assert_eq!(again, [DeadLetterChange::Unchanged(Redriving); 7]);
        for letter in &letters[1..] {
            let segment = segment_of(&spec.key.of(&letter.event), 0, 1, 8);
            let lane = bench.lane_of(group, segment).await;
            let origin = LaneOrigin::Redrive { dead_letter: letter.id.clone() };
            let of_it: Vec<_> = lane.iter().filter(|batch| batch.origin == origin).collect();
            assert_eq!(of_it.len(), 1, "{letter:?} in {lane:?}");
            assert_eq!(of_it[0].positions, [letter.position.sequence]);
        }
        let lane: u64 = bench.status(group).await.segments.iter().map(|segment| segment.lane).sum();
        assert_eq!(lane, 7);
        let after = bench.store.dead_letters(&query).await.unwrap();
        assert!(after[1..].iter().all(|it| it.state == Redriving && it.updated_at == bench.clock.now()));
    }
}

/// A full lane accepts redrives and releases.
pub async fn redrive_takes_no_notice_of_the_lanes_bound(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (_, letters) = bench.dead_letters_for(&Draft::many("e", 2)).await;
    bench.replay("r").await;
    let full: Vec<u64> = (0..MAX_LANE_REFERENCES as u64).collect();
    bench.queue(&[batch("g", 0, "r", 0, &full)]).await;
    assert_eq!(bench.store.redrive(&ids(&letters)).await.unwrap(), [DeadLetterChange::Done; 2]);
    assert_eq!(bench.lane_of("g", 0).await.len(), 3);
}

/// Concurrent callers that redrive the same dead letters add each of them to the lane once.
pub async fn four_redrives_at_once_queue_once(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (_, letters) = bench.dead_letters_for(&Draft::many("e", 10)).await;
    let mut callers = tokio::task::JoinSet::new();
    for store in bench.handles(4).await {
        let ids = ids(&letters);
        callers.spawn(async move {
            let mut done = 0;
            for id in ids {
                done += usize::from(store.redrive(&[id]).await.unwrap() == [DeadLetterChange::Done]);
            }
            done
        });
    }
    assert_eq!(callers.join_all().await.iter().sum::<usize>(), 10);
    assert_eq!(bench.lane_of("g", 0).await.len(), 10);
}

/// A discard closes an open dead letter with the reason. A key that is parked behind it is released through the lane of
/// its segment. Dead letters in other states stay unchanged.
pub async fn discard_closes_with_a_reason_and_releases_a_parked_key(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, letters) = bench.dead_letters_for(&Draft::many("e", 4)).await;
    let parked = NewDeadLetter { parked: true, ..given_up(&bench, letters[1].position) };
    let mut waits = row(Key::new("event", "e-1"), 2, &bench);
    waits.due = None;
    let commit =
        SegmentCommit { dead_letters: vec![parked], blocked: vec![waits], ..SegmentCommit::new(lease, 4, 4) };
    bench.commit_ok(commit).await;
    bench.store.redrive(&[letters[2].id.clone()]).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    let mut asked = ids(&letters[..3]);
    asked.extend(["unknown".to_owned(), letters[0].id.clone()]);
    let reason = "\u{202e}'\r\n";
    let changes = bench.storage.open().await.discard(&asked, reason).await.unwrap();
    use DeadLetterChange::{Done, Unchanged, Unknown};
    assert_eq!(changes, [Done, Done, Unchanged(Redriving), Unknown, Unchanged(Discarded)]);
    assert_eq!(bench.store.discard(&asked[..1], "again").await.unwrap(), [Unchanged(Discarded)]);
    let after = bench.letters().await;
    assert_eq!(states(&after), [Discarded, Discarded, Redriving, Open]);
    assert_eq!((after[0].reason.as_deref(), after[2].reason.as_deref()), (Some(reason), None));
    assert_eq!(after[0].updated_at, bench.clock.now());
    let lane = bench.lane_of("g", 0).await;
    let of = |id: &String| LaneOrigin::Discarded { dead_letter: id.clone() };
    let released: Vec<_> =
        lane.iter().filter(|batch| matches!(batch.origin, LaneOrigin::Discarded { .. })).collect();
    assert_eq!(released.len(), 1, "{lane:?}");
    assert_eq!((&released[0].origin, released[0].positions.as_slice()), (&of(&letters[1].id), &[2][..]));
}

/// A dead letter of a deleted group can be discarded. It cannot be redriven, because no consumer could handle it.
pub async fn letters_of_a_deleted_group_are_discarded_and_not_redriven(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, letters) = bench.dead_letters_for(&Draft::many("e", 2)).await;
    let parked = NewDeadLetter { parked: true, ..given_up(&bench, letters[0].position) };
    bench.commit_ok(SegmentCommit { dead_letters: vec![parked], ..SegmentCommit::new(lease, 2, 2) }).await;
    bench.store.delete_group("g").await.unwrap();
    let changes = bench.storage.open().await.redrive(&ids(&letters)).await.unwrap();
    assert_eq!(changes, [DeadLetterChange::NoGroup; 2]);
    assert_eq!(states(&bench.letters().await), [Open; 2]);
    assert_eq!(bench.store.discard(&ids(&letters), "no").await.unwrap(), [DeadLetterChange::Done; 2]);
    assert_eq!(states(&bench.letters().await), [Discarded; 2]);
}

/// Dead letters are counted by group and state, with the creation time of the oldest.
pub async fn dead_letters_are_counted_by_group_and_state(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    assert_eq!(bench.store.count_dead_letters().await.unwrap(), []);
    let (_, letters) = bench.dead_letters_for(&Draft::many("e", 5)).await;
    bench.make_group(&spec("h", 1), 0).await;
    let other = bench.only("h", "c").await;
    let dead_letters = vec![given_up(&bench, letters[3].position)];
    bench.clock.advance(Duration::from_secs(1));
    let made = bench.clock.now();
    bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(other, 5, 5) }).await;
    bench.store.discard(&ids(&letters[1..2]), "no").await.unwrap();
    bench.store.redrive(&ids(&letters[..1])).await.unwrap();
    let mut counts = bench.storage.open().await.count_dead_letters().await.unwrap();
    counts.sort_by_key(|it| (it.group.clone(), it.count, it.oldest));
    let of =
        |group: &str, state, count, oldest| DeadLetterCount { group: group.to_owned(), state, count, oldest };
    let expected = [
        of("g", Redriving, 1, letters[0].created_at),
        of("g", Discarded, 1, letters[1].created_at),
        of("g", Open, 3, letters[2].created_at),
        of("h", Open, 1, made),
    ];
    assert_eq!(counts, expected);
}

/// A purge removes exactly the dead letters that were closed before an instant. The creation time does not matter.
pub async fn purging_removes_what_was_closed_before(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, letters) = bench.dead_letters_for(&Draft::many("e", 5)).await;
    let ids = ids(&letters);
    bench.store.redrive(&ids[..2]).await.unwrap();
    bench.clock.advance(Duration::from_secs(10));
    bench.store.discard(&ids[2..3], "no").await.unwrap();
    let handled_dead_letters = vec![ids[0].clone()];
    bench.commit_ok(SegmentCommit { handled_dead_letters, ..SegmentCommit::new(lease, 5, 5) }).await;
    let closed = bench.clock.now();
    bench.clock.advance(Duration::from_secs(10));
    bench.store.discard(&ids[3..4], "no").await.unwrap();
    assert_eq!(bench.store.purge_dead_letters(closed).await.unwrap(), 0, "they were closed then, not before");
    let after = closed + Duration::from_secs(1);
    assert_eq!(bench.storage.open().await.purge_dead_letters(after).await.unwrap(), 2);
    assert_eq!(states(&bench.letters().await), [Redriving, Discarded, Open]);
    let all = bench.clock.now() + Duration::from_secs(1_000_000);
    assert_eq!(bench.store.purge_dead_letters(all).await.unwrap(), 1);
    assert_eq!(states(&bench.letters().await), [Redriving, Open]);
}

/// A dead letter keeps its event when the log is trimmed, and can still be redriven.
pub async fn the_event_of_a_dead_letter_outlives_a_trim(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (lease, before) = bench.dead_letters_for(&Draft::many("e", 2)).await;
    bench.commit_ok(SegmentCommit::new(lease, 2, 2)).await;
    assert_eq!(bench.trim(&keep_newest(0)).await.events, 2);
    let after = bench.letters().await;
    assert_eq!(after.iter().map(seen).collect::<Vec<_>>(), Vec::from_iter(before.iter().map(seen)));
    assert_eq!(after[0].event.json(), Draft::new("e-0").json());
    let user = DeadLetterQuery {
        filter: Arc::new(Filter { event_ids: ["e-1".to_owned()].into(), ..Filter::default() }),
        ..DeadLetterQuery::default()
    };
    assert_eq!(found(&*bench.store, user).await, ["e-1"]);
    assert_eq!(bench.store.redrive(&ids(&after)).await.unwrap(), [DeadLetterChange::Done; 2]);
    assert_eq!(bench.lane_of("g", 0).await.len(), 2);
}

/// Erasing an entity removes the dead letters whose events name it, even if the log had already lost the events. Their
/// ids are then refused. Other dead letters stay.
pub async fn the_event_of_a_dead_letter_goes_with_its_entity(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let event = |n: usize, user: &str| Draft::new(&format!("e-{n}")).with("userId", user).event();
    let events = [event(0, "x"), event(1, "y"), event(2, "x")];
    let (lease, letters) = bench.dead_letters_for(&events).await;
    bench.commit_ok(SegmentCommit::new(lease, 3, 3)).await;
    assert_eq!(bench.trim(&keep_newest(2)).await.events, 1);
    bench.erase("user", "x").await;
    let left = bench.letters().await;
    assert_eq!(left.iter().map(seen).collect::<Vec<_>>(), [seen(&letters[1])]);
    assert_eq!(bench.store.redrive(&ids(&letters[..1])).await.unwrap(), [DeadLetterChange::Unknown]);
    let counts = bench.store.count_dead_letters().await.unwrap();
    assert_eq!(counts.iter().map(|it| it.count).sum::<u64>(), 1);
    let outcomes = bench.append(&events).await;
    assert!(
        matches!(
            outcomes[..],
            [AppendOutcome::Erased, AppendOutcome::AlreadyStored(_), AppendOutcome::Erased]
        ),
        "{outcomes:?}"
    );
    bench.verify_is_clean().await;
}

/// Every handle reads each member of an edited event beside the original event.
pub async fn an_edit_is_kept_beside_the_event_of_its_letter(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (id, original) = one_open(&bench).await;
    for odd in ODD {
        let event = Draft::new(original.id()).with("note", *odd).event();
        let edit =
            LetterEdit { event, by: odd.to_string(), at: bench.clock.now(), reason: Some(odd.to_string()) };
        bench.clock.advance(Duration::from_secs(1));
        assert_eq!(bench.store.edit(&id, Some(&edit)).await.unwrap(), DeadLetterChange::Done);
        let other = bench.storage.open().await;
        let letter = other.dead_letters_by_id(std::slice::from_ref(&id)).await.unwrap().remove(0);
        let kept = letter.edit.as_ref().unwrap();
        assert_eq!(
            (kept.event.json(), &kept.by, kept.at, &kept.reason),
            (edit.event.json(), &edit.by, edit.at, &edit.reason)
        );
        assert_eq!(letter.event.json(), original.json());
        assert_eq!((letter.state, letter.updated_at), (Open, bench.clock.now()));
        bench.verify_is_clean().await;
    }
    assert_eq!(bench.store.edit(&id, None).await.unwrap(), DeadLetterChange::Done);
    assert!(bench.letters().await[0].edit.is_none());
    assert_eq!(bench.store.edit("no", None).await.unwrap(), DeadLetterChange::Unknown);
    bench.verify_is_clean().await;
}

/// A dead letter that is redriven or closed keeps its edit unchanged. A dead letter that fails again keeps its edit as
/// well.
pub async fn an_edit_stays_through_a_redrive_and_goes_with_its_letter(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (id, original) = one_open(&bench).await;
    let event = Draft::new(original.id()).with("note", "edited").event();
    let edit = LetterEdit { event, by: "ann".to_owned(), at: bench.clock.now(), reason: None };
    bench.store.edit(&id, Some(&edit)).await.unwrap();
    bench.store.redrive(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(bench.store.edit(&id, None).await.unwrap(), DeadLetterChange::Unchanged(Redriving));
    let letter = bench.letters().await.remove(0);
    assert_eq!(letter.redriven_event().json(), edit.event.json());
    let lease = bench.only("g", "c").await;
    let again = given_up(&bench, letter.position);
    bench.commit_ok(SegmentCommit { dead_letters: vec![again], ..SegmentCommit::new(lease, 1, 1) }).await;
    let letter = bench.letters().await.remove(0);
    assert_eq!((letter.state, letter.edit.is_some()), (Open, true));
    bench.store.discard(std::slice::from_ref(&id), "no").await.unwrap();
    assert_eq!(bench.store.edit(&id, None).await.unwrap(), DeadLetterChange::Unchanged(Discarded));
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(bench.store.purge_dead_letters(bench.clock.now()).await.unwrap(), 1);
    bench.verify_is_clean().await;
}

/// A restore opens only discarded dead letters. A restored dead letter can be redriven.
pub async fn restoring_opens_discarded_letters_alone(h: &impl Harness) {
    let bench = Bench::of_one_partition(h).await;
    let (id, _) = one_open(&bench).await;
    assert_eq!(
        bench.store.restore(std::slice::from_ref(&id)).await.unwrap(),
        [DeadLetterChange::Unchanged(Open)]
    );
    bench.store.discard(std::slice::from_ref(&id), "mistaken").await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    let both = [id.clone(), "no".to_owned()];
    assert_eq!(
        bench.store.restore(&both).await.unwrap(),
        [DeadLetterChange::Done, DeadLetterChange::Unknown]
    );
    let letter = bench.letters().await.remove(0);
    assert_eq!((letter.state, letter.reason, letter.parked), (Open, None, false));
    assert_eq!(letter.updated_at, bench.clock.now());
    bench.verify_is_clean().await;
    assert_eq!(bench.store.redrive(&[id]).await.unwrap(), [DeadLetterChange::Done]);
    bench.verify_is_clean().await;
}

/// Creates an open dead letter in a group of one segment. Returns its id and its event.
async fn one_open(bench: &Bench) -> (String, Event) {
    let positions = bench.store_all(&Draft::many("e", 1)).await;
    bench.make_group(&spec("g", 1), 0).await;
    let lease = bench.only("g", "c").await;
    let dead_letters = vec![given_up(bench, positions[0])];
    bench.commit_ok(SegmentCommit { dead_letters, ..SegmentCommit::new(lease, 1, 1) }).await;
    let letter = bench.letters().await.remove(0);
    (letter.id, letter.event)
}
