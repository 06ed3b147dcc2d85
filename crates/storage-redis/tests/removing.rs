//! Removal and verification of parts that only this layout has: lists of short terms, chunks, copies, damage.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;

use std::{collections::BTreeSet, sync::Arc};

use conformance::{Draft, Faults as _, ManualClock, Storage as _};
use domain::{
    Entity, Event, Filter, Position, TypePattern,
    ports::{
        AppendOutcome, Atomicity, EventStore as _, GroupHolds, ReadRequest, RetentionMode, TrimRequest,
        Trimmed,
    },
    retention::RetentionRule,
};
use event_replay_storage_redis::RedisEngine;
use harness::{Entry, Namespace, RedisHarness};
use store::Store;

/// The number of positions of one chunk.
const CHUNK: u64 = 1 << 17;

async fn fresh() -> (Namespace, Store) {
    let namespace = RedisHarness::new().await.namespace(ManualClock::default(), RetentionMode::History);
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    (namespace, store)
}

/// Events of two alternating types, five users and one correlation id, which has enough events for a separate list.
fn event(n: usize) -> Event {
    Draft::new(&format!("e{n}"))
        .of_type(["a", "b"][n % 2])
        .with("userId", format!("u{}", n % 5))
        .with("correlationId", "c")
        .event()
}

async fn append(store: &Store, range: std::ops::Range<usize>) -> Vec<Position> {
    let events: Vec<Event> = range.map(event).collect();
    let mut positions = Vec::new();
    for batch in events.chunks(100) {
        for outcome in store.append(batch, Atomicity::Each).await.unwrap() {
            let AppendOutcome::Stored(position) = outcome else { panic!("{outcome:?}") };
            positions.push(position);
        }
    }
    positions
}

fn keep(max_events: u64, types: &[&str], limit: usize) -> TrimRequest {
    let types = types.iter().map(|text| TypePattern::new(*text)).collect();
    let rule = RetentionRule { max_events: Some(max_events), types, ..RetentionRule::default() };
    TrimRequest { rule, holds: Vec::new(), limit, dry_run: false, groups: GroupHolds::default() }
}

async fn trim(store: &Store, request: &TrimRequest) -> u64 {
    let mut gone = 0;
    loop {
        let Trimmed { events, more, .. } = store.trim(request).await.unwrap();
        gone += events;
        if !more {
            return gone;
        }
    }
}

async fn ids(store: &Store, filter: Filter) -> Vec<String> {
    let mut request = ReadRequest::new(filter, 500);
    let mut found = Vec::new();
    loop {
        let page = store.read(&request).await.unwrap();
        found.extend(page.events.iter().map(|stored| stored.event.id().to_owned()));
        match page.next {
            Some(next) => request.after = Some(next),
            None => return found,
        }
    }
}

fn named(range: impl Iterator<Item = usize>) -> Vec<String> {
    range.map(|n| format!("e{n}")).collect()
}

async fn findings(store: &Store) -> Vec<(Option<Position>, String)> {
    let report = store.verify(None).await.unwrap();
    assert_eq!(report.total_findings as usize, report.findings.len());
    report.findings.into_iter().map(|finding| (finding.position, finding.detail)).collect()
}

/// Moves the head, as if earlier events had been stored and trimmed.
async fn begin_at(namespace: &Namespace, sequence: u64) {
    // A head with another run id or history would begin a new log epoch.
    let info: String = namespace.say(&["INFO", "server", "replication"]).await;
    let known = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let (run, history, head) = (known("run_id:"), known("master_replid:"), sequence.to_string());
    let words = ["HSET", &namespace.key("meta"), "head", &head, "run", run, "history", history];
    let _: i64 = namespace.say(&words).await;
}

#[tokio::test]
async fn a_term_of_many_events_is_shortened_from_its_head_and_from_its_midst() {
    let (_, store) = fresh().await;
    append(&store, 0..300).await;
    assert_eq!(trim(&store, &keep(260, &[], 1_000)).await, 40);
    assert_eq!(findings(&store).await, []);
    // First fewer events than the limit for a search one by one, then more.
    assert_eq!(trim(&store, &keep(120, &["a"], 10)).await, 10);
    assert_eq!(findings(&store).await, []);
    assert_eq!(trim(&store, &keep(20, &["a"], 70)).await, 100);
    assert_eq!(findings(&store).await, []);
    let left = |n: &usize| *n >= 40 && (n % 2 == 1 || *n >= 260);
    let left: Vec<String> = named((0..300).filter(left));
    assert_eq!(ids(&store, Filter::default()).await, left);
    assert_eq!(ids(&store, Filter::correlation("c")).await, left);
    assert_eq!(trim(&store, &keep(0, &[], 1_000)).await, left.len() as u64);
    assert_eq!(findings(&store).await, []);
    assert_eq!(ids(&store, Filter::correlation("c")).await, [""; 0]);
}

#[tokio::test]
async fn nothing_of_the_log_is_left_when_all_of_it_was_trimmed() {
    let (namespace, store) = fresh().await;
    begin_at(&namespace, CHUNK - 51).await;
    // The second batch does not fit into the first chunk.
    append(&store, 0..50).await;
    append(&store, 50..130).await;
    assert_eq!(namespace.say::<Vec<u64>>(&["ZRANGE", &namespace.key("chunks"), "0", "-1"]).await, [0, 1]);
    assert_eq!(trim(&store, &keep(60, &[], 7)).await, 70);
    assert_eq!(namespace.say::<Vec<u64>>(&["ZRANGE", &namespace.key("chunks"), "0", "-1"]).await, [1]);
    assert_eq!(findings(&store).await, []);
    assert_eq!(trim(&store, &keep(0, &[], 200)).await, 60);
    let left: BTreeSet<String> =
        namespace.say::<Vec<String>>(&["KEYS", &namespace.key("*")]).await.into_iter().collect();
    let tally = namespace.key("r:tally");
    assert_eq!(left, BTreeSet::from([namespace.key("meta"), namespace.key("r:counter"), tally.clone()]));
    // No count is left, except the sequence through which events are counted.
    assert_eq!(namespace.say::<Vec<String>>(&["HKEYS", &tally]).await, ["through\0"]);
    // The chunk for appends was removed too. The next event makes it again.
    append(&store, 130..150).await;
    assert_eq!(ids(&store, Filter::default()).await, named(130..150));
    assert_eq!(findings(&store).await, []);
}

#[tokio::test]
async fn a_damaged_event_is_trimmed_with_every_entry_that_leads_to_it() {
    let (namespace, store) = fresh().await;
    let positions = append(&store, 0..30).await;
    for at in [3, 8] {
        namespace.damage_event(positions[at]).await;
    }
    assert_eq!(findings(&store).await.len(), 2);
    assert_eq!(trim(&store, &keep(20, &[], 100)).await, 10);
    assert_eq!(findings(&store).await, []);
    // Its id is free again.
    assert!(matches!(
        store.append(&[event(3)], Atomicity::Each).await.unwrap()[..],
        [AppendOutcome::Stored(_)]
    ));
}

#[tokio::test]
async fn erasing_leaves_no_byte_of_an_event_beside_concurrent_appends() {
    let (namespace, store) = fresh().await;
    let secret = |n: usize| {
        Draft::new(&format!("secret-{n}"))
            .with("userId", "erased")
            .with("correlationId", "sesame-open")
            .event()
    };
    append(&store, 0..500).await;
    for n in 0..30 {
        store.append(&[secret(n)], Atomicity::Each).await.unwrap();
        append(&store, 500 + 10 * n..510 + 10 * n).await;
    }
    let other = store.clone();
    let appending = tokio::spawn(async move {
        for n in 0..60 {
            append(&other, 1_000 + 20 * n..1_020 + 20 * n).await;
        }
    });
    let erased = store.erase(&Entity::new("user", "erased")).await.unwrap();
    assert_eq!(erased.events, 30);
    assert!(erased.remains.iter().any(|text| text.contains("BGSAVE")), "{:?}", erased.remains);
    appending.await.unwrap();
    for key in namespace.say::<Vec<String>>(&["KEYS", &namespace.key("*")]).await {
        let dump: Vec<u8> = namespace.say(&["DUMP", &key]).await;
        for text in [&b"sesame-open"[..], b"secret-"] {
            assert!(!dump.windows(text.len()).any(|window| window == text), "{key} still has it");
        }
    }
    let all = ids(&store, Filter::default()).await;
    assert_eq!(all.len(), 800 + 1_200);
    assert_eq!(findings(&store).await, []);
    assert_eq!(store.append(&[secret(3)], Atomicity::Each).await.unwrap(), [AppendOutcome::Erased]);
}

#[tokio::test]
async fn a_damaged_event_is_erased_where_the_index_knows_whose_it_is() {
    let (namespace, store) = fresh().await;
    let positions = append(&store, 0..30).await;
    namespace.damage_event(positions[6]).await;
    assert_eq!(store.erase(&Entity::new("user", "u1")).await.unwrap().events, 6);
    assert_eq!(findings(&store).await, []);
    assert_eq!(store.append(&[event(6)], Atomicity::Each).await.unwrap(), [AppendOutcome::Erased]);
}

#[tokio::test]
async fn a_chunk_with_many_holes_is_rewritten() {
    let (namespace, store) = fresh().await;
    begin_at(&namespace, CHUNK - 2_600).await;
    append(&store, 0..2_500).await;
    begin_at(&namespace, CHUNK).await;
    append(&store, 2_500..2_510).await;
    let log = namespace.key("log:0");
    let before: u64 = namespace.say(&["MEMORY", "USAGE", &log, "SAMPLES", "0"]).await;
    assert_eq!(trim(&store, &keep(0, &["a"], 2_000)).await, 1_255);
    let after: u64 = namespace.say(&["MEMORY", "USAGE", &log, "SAMPLES", "0"]).await;
    assert!(after * 10 < before * 6, "{before} bytes, then {after}");
    assert!(!namespace.say::<bool>(&["HEXISTS", &namespace.key("holes"), "0"]).await);
    assert_eq!(ids(&store, Filter::default()).await, named((0..2_510).filter(|n| n % 2 == 1)));
    assert_eq!(findings(&store).await, []);
}

/// Returns the first bucket of the dictionary with a matching value, with the field and the value.
async fn field_with(namespace: &Namespace, is: impl Fn(&[u8]) -> bool) -> (String, Vec<u8>, Vec<u8>) {
    for key in namespace.say::<Vec<String>>(&["KEYS", &namespace.key("d:*")]).await {
        for (field, value) in namespace.say::<Vec<(Vec<u8>, Vec<u8>)>>(&["HGETALL", &key]).await {
            if is(&value) {
                return (key, field, value);
            }
        }
    }
    panic!("no such field")
}

async fn only_finding(store: &Store, about: &str) -> Option<Position> {
    let found = findings(store).await;
    let [(position, detail)] = found.as_slice() else { panic!("{found:?}, not one about {about:?}") };
    assert!(detail.contains(about), "{detail}, not about {about:?}");
    *position
}

#[tokio::test]
async fn verify_finds_each_fault_of_the_dictionary_and_the_runs() {
    let (namespace, store) = fresh().await;
    let positions = append(&store, 0..30).await;
    assert_eq!(findings(&store).await, []);

    // An id that is missing, or that leads to another event.
    let (bucket, field, value) = field_with(&namespace, |value| value == b"7").await;
    let set = async |value: &[u8]| {
        let _: i64 = namespace.command(&[b"HSET", bucket.as_bytes(), &field, value]).await;
    };
    let _: i64 = namespace.command(&[b"HDEL", bucket.as_bytes(), &field]).await;
    let found = findings(&store).await;
    assert!(found.iter().any(|(at, text)| *at == Some(positions[6]) && text.contains("its id")), "{found:?}");
    assert!(found.iter().any(|(at, text)| at.is_none() && text.contains("fields")), "{found:?}");
    set(b"9").await;
    let found = findings(&store).await;
    let about: Vec<_> = found.iter().map(|(at, _)| *at).collect();
    assert_eq!(about, [Some(positions[6]), Some(positions[8])], "{found:?}");
    set(b"4711").await;
    let found = findings(&store).await;
    assert!(found.iter().any(|(_, text)| text.contains("past the head")), "{found:?}");
    set(b"neither").await;
    let found = findings(&store).await;
    assert!(found.iter().any(|(_, text)| text.contains("makes no sense")), "{found:?}");
    set(&value).await;
    assert_eq!(findings(&store).await, []);

    // A term in a run: one position is lost, and then one position replaces another.
    RedisEngine::open(namespace.options()).await.unwrap().fold().await.unwrap();
    assert_eq!(findings(&store).await, []);
    let run = namespace.say::<Vec<String>>(&["KEYS", &namespace.key("run:*")]).await.pop().unwrap();
    let bytes: Vec<u8> = namespace.say(&["GET", &run]).await;
    let set = async |bytes: &[u8]| {
        let _: String = namespace.command(&[b"SET", run.as_bytes(), bytes]).await;
    };
    // Two fences, then a user, the number of its events, and their places.
    assert_eq!(bytes[16], 6);
    let (first, second) = (17..20, 20..23);
    let mut lost = bytes.clone();
    lost[first.clone()].fill(0);
    set(&lost).await;
    assert!(only_finding(&store, "no index entry under user").await.is_some());
    let mut twice = bytes.clone();
    twice.copy_within(first, second.start);
    set(&twice).await;
    let found = findings(&store).await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().any(|(_, text)| text.contains("twice")), "{found:?}");
    assert!(found.iter().any(|(_, text)| text.contains("no index entry under user")), "{found:?}");
    set(&bytes).await;
    assert_eq!(findings(&store).await, []);

    // A term with a separate list: one position is lost, one is duplicate, and one has no event.
    let list = namespace.say::<Vec<String>>(&["KEYS", &namespace.key("ix:0:e:*")]).await.pop().unwrap();
    let _: i64 = namespace.say(&["LREM", &list, "1", "5"]).await;
    assert_eq!(only_finding(&store, "no index entry under").await, Some(positions[4]));
    let _: i64 = namespace.say(&["LINSERT", &list, "BEFORE", "6", "5"]).await;
    let _: i64 = namespace.say(&["LPUSH", &list, "5"]).await;
    assert_eq!(only_finding(&store, "twice").await, Some(positions[4]));
    let _: i64 = namespace.say(&["LPOP", &list]).await;
    assert_eq!(findings(&store).await, []);
    begin_at(&namespace, 40).await;
    let _: i64 = namespace.say(&["RPUSH", &list, "35"]).await;
    assert_eq!(only_finding(&store, "leads to no event").await, Some(Position::new(0, 35)));
}

#[tokio::test]
async fn verify_finds_each_fault_of_chunks_and_counters() {
    let (namespace, store) = fresh().await;
    let positions = append(&store, 0..30).await;
    RedisEngine::open(namespace.options()).await.unwrap().fold().await.unwrap();
    let meta = namespace.key("meta");
    for (counter, about) in
        [("events", "the store counts"), ("bytes", "the store counts"), ("fields", "fields")]
    {
        let _: i64 = namespace.say(&["HINCRBY", &meta, counter, "1"]).await;
        assert_eq!(only_finding(&store, about).await, None);
        let _: i64 = namespace.say(&["HINCRBY", &meta, counter, "-1"]).await;
    }
    let chunks = namespace.key("chunks");
    let _: i64 = namespace.say(&["ZREM", &chunks, "0"]).await;
    let found = findings(&store).await;
    assert!(found.iter().any(|(_, text)| text.contains("not on the list of chunks")), "{found:?}");
    let _: i64 = namespace.say(&["ZADD", &chunks, "0", "0"]).await;
    let _: i64 = namespace.say(&["ZADD", &chunks, "9", "9"]).await;
    assert_eq!(only_finding(&store, "is not there").await, None);
    let _: i64 = namespace.say(&["ZREM", &chunks, "9"]).await;

    let directory = namespace.key("dir:0");
    let fields: Vec<String> = namespace.say(&["HKEYS", &directory]).await;
    let field = fields.iter().find(|field| field.starts_with("t:")).unwrap();
    let _: i64 = namespace.say(&["HDEL", &directory, field]).await;
    assert_eq!(only_finding(&store, "lacks type").await, None);
    let _: i64 = namespace.say(&["HSET", &directory, field, "1", "h:17", "1"]).await;
    assert_eq!(only_finding(&store, "has no list for hour 17").await, None);
    let _: i64 = namespace.say(&["HDEL", &directory, "h:17"]).await;
    let list = namespace.key(&format!("ix:0:{field}"));
    let first: String = namespace.say(&["LPOP", &list]).await;
    let _: i64 = namespace.say(&["RPUSH", &list, &first]).await;
    assert!(only_finding(&store, "out of order").await.is_some());
    let _: String = namespace.say(&["RPOP", &list]).await;
    let _: i64 = namespace.say(&["LPUSH", &list, &first]).await;
    assert_eq!(findings(&store).await, []);

    // An event that was deleted without the store.
    let entries: Vec<Entry> = namespace.say(&["XRANGE", &namespace.key("log:0"), "12", "12"]).await;
    assert_eq!(entries.len(), 1);
    let _: i64 = namespace.say(&["XDEL", &namespace.key("log:0"), &entries[0].0]).await;
    let found = findings(&store).await;
    assert!(found.iter().all(|(at, _)| at.is_none_or(|at| at == positions[11])), "{found:?}");
    // Its three long terms, its id, its user, its home, its correlation id; and the counters.
    assert_eq!(found.len(), 8, "{found:?}");
}

#[tokio::test]
async fn verify_finds_nothing_beside_concurrent_appends_trims_and_erasures() {
    let (namespace, store) = fresh().await;
    append(&store, 0..1_000).await;
    let (writer, trimmer) = (namespace.open().await, namespace.open().await);
    let writing = tokio::spawn(async move {
        for n in 0..200 {
            let events: Vec<Event> = (0..50).map(|m| event(1_000 + 50 * n + m)).collect();
            writer.append(&events, Atomicity::Each).await.unwrap();
        }
    });
    let trimming = tokio::spawn(async move {
        for _ in 0..20 {
            trimmer.trim(&keep(500, &[], 150)).await.unwrap();
            trimmer.trim(&keep(200, &["b"], 50)).await.unwrap();
        }
        trimmer.erase(&Entity::new("user", "u3")).await.unwrap();
    });
    let mut rounds = 0;
    while !(writing.is_finished() && trimming.is_finished()) || rounds == 0 {
        assert_eq!(findings(&store).await, []);
        rounds += 1;
    }
    writing.await.unwrap();
    trimming.await.unwrap();
    assert_eq!(findings(&store).await, []);
    let filter = Arc::new(Filter::default());
    assert_eq!(store.count(&filter, None).await.unwrap(), store.info().await.unwrap().events);
}
