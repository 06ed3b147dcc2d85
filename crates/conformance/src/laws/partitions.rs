//! Laws of a partitioned log, about calls that cover several partitions. A log of one partition satisfies them as well.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use domain::{
    Checkpoint, Cursor, Entity, Event, Filter, Position, StoredEvent,
    dead_letter::{DeadLetter, DeadLetterState},
    group::{FORGOTTEN_AFTER, Gap, GroupKey, GroupSpec, LaneOrigin, fair_share, partition_of, segment_of},
    ordering::{KeySource, OrderingKey},
    ports::{
        AppendOutcome, Atomicity, Clock as _, CommitOutcome, DeadLetterChange, DeadLetterQuery,
        EnqueueOutcome, GroupStoreError, Order, ReadRequest, ReplayCommand, ReplayState, ReplayUpdate,
        SegmentCommit, TrimRequest,
    },
};

use super::support::{LONG, batch, given_up, keep_newest, progress, rise, spec, token};
use crate::{Bench, Draft, Harness, walk};

/// Returns an event of a user, with the user as ordering key.
fn of_user(id: &str, user: &str) -> Event {
    Draft::new(id).with("userId", user).event().with_key_source(KeySource::Entity(0))
}

/// Stores about twelve events for each partition, each with its own ordering key. Returns their positions.
async fn spread(bench: &Bench) -> Vec<Position> {
    bench.store_all(&Draft::many("e", 12 * usize::from(bench.partitions))).await
}

/// Groups positions by partition, in their order.
fn by_partition(positions: &[Position]) -> BTreeMap<u16, Vec<Position>> {
    let mut parts: BTreeMap<u16, Vec<Position>> = BTreeMap::new();
    for position in positions {
        parts.entry(position.partition).or_default().push(*position);
    }
    parts
}

/// The events of a key are in one partition, in the order of their appends. Only the key determines the partition.
pub async fn events_of_a_key_lie_in_one_partition_in_their_order(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let mut positions = Vec::new();
    for round in 0..5 {
        let batch: Vec<Event> =
            (0..40).map(|n| of_user(&format!("e{round}-{n}"), &format!("u{}", n % 20))).collect();
        for outcome in bench.append(&batch).await {
            let AppendOutcome::Stored(at) = outcome else { panic!("{outcome:?}") };
            positions.push(at);
        }
    }
    assert!(rise(&positions), "{positions:?}");
    for user in 0..20 {
        let id = format!("u{user}");
        let partition = partition_of(&OrderingKey { kind: "user", id: &id }, bench.partitions);
        let expected: Vec<Position> = positions.iter().copied().skip(user).step_by(20).collect();
        assert!(expected.iter().all(|at| at.partition == partition), "{id}: {expected:?}");
        let found = bench.all(Filter::of_entity(Entity::new("user", &*id))).await;
        assert_eq!(found.iter().map(|stored| stored.position).collect::<Vec<_>>(), expected, "{id}");
    }
    let used: BTreeSet<u16> = positions.iter().map(|at| at.partition).collect();
    assert!(used.len() * 2 > usize::from(bench.partitions).min(20), "keys are spread: {used:?}");
}

fn in_log_order(events: &[StoredEvent]) -> bool {
    events.is_sorted_by_key(|stored| (stored.stored_at, stored.position))
}

/// The log has one order: by stored time, then by partition. Reads keep this order for any page size and when they
/// continue behind a page. A read in reverse order returns the reverse.
pub async fn pages_merge_partitions_by_when_events_were_stored(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for round in 0..8 {
        // Some events have the same stored time, and some a later one.
        bench.append(&Draft::many(&format!("r{round}"), 11)).await;
        if round % 3 == 0 {
            bench.clock.advance(Duration::from_millis(round));
        }
    }
    let mark = bench.store.head().await.unwrap();
    bench.append(&Draft::many("later", 5)).await;
    let of_type = Filter { types: vec![domain::TypePattern::new("user.*")], ..Filter::default() };
    for filter in [Filter::default(), of_type].map(Arc::new) {
        let all = walk(&*bench.store, &filter, Order::OldestFirst, 1_000, Some(mark.clone())).await;
        assert_eq!(all.len(), 88);
        assert!(in_log_order(&all), "{all:?}");
        let mut expected: Vec<Position> = all.iter().map(|stored| stored.position).collect();
        for order in [Order::OldestFirst, Order::NewestFirst] {
            for limit in (1..=9).chain([40, 87, 88, 89]) {
                let mut request = ReadRequest {
                    order,
                    until: Some(mark.clone()),
                    ..ReadRequest::new(filter.clone(), limit)
                };
                let mut read = Vec::new();
                loop {
                    // A different process reads each page.
                    let store = bench.storage.open().await;
                    let page = store.read(&request).await.unwrap();
                    assert!(page.events.len() <= limit, "{} in a page of {limit}", page.events.len());
                    read.extend(page.events.iter().map(|stored| stored.position));
                    let Some(next) = page.next else { break };
                    request.after = Some(next);
                }
                assert_eq!(read, expected, "{order:?} in pages of {limit}");
            }
            expected.reverse();
        }
    }
}

/// A reader that follows the head from any cursor gets each event once, in whichever partition events arrive.
pub async fn a_reader_behind_any_cursor_misses_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = spread(&bench).await;
    let head = bench.store.head().await.unwrap();
    let mut rng = fastrand::Rng::with_seed(5);
    for _ in 0..20 {
        let sequences = head.sequences.iter().map(|head| rng.u64(..=*head)).collect();
        let after = Cursor { sequences, ..head.clone() };
        let expected: BTreeSet<Position> =
            positions.iter().copied().filter(|at| !after.covers(*at)).collect();
        for limit in [1, 5, 1_000] {
            let mut request =
                ReadRequest { after: Some(after.clone()), ..ReadRequest::new(Filter::default(), limit) };
            let mut read = Vec::new();
            loop {
                let page = bench.store.read(&request).await.unwrap();
                read.extend(page.events.iter().map(|stored| stored.position));
                let Some(next) = page.next else { break };
                request.after = Some(next);
            }
            assert_eq!(read.len(), expected.len(), "after {after:?}");
            assert_eq!(BTreeSet::from_iter(read), expected, "after {after:?}");
        }
        let until = Some(after.clone());
        let before = walk(&*bench.store, &Arc::default(), Order::OldestFirst, 7, until).await;
        assert_eq!(before.len(), positions.len() - expected.len());
        let counted = bench.store.count(&Arc::default(), Some(&after)).await.unwrap();
        assert_eq!(counted, before.len() as u64);
    }
}

/// One refused event refuses an all-or-nothing batch of many keys. No partition stores anything of the batch.
pub async fn a_batch_of_many_keys_is_all_or_nothing(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let known = bench.store_all(&[Draft::new("known").event()]).await[0];
    let before = bench.store.info().await.unwrap();
    let mut batch = Draft::many("e", 40);
    batch.insert(17, Draft::new("known").with("data", "other").event());
    let outcomes = bench.store.append(&batch, Atomicity::AllOrNothing).await.unwrap();
    assert_eq!(outcomes.len(), 41);
    assert_eq!(outcomes[17], AppendOutcome::Conflict(known));
    let others = outcomes.iter().filter(|outcome| **outcome == AppendOutcome::NotStored);
    assert_eq!(others.count(), 40, "{outcomes:?}");
    assert_eq!(bench.store.info().await.unwrap(), before);
    batch.remove(17);
    let outcomes = bench.store.append(&batch, Atomicity::AllOrNothing).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
}

/// A group has the same number of segments in each partition, and in total at least the requested number. A repeated
/// creation with the same number finds the group. The events of a key belong to a segment in their partition.
pub async fn a_group_has_segments_in_every_partition(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = spread(&bench).await;
    for asked in [1, 5, 16, 100] {
        let name = format!("g{asked}");
        let made = bench.store.create_group(&spec(&name, asked), &bench.start().await).await.unwrap();
        let segments = made.spec.segments;
        assert!(segments >= asked && segments < asked + bench.partitions, "{asked} are {segments}");
        assert_eq!(segments % bench.partitions, 0);
        let again = bench.storage.open().await;
        assert_eq!(again.create_group(&spec(&name, asked), &bench.start().await).await.unwrap(), made);
        let refused = again.create_group(&spec(&name, segments + 1), &bench.start().await).await;
        assert!(matches!(refused, Err(GroupStoreError::Differs { .. })), "{refused:?}");
        let status = bench.status(&name).await;
        assert_eq!(status.record, made);
        let places: Vec<(u16, u16)> = status.segments.iter().map(|it| (it.segment, it.partition)).collect();
        assert_eq!(
            places,
            Vec::from_iter((0..segments).map(|segment| (segment, segment % bench.partitions)))
        );
        for stored in bench.all(Filter::default()).await {
            let partition = stored.position.partition;
            let segment = segment_of(&stored.event.ordering_key(), partition, bench.partitions, segments);
            assert_eq!(places[usize::from(segment)], (segment, partition));
        }
    }
    assert_eq!(by_partition(&positions).len(), usize::from(bench.partitions));
}

/// In each partition, a consumer's share follows the rule for shares. Over all partitions, the numbers of segments of
/// two consumers differ by at most one.
pub async fn shares_are_even_over_all_partitions(h: &impl Harness) {
    let names: Vec<String> = (0..7).map(|n| format!("c{n}")).collect();
    for (group, segments) in [("few", 1), ("some", 2), ("many", 5)] {
        let bench = Bench::new(h).await;
        let asked = spec(group, segments * bench.partitions);
        let made = bench.store.create_group(&asked, &bench.start().await).await.unwrap().spec;
        assert_eq!(made.segments, asked.segments);
        for consumers in 1..=names.len() {
            let alive = || names[..consumers].iter().map(String::as_str);
            // The newest consumer appears first. Then the others give back its share.
            bench.lease(group, &names[consumers - 1]).await;
            for name in alive() {
                let leases = bench.lease(group, name).await;
                let beyond = leases.held.iter().filter(|lease| leases.surplus.contains(&lease.segment));
                let given: Vec<SegmentCommit> = beyond
                    .map(|lease| SegmentCommit { release: true, ..SegmentCommit::new(lease.clone(), 0, 0) })
                    .collect();
                for outcome in bench.store.commit(&given).await.unwrap() {
                    assert_eq!(outcome, CommitOutcome::Committed);
                }
            }
            let mut totals = Vec::new();
            for name in alive() {
                let leases = bench.lease(group, name).await;
                let here = format!("{name} of {consumers} in {group}: {leases:?}");
                assert_eq!(leases.surplus, [0; 0], "{here}");
                let share = |partition| fair_share(segments, partition, name, alive());
                for partition in 0..bench.partitions {
                    let own = leases.held.iter().filter(|it| it.segment % bench.partitions == partition);
                    assert_eq!(own.count(), usize::from(share(partition)), "in {partition}, {here}");
                }
                let total: u16 = (0..bench.partitions).map(share).sum();
                assert_eq!((leases.share, leases.held.len()), (total, usize::from(total)), "{here}");
                totals.push(total);
            }
            assert_eq!(totals.iter().sum::<u16>(), made.segments);
            let spread = totals.iter().max().unwrap() - totals.iter().min().unwrap();
            assert!(spread <= 1, "{totals:?} of {group}");
        }
    }
}

/// An ordering key that several partitions would have to share is refused with the reason.
pub async fn no_group_keeps_an_order_that_crosses_partitions(h: &impl Harness) {
    let bench = Bench::new(h).await;
    for key in [GroupKey::Correlation, GroupKey::Entity("user".to_owned()), GroupKey::All] {
        let spec = GroupSpec { key, ..spec("g", 4) };
        let answer = bench.store.create_group(&spec, &bench.start().await).await;
        match bench.partitions {
            1 => drop((answer.unwrap(), bench.store.delete_group("g").await.unwrap())),
            partitions => {
                assert_eq!(answer, Err(GroupStoreError::OrderCrossesPartitions { partitions }));
                assert_eq!(bench.store.groups().await.unwrap(), []);
            }
        }
    }
}

/// A group starts, and is reset, at the cursor's position in each partition.
pub async fn a_group_stands_at_its_cursor_in_each_partition(h: &impl Harness) {
    let bench = Bench::new(h).await;
    spread(&bench).await;
    let head = bench.store.head().await.unwrap();
    let part = |n: u64| Cursor {
        sequences: head.sequences.iter().zip(n..).map(|(head, n)| n % (head + 1)).collect(),
        ..head.clone()
    };
    bench.store.create_group(&spec("g", 2 * bench.partitions), &part(3)).await.unwrap();
    for (n, reset) in [(3, false), (7, true), (1, true)] {
        if reset {
            bench.storage.open().await.reset_group("g", &part(n)).await.unwrap();
        }
        let status = bench.status("g").await;
        for segment in &status.segments {
            assert_eq!(segment.cursor, part(n).sequence(segment.partition), "{segment:?} at {:?}", part(n));
        }
        let taken = bench.lease("g", &format!("c{n}")).await.taken;
        assert_eq!(taken.len(), status.segments.len());
        for (_, state) in taken {
            let at = part(n).sequence(state.partition);
            assert_eq!((state.cursor, state.claimed_to), (at, at));
        }
        bench.clock.advance(LONG);
    }
}

/// One call commits to segments of all partitions. Its outcomes are in the order of the commits. A fenced commit does
/// not affect the others.
pub async fn commits_to_all_partitions_are_answered_in_order(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = spread(&bench).await;
    bench.store.create_group(&spec("g", 2 * bench.partitions), &bench.start().await).await.unwrap();
    let held = bench.lease("g", "c").await.held;
    let first = by_partition(&positions);
    let mut rng = fastrand::Rng::with_seed(9);
    let mut commits: Vec<SegmentCommit> = Vec::new();
    let mut expected = Vec::new();
    for lease in &held {
        let mut lease = lease.clone();
        let is_fenced = rng.u32(..3) == 0;
        lease.epoch -= u64::from(is_fenced);
        expected.push(if is_fenced { CommitOutcome::Fenced } else { CommitOutcome::Committed });
        let partition = lease.segment % bench.partitions;
        let dead_letters = vec![given_up(&bench, first[&partition][0])];
        commits.push(SegmentCommit { dead_letters, ..SegmentCommit::new(lease, 1, 2) });
    }
    let mut order: Vec<usize> = (0..commits.len()).collect();
    rng.shuffle(&mut order);
    let commits: Vec<SegmentCommit> = order.iter().map(|at| commits[*at].clone()).collect();
    let outcomes = bench.store.commit(&commits).await.unwrap();
    assert_eq!(outcomes, order.iter().map(|at| expected[*at].clone()).collect::<Vec<_>>());
    let committed: BTreeSet<u16> = commits
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome == CommitOutcome::Committed)
        .map(|(commit, _)| commit.lease.segment)
        .collect();
    for segment in &bench.status("g").await.segments {
        assert_eq!(segment.cursor, u64::from(committed.contains(&segment.segment)), "{segment:?}");
    }
    let letters: BTreeSet<u16> =
        bench.letters().await.iter().map(|letter| letter.position.partition).collect();
    assert_eq!(letters, committed.iter().map(|segment| segment % bench.partitions).collect());
}

/// Creates a group with a dead letter for every event, some at the same instant. Returns them in the order of the list.
async fn letters_everywhere(bench: &Bench) -> Vec<DeadLetter> {
    let positions = spread(bench).await;
    bench.store.create_group(&spec("g", bench.partitions), &bench.start().await).await.unwrap();
    let held = bench.lease("g", "c").await.held;
    for some in positions.chunks(7) {
        let commit = |lease: &domain::group::Lease| {
            let own = some.iter().filter(|at| at.partition == lease.segment % bench.partitions);
            let dead_letters = own.map(|at| given_up(bench, *at)).collect();
            SegmentCommit { dead_letters, ..SegmentCommit::new(lease.clone(), 0, 0) }
        };
        let commits: Vec<SegmentCommit> = held.iter().map(commit).collect();
        bench.store.commit(&commits).await.unwrap();
        bench.clock.advance(Duration::from_secs(1));
    }
    let letters = bench.letters().await;
    assert_eq!(letters.len(), positions.len());
    letters
}

/// Dead letters of all partitions form one list, in pages of any size, even behind a dead letter that was removed. A
/// call about many dead letters returns its results in the order of the request.
pub async fn dead_letters_of_all_partitions_are_one_list(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let letters = letters_everywhere(&bench).await;
    assert!(letters.is_sorted_by(|one, other| (one.created_at, &one.id) < (other.created_at, &other.id)));
    let ids: Vec<String> = letters.iter().map(|letter| letter.id.clone()).collect();
    for limit in [1, 3, 7, 1_000] {
        let mut read: Vec<String> = Vec::new();
        loop {
            let query = DeadLetterQuery { after: read.last().cloned(), limit, ..DeadLetterQuery::default() };
            let page = bench.store.dead_letters(&query).await.unwrap();
            assert!(page.len() <= limit);
            read.extend(page.iter().map(|letter| letter.id.clone()));
            if page.is_empty() {
                break;
            }
        }
        assert_eq!(read, ids, "in pages of {limit}");
    }
    let mut asked = ids.clone();
    asked.reverse();
    asked.insert(3, "unknown".to_owned());
    let found = bench.store.dead_letters_by_id(&asked).await.unwrap();
    let mut expected = ids.clone();
    expected.reverse();
    assert_eq!(found.iter().map(|letter| letter.id.clone()).collect::<Vec<_>>(), expected);

    let changes = bench.store.redrive(&asked).await.unwrap();
    assert_eq!(changes[3], DeadLetterChange::Unknown);
    assert_eq!(changes.iter().filter(|change| **change == DeadLetterChange::Done).count(), ids.len());
    let lanes: u64 = bench.status("g").await.segments.iter().map(|segment| segment.lane).sum();
    assert_eq!(lanes, ids.len() as u64);
    for letter in &letters {
        let partition = letter.position.partition;
        let segment = segment_of(&letter.event.ordering_key(), partition, bench.partitions, bench.partitions);
        let lane = bench.lane_of("g", segment).await;
        let origin = LaneOrigin::Redrive { dead_letter: letter.id.clone() };
        let of_it: Vec<_> = lane.iter().filter(|batch| batch.origin == origin).collect();
        assert_eq!(of_it.len(), 1, "{letter:?} in {lane:?}");
        assert_eq!(of_it[0].positions, [letter.position.sequence]);
    }
    let counts = bench.store.count_dead_letters().await.unwrap();
    let [count] = &counts[..] else { panic!("{counts:?}") };
    assert_eq!((count.state, count.count), (DeadLetterState::Redriving, ids.len() as u64));
    assert_eq!(count.oldest, letters[0].created_at);
}

/// The earliest due events of all partitions come first.
pub async fn what_is_due_comes_earliest_first_from_all_partitions(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let begin = bench.clock.now();
    let mut expected: Vec<String> = Vec::new();
    for n in 0..30_u64 {
        let id = format!("e-{n}");
        let due = begin + Duration::from_secs(1 + n * 7 % 30);
        bench.store.schedule(&Draft::new(&id).event(), due).await.unwrap();
        expected.push(id);
    }
    expected.sort_by_key(|id| id[2..].parse::<u64>().unwrap() * 7 % 30);
    assert_eq!(bench.store.next_due().await.unwrap(), Some(begin + Duration::from_secs(1)));
    let listed = bench.store.scheduled(9).await.unwrap();
    let ids: Vec<_> = listed.iter().map(|waits| waits.event.id().to_owned()).collect();
    assert_eq!(ids, expected[..9]);
    bench.clock.advance(Duration::from_secs(20));
    let mut came = Vec::new();
    loop {
        let appended = bench.store.append_due(6).await.unwrap();
        assert!(appended.len() <= 6);
        if appended.is_empty() {
            break;
        }
        came.extend(appended.into_iter().map(|(id, _)| id));
    }
    assert_eq!(came, expected[..20]);
    assert!(bench.store.cancel_scheduled(&expected[25]).await.unwrap());
    assert_eq!(bench.store.scheduled(100).await.unwrap().len(), 9);
}

/// A runner that lost its replay adds nothing to any lane of any partition. After the end of the replay, no runner
/// does.
pub async fn an_old_runner_is_refused_in_every_partition(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store.create_group(&spec("g", bench.partitions), &bench.start().await).await.unwrap();
    let old = bench.replay("r").await;
    let to_each = |n: u64| (0..bench.partitions).map(move |segment| batch("g", segment, "r", n, &[n + 1]));
    let all: Vec<_> = to_each(0).collect();
    let queued = vec![EnqueueOutcome::Queued; all.len()];
    assert_eq!(bench.store.enqueue(Some(&old), &all).await.unwrap(), queued);
    assert_eq!(bench.store.lease_replay("r", token("r"), LONG).await.unwrap(), Some(old.clone()), "the same");
    bench.clock.advance(2 * LONG);
    let newest = bench.storage.open().await.lease_replay("r", 7, LONG).await.unwrap().unwrap();
    for one in to_each(1) {
        let refused = bench.store.enqueue(Some(&old), std::slice::from_ref(&one)).await;
        assert_eq!(refused, Err(GroupStoreError::RunnerFenced), "{one:?}");
    }
    let all: Vec<_> = to_each(2).collect();
    assert_eq!(bench.store.enqueue(Some(&newest), &all).await.unwrap(), queued);
    assert_eq!(bench.store.lease_replay("r", token("r"), LONG).await.unwrap(), None, "another has it");
    assert_eq!(bench.store.enqueue(Some(&newest), &all).await.unwrap()[0], EnqueueOutcome::AlreadyQueued);
    bench.clock.advance(2 * LONG);
    bench.store.request("r", ReplayCommand::Cancel).await.unwrap();
    for one in to_each(3) {
        let refused = bench.store.enqueue(Some(&newest), std::slice::from_ref(&one)).await;
        assert_eq!(refused, Err(GroupStoreError::RunnerFenced), "the replay is over: {one:?}");
    }
    assert_eq!(bench.store.withdraw("r").await.unwrap(), 2 * u64::from(bench.partitions));
}

/// Results of all partitions are sorted by batch. Settling them or deleting the replay removes them from all
/// partitions.
pub async fn results_come_by_batch_from_all_partitions(h: &impl Harness) {
    let bench = Bench::new(h).await;
    bench.store.create_group(&spec("g", bench.partitions), &bench.start().await).await.unwrap();
    let runner = bench.replay("r").await;
    let batches: Vec<_> = (0..3)
        .flat_map(|n| (0..bench.partitions).map(move |segment| batch("g", segment, "r", n, &[1, 2 + n])))
        .collect();
    bench.store.enqueue(Some(&runner), &batches).await.unwrap();
    let commits: Vec<SegmentCommit> = {
        let mut commits = Vec::new();
        for lease in bench.lease("g", "c").await.held {
            let lane = bench.lane_of("g", lease.segment).await;
            let lane_done = lane.iter().rev().map(|batch| (batch.seq, progress(2, &[0, 1]))).collect();
            commits.push(SegmentCommit { lane_done, ..SegmentCommit::new(lease, 0, 0) });
        }
        commits
    };
    bench.store.commit(&commits).await.unwrap();
    let places = |results: &[domain::group::LaneResult]| -> Vec<(u64, u16)> {
        results.iter().map(|result| (result.batch, result.segment)).collect()
    };
    let expected: Vec<(u64, u16)> =
        (0..3).flat_map(|n| (0..bench.partitions).map(move |segment| (n, segment))).collect();
    for limit in [1, 5, 1_000] {
        let results = bench.store.results("r", limit).await.unwrap();
        assert_eq!(places(&results), expected[..limit.min(expected.len())]);
        assert!(results.iter().all(|result| result.handled == 2));
    }
    let step =
        |state, settled_batches| ReplayUpdate { state, progress: String::new(), hold: None, settled_batches };
    bench.store.update_replay(&runner, &step(ReplayState::Running, 2)).await.unwrap();
    let left = bench.store.results("r", 1_000).await.unwrap();
    assert_eq!(places(&left), expected[2 * usize::from(bench.partitions)..]);
    bench.store.update_replay(&runner, &step(ReplayState::Completed, 2)).await.unwrap();
    assert!(bench.store.delete_replay("r").await.unwrap());
    assert_eq!(bench.store.results("r", 1_000).await.unwrap(), []);
    bench.verify_is_clean().await;
}

/// In each partition, a group holds the events that it has not passed there. Gaps are reported with their partition.
pub async fn a_group_holds_in_each_partition_what_it_has_not_passed_there(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let parts = by_partition(&spread(&bench).await);
    bench.store.create_group(&spec("g", bench.partitions), &bench.start().await).await.unwrap();
    // The segment of partition `n` has passed `n` of its events, but never all of them.
    let passed = |partition: u16| usize::from(partition).min(parts[&partition].len() - 1);
    let commits: Vec<SegmentCommit> = bench
        .lease("g", "c")
        .await
        .held
        .into_iter()
        .map(|lease| {
            let partition = lease.segment % bench.partitions;
            let cursor = match passed(partition) {
                0 => 0,
                some => parts[&partition][some - 1].sequence,
            };
            SegmentCommit::new(lease, cursor, cursor)
        })
        .collect();
    bench.store.commit(&commits).await.unwrap();
    bench.clock.advance(Duration::from_secs(1));
    let rule = domain::RetentionRule { max_age: Some(Duration::ZERO), ..domain::RetentionRule::default() };
    let old = TrimRequest { rule, ..keep_newest(0) };
    let promised = bench.trim(&TrimRequest { dry_run: true, ..old.clone() }).await;
    let trimmed = bench.trim(&old).await;
    assert_eq!(trimmed, promised);
    let expected: usize = (0..bench.partitions).map(passed).sum();
    assert_eq!(trimmed.events, expected as u64);
    assert!(trimmed.held_by.as_deref().is_some_and(|holder| holder.contains('g')), "{trimmed:?}");
    assert_eq!(bench.status("g").await.record.gaps, []);

    bench.clock.advance(2 * FORGOTTEN_AFTER);
    while bench.trim(&old).await.more {}
    assert_eq!(bench.count(Filter::default()).await, 0);
    let gaps = bench.status("g").await.record.gaps;
    let at = bench.clock.now();
    let mut expected: Vec<Gap> = (0..bench.partitions)
        .map(|partition| Gap {
            partition,
            from: parts[&partition][passed(partition)].sequence,
            to: parts[&partition].last().unwrap().sequence,
            at,
        })
        .collect();
    expected.sort_by_key(|gap| gap.partition);
    let mut found = gaps.clone();
    found.sort_by_key(|gap| gap.partition);
    assert_eq!(found, expected);
    assert_eq!(bench.lease("g", "d").await.gaps, gaps);
    bench.verify_is_clean().await;
}

/// The hold of a checkpoint or a replay applies in every partition as soon as the call returns.
pub async fn a_hold_counts_in_every_partition(h: &impl Harness) {
    let bench = Bench::new(h).await;
    let positions = spread(&bench).await;
    let (early, late) = positions.split_at(positions.len() / 2);
    let mut mark = bench.start().await;
    for position in early {
        mark.sequences[usize::from(position.partition)] = position.sequence;
    }
    let checkpoint = Checkpoint {
        id: "id".to_owned(),
        name: "here".to_owned(),
        mark: mark.clone(),
        last_processed_event_id: String::new(),
        event_count: 0,
        metadata: serde_json::Map::new(),
        created_at: bench.clock.now(),
        hold: true,
    };
    bench.storage.open().await.save_checkpoint(checkpoint, false).await.unwrap();
    let rule = domain::RetentionRule {
        through: Some(bench.store.head().await.unwrap()),
        ..domain::RetentionRule::default()
    };
    let all = TrimRequest { rule, ..keep_newest(0) };
    let trimmed = bench.trim(&all).await;
    assert_eq!((trimmed.events, trimmed.held_by.as_deref()), (early.len() as u64, Some("checkpoint here")));
    let left: BTreeSet<Position> =
        bench.all(Filter::default()).await.iter().map(|stored| stored.position).collect();
    assert_eq!(left, late.iter().copied().collect());
    let record = domain::ports::ReplayRecord { hold: Some(mark), ..super::support::planned(&bench, "r") };
    bench.storage.open().await.create_replay(&record).await.unwrap();
    bench.store.delete_checkpoint("here").await.unwrap();
    assert_eq!(bench.trim(&all).await.events, 0);
    bench.store.request("r", ReplayCommand::Cancel).await.unwrap();
    assert_eq!(bench.trim(&all).await.events, late.len() as u64);
}

/// An id is unique within a partition. Two events with the same id and different keys may both be stored. Then reads
/// return both events, and `verify` reports them.
pub async fn an_id_that_two_partitions_hold_is_given_and_found(h: &impl Harness) {
    let bench = Bench::new(h).await;
    spread(&bench).await;
    let in_partition = |wanted: u16| {
        let users = (0..).map(|n| format!("u{n}"));
        let mut fitting = users
            .filter(|user| partition_of(&OrderingKey { kind: "user", id: user }, bench.partitions) == wanted);
        fitting.next().unwrap()
    };
    let last = bench.partitions - 1;
    let [one, other] = [0, last].map(|partition| of_user("twice", &in_partition(partition)));
    let first = bench.store_all(&[one]).await[0];
    let outcome = bench.append(&[other]).await[0];
    if bench.partitions == 1 {
        assert_eq!(outcome, AppendOutcome::AlreadyStored(first));
        return bench.verify_is_clean().await;
    }
    let AppendOutcome::Stored(second) = outcome else { panic!("{outcome:?}") };
    let ids = ["e-0", "twice", "e-1"].map(str::to_owned);
    let found = bench.store.get(&ids).await.unwrap();
    let found: Vec<_> = found.iter().map(|stored| (stored.event.id(), stored.position)).collect();
    assert_eq!(found[1..3], [("twice", first), ("twice", second)]);
    assert_eq!((found[0].0, found[3].0, found.len()), ("e-0", "e-1", 4));
    let report = bench.store.verify(None).await.unwrap();
    let [finding] = &report.findings[..] else { panic!("{report:?}") };
    assert_eq!(finding.position, Some(second));
    assert!(finding.detail.contains("twice") && finding.detail.contains(&first.to_string()), "{finding:?}");
}
