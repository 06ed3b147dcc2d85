//! Verification of data beside the log: dead letters and the schedule, in each of their indexes. Plain commands make
//! each fault and undo it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use conformance::{Draft, ManualClock};
use domain::ports::engine::rows::{Part, key};
use domain::{
    Cursor, Position,
    dead_letter::{Failure, NewDeadLetter},
    group::{GroupSpec, Lease},
    ports::{
        Atomicity, CommitOutcome, DeadLetterQuery, DeadLetterStore as _, EventStore as _, GroupStore as _,
        LeaseRequest, RetentionMode, ScheduleStore as _, SegmentCommit,
    },
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use harness::{Namespace, RedisHarness};
use jiff::Timestamp;
use store::Store;

async fn fresh() -> (Namespace, Store) {
    let namespace = RedisHarness::new().await.namespace(ManualClock::default(), RetentionMode::History);
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    (namespace, store)
}

async fn findings(store: &Store) -> Vec<String> {
    let report = store.verify(None).await.unwrap();
    assert_eq!(report.total_findings as usize, report.findings.len());
    report.findings.into_iter().map(|finding| finding.detail).collect()
}

/// Checks that there is one finding, and that it contains all of these parts.
async fn only_finding(store: &Store, parts: &[&str]) {
    let found = findings(store).await;
    let [detail] = found.as_slice() else { panic!("{found:?}, not one about {parts:?}") };
    assert!(parts.iter().all(|part| detail.contains(part)), "{detail}, not about {parts:?}");
}

/// Returns a key of rows, as text.
fn row(parts: &[Part<'_>]) -> String {
    String::from_utf8(key(parts)).unwrap()
}

/// Returns the row key of a text.
fn named(name: &str) -> String {
    row(&[Part::Text(name)])
}

/// Returns the key of the rows of a kind with a scope.
fn of(kind: &str, scope: &[Part<'_>]) -> String {
    format!("r:{kind}:{}", URL_SAFE_NO_PAD.encode(key(scope)))
}

/// Returns the list of a group's dead letters in a state.
fn in_state(group: &str, state: &str) -> String {
    of("dead-letter-state", &[Part::Text(group), Part::Text(state)])
}

/// Returns the content of every key of the namespace, independent of its encoding in memory.
async fn content(namespace: &Namespace) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut all = BTreeMap::new();
    for key in namespace.say::<Vec<String>>(&["KEYS", &namespace.key("*")]).await {
        let kind: String = namespace.say(&["TYPE", &key]).await;
        let mut held: Vec<Vec<u8>> = match kind.as_str() {
            "hash" => {
                let pairs: Vec<(Vec<u8>, Vec<u8>)> = namespace.say(&["HGETALL", &key]).await;
                pairs.into_iter().map(|(field, value)| [field, value].concat()).collect()
            }
            "zset" => namespace.say(&["ZRANGE", &key, "0", "-1"]).await,
            "set" => namespace.say(&["SMEMBERS", &key]).await,
            "list" => namespace.say(&["LRANGE", &key, "0", "-1"]).await,
            _ => Vec::new(),
        };
        held.sort();
        all.insert(key, held);
    }
    all
}

/// Makes a group `g` that has given up on the events at the first `letters` positions.
async fn with_letters(store: &Store, letters: u64) -> Vec<String> {
    store.append(&Draft::many("e", 10), Atomicity::Each).await.unwrap();
    let spec = GroupSpec { segments: 1, ..GroupSpec::new("g") };
    let head = store.head().await.unwrap();
    store.create_group(&spec, &Cursor { sequences: vec![0], ..head }).await.unwrap();
    let (group, consumer) = ("g".to_owned(), "c".to_owned());
    let request = LeaseRequest { group, consumer, token: 7, duration: Duration::from_secs(600) };
    let lease: Lease = store.lease(&request).await.unwrap().held.remove(0);
    let failure = Failure { at: Timestamp::UNIX_EPOCH, errors: vec!["no".to_owned()] };
    let dead_letters = (1..=letters)
        .map(|sequence| NewDeadLetter {
            position: Position::new(0, sequence),
            attempts: 4,
            failure: failure.clone(),
            fingerprint: "f".to_owned(),
            earlier: Vec::new(),
            replay_id: None,
            parked: false,
        })
        .collect();
    let commit = SegmentCommit { dead_letters, ..SegmentCommit::new(lease, letters, letters) };
    assert_eq!(store.commit(&[commit]).await.unwrap(), [CommitOutcome::Committed]);
    let query = DeadLetterQuery { limit: 100, ..DeadLetterQuery::default() };
    let letters = store.dead_letters(&query).await.unwrap();
    letters.into_iter().map(|letter| letter.id).collect()
}

/// Returns the name of a dead letter in the lists.
async fn member(namespace: &Namespace, id: &str) -> String {
    let all: Vec<String> = namespace.say(&["ZRANGE", &namespace.key("r:dead-letter-order"), "0", "-1"]).await;
    all.into_iter().find(|member| member.ends_with(&named(id))).unwrap()
}

#[tokio::test]
async fn verify_finds_what_a_dead_letter_lacks() {
    let (namespace, store) = fresh().await;
    let ids = with_letters(&store, 3).await;
    let discarded = store.discard(&ids[2..], "enough").await.unwrap();
    assert_eq!(discarded.len(), 1);
    assert_eq!(findings(&store).await, [""; 0]);
    let before = content(&namespace).await;
    let (id, third) = (ids[1].as_str(), ids[2].as_str());
    let (own, last) = (member(&namespace, id).await, member(&namespace, third).await);
    let [order, open, discarded, at, events, groups] = [
        "r:dead-letter-order".to_owned(),
        in_state("g", "open"),
        in_state("g", "discarded"),
        of("dead-letter-at", &[Part::Text("g")]),
        "r:dead-letter-event".to_owned(),
        "r:dead-letter-group".to_owned(),
    ]
    .map(|name| namespace.key(&name));

    let _: i64 = namespace.say(&["ZREM", &order, &own]).await;
    only_finding(&store, &[id, "is not on the list of all"]).await;
    let _: i64 = namespace.say(&["ZADD", &order, "0", &own]).await;

    let _: i64 = namespace.say(&["ZREM", &open, &own]).await;
    only_finding(&store, &[id, "is not on the list of the group \"g\" and the state open"]).await;
    let _: i64 = namespace.say(&["ZADD", &open, "0", &own]).await;
    let _: i64 = namespace.say(&["ZREM", &discarded, &last]).await;
    only_finding(&store, &[third, "and the state discarded"]).await;
    let _: i64 = namespace.say(&["ZADD", &discarded, "0", &last]).await;

    let _: i64 = namespace.say(&["HDEL", &at, &row(&[Part::Number(2)])]).await;
    only_finding(&store, &[id, "is not found by the place of its event"]).await;
    let _: i64 = namespace.say(&["HSET", &at, &row(&[Part::Number(2)]), id]).await;

    let event: Vec<u8> = namespace.say(&["HGET", &events, &named(id)]).await;
    let put = async |event: &[u8]| {
        let _: i64 = namespace.command(&[b"HSET", events.as_bytes(), named(id).as_bytes(), event]).await;
    };
    let _: i64 = namespace.say(&["HDEL", &events, &named(id)]).await;
    only_finding(&store, &[id, "has no event"]).await;
    put(&event[..20]).await;
    only_finding(&store, &["the event of the dead letter", id]).await;
    put(&event).await;

    let _: i64 = namespace.say(&["HDEL", &groups, &named("g")]).await;
    let found = findings(&store).await;
    assert!(found.iter().any(|detail| detail.contains("the group \"g\" has dead letters")), "{found:?}");
    let _: i64 = namespace.say(&["HSET", &groups, &named("g"), ""]).await;

    assert_eq!(findings(&store).await, [""; 0]);
    assert_eq!(content(&namespace).await, before, "what was planted was taken back");
}

#[tokio::test]
async fn verify_finds_each_entry_that_leads_to_no_dead_letter() {
    let (namespace, store) = fresh().await;
    let ids = with_letters(&store, 2).await;
    let before = content(&namespace).await;
    let (one, other) = (member(&namespace, &ids[0]).await, member(&namespace, &ids[1]).await);
    let stranger = other.replace(&ids[1], "stranger");
    let moved = other.replacen('0', "1", 1);
    let (open, handled) = (in_state("g", "open"), in_state("g", "handled"));
    for (list, member, parts) in [
        (
            "r:dead-letter-order",
            &stranger,
            ["the list of all dead letters names stranger", "which is not there"],
        ),
        ("r:dead-letter-order", &moved, ["the list of all dead letters names", "where it does not belong"]),
        (&open, &stranger, ["the state open names stranger", "which is not there"]),
        (&handled, &one, ["the state handled names", "where it does not belong"]),
        (&handled, &"nonsense".to_owned(), ["a key of an index by time", "cannot be read"]),
    ] {
        let list = namespace.key(list);
        let _: i64 = namespace.say(&["ZADD", &list, "0", member]).await;
        only_finding(&store, &parts).await;
        let _: i64 = namespace.say(&["ZREM", &list, member]).await;
    }
    let at = namespace.key(&of("dead-letter-at", &[Part::Text("g")]));
    let (events, records) = (namespace.key("r:dead-letter-event"), namespace.key("r:dead-letter"));
    let ninth = row(&[Part::Number(9)]);
    for (field, id, parts) in [
        (ninth.as_str(), "stranger", ["the group \"g\" names stranger at 9", "which is not there"]),
        (ninth.as_str(), ids[0].as_str(), ["at 9", "where it does not belong"]),
        ("nonsense", ids[0].as_str(), ["at a place of another form", "where it does not belong"]),
    ] {
        let _: i64 = namespace.say(&["HSET", &at, field, id]).await;
        only_finding(&store, &parts).await;
        let _: i64 = namespace.say(&["HDEL", &at, field]).await;
    }
    let _: i64 = namespace.say(&["HSET", &events, &named("stranger"), "bytes"]).await;
    only_finding(&store, &["an event is kept for the dead letter stranger, which is not there"]).await;
    let _: i64 = namespace.say(&["HDEL", &events, &named("stranger")]).await;

    // A missing record leaves all entries that led to it. A damaged record is one finding.
    let record: Vec<u8> = namespace.say(&["HGET", &records, &named(&ids[0])]).await;
    let _: i64 = namespace.say(&["HDEL", &records, &named(&ids[0])]).await;
    let found = findings(&store).await;
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|detail| detail.contains(&ids[0])), "{found:?}");
    let _: i64 = namespace.say(&["HSET", &records, &named(&ids[0]), "{"]).await;
    only_finding(&store, &["the dead letter", &ids[0], "cannot be read"]).await;
    let _: i64 =
        namespace.command(&[b"HSET", records.as_bytes(), named(&ids[0]).as_bytes(), record.as_slice()]).await;

    // Lists of a group without any row that names it.
    let unknown = namespace.key(&in_state("nobody", "open"));
    let _: i64 = namespace.say(&["ZADD", &unknown, "0", &one]).await;
    only_finding(&store, &["lists of dead letters of the group \"nobody\""]).await;
    let _: i64 = namespace.say(&["DEL", &unknown]).await;

    assert_eq!(findings(&store).await, [""; 0]);
    assert_eq!(content(&namespace).await, before, "what was planted was taken back");
}

#[tokio::test]
async fn verify_finds_each_fault_of_the_schedule() {
    let (namespace, store) = fresh().await;
    let due: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    for n in 0..3 {
        store.schedule(&Draft::new(&format!("later-{n}")).event(), due).await.unwrap();
    }
    let before = content(&namespace).await;
    assert_eq!(findings(&store).await, [""; 0]);
    let (schedule, waiting) = (namespace.key("r:schedule-order"), namespace.key("r:scheduled"));
    let entries: Vec<String> = namespace.say(&["ZRANGE", &schedule, "0", "-1"]).await;
    let waits = |n: usize| named(&format!("later-{n}"));
    let put = async |n: usize, value: &[u8]| {
        let _: i64 = namespace.command(&[b"HSET", waiting.as_bytes(), waits(n).as_bytes(), value]).await;
    };

    // First the event without its entry, then the entry without its event.
    let _: i64 = namespace.say(&["ZREM", &schedule, &entries[1]]).await;
    only_finding(&store, &["the event \"later-1\" waits, and the schedule does not name it"]).await;
    let _: i64 = namespace.say(&["ZADD", &schedule, "0", &entries[1]]).await;
    let first: Vec<u8> = namespace.say(&["HGET", &waiting, &waits(1)]).await;
    let _: i64 = namespace.say(&["HDEL", &waiting, &waits(1)]).await;
    only_finding(&store, &["the schedule names the event \"later-1\", which does not wait"]).await;
    put(1, &first).await;

    // An entry at another place, and one that cannot be read.
    let elsewhere = entries[0].replacen(&format!("{:020}", 1), &format!("{:020}", 9), 1);
    assert_ne!(elsewhere, entries[0]);
    let places = [
        (elsewhere.as_str(), "\"later-0\" at a place"),
        ("nonsense", "a place in the schedule cannot be read"),
    ];
    for (entry, about) in places {
        let _: i64 = namespace.say(&["ZADD", &schedule, "0", entry]).await;
        only_finding(&store, &[about]).await;
        let _: i64 = namespace.say(&["ZREM", &schedule, entry]).await;
    }

    // An event with another time, one with damage in each of its parts, and one with the content of another.
    let own: Vec<u8> = namespace.say(&["HGET", &waiting, &waits(2)]).await;
    let line = own.iter().position(|byte| *byte == b'\n').unwrap();
    let header = std::str::from_utf8(&own[..line]).unwrap();
    let with_header = |header: String| [header.as_bytes(), &own[line..]].concat();
    for (value, about) in [
        (with_header(header.replace("2030-01-01", "2031-01-01")), "at a place that is not its own"),
        (with_header(header.replace("2030-01-01", "noon")), "\"later-2\" is damaged"),
        (own[..line + 8].to_vec(), "\"later-2\" is damaged"),
        ([&own[..own.len() - 4], b"{}"].concat(), "\"later-2\" is damaged"),
    ] {
        put(2, &value).await;
        let found = findings(&store).await;
        assert!(found.iter().any(|detail| detail.contains(about)), "{about}: {found:?}");
        put(2, &own).await;
    }
    let other: Vec<u8> = namespace.say(&["HGET", &waiting, &waits(0)]).await;
    let others = other.iter().position(|byte| *byte == b'\n').unwrap();
    put(2, &[&own[..line], &other[others..]].concat()).await;
    only_finding(&store, &["the scheduled event \"later-2\" is stored as another"]).await;
    put(2, &own).await;

    assert_eq!(findings(&store).await, [""; 0]);
    assert_eq!(content(&namespace).await, before, "what was planted was taken back");
}

#[tokio::test]
async fn verify_finds_keys_of_a_group_that_does_not_exist() {
    let (namespace, store) = fresh().await;
    with_letters(&store, 1).await;
    let groups = namespace.key("r:group");
    let record: Vec<u8> = namespace.say(&["HGET", &groups, &named("g")]).await;
    let _: i64 = namespace.say(&["HDEL", &groups, &named("g")]).await;
    only_finding(&store, &["there are keys of the group \"g\", which does not exist"]).await;
    let _: i64 =
        namespace.command(&[b"HSET", groups.as_bytes(), named("g").as_bytes(), record.as_slice()]).await;
    assert_eq!(findings(&store).await, [""; 0]);
}

/// A user that may not scan all keys can verify too. It finds every fault that existing references lead to.
#[tokio::test]
async fn verify_needs_no_right_that_an_operator_lacks() {
    let (namespace, store) = fresh().await;
    with_letters(&store, 2).await;
    let user = format!("operator-{}", namespace.name);
    let keys = format!("%R~{{{}:*}}:*", namespace.name);
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("user event-replay-operator ")).unwrap();
    let rights: Vec<&str> =
        line.split(' ').filter(|word| word.starts_with('+') || word.starts_with('-')).collect();
    let mut words = vec!["ACL", "SETUSER", &user, "on", ">secret", "resetchannels", &keys];
    words.extend(rights);
    let _: String = namespace.say(&words).await;
    let url = namespace.url.replace("redis://", &format!("redis://{user}:secret@"));
    let options = RedisOptions { namespace: namespace.name.clone(), ..RedisOptions::new(url) };
    let operator = Store::new(RedisEngine::open(options).await.unwrap());
    assert_eq!(findings(&operator).await, [""; 0]);
    let order = namespace.key("r:dead-letter-order");
    let stranger = row(&[Part::Time(Timestamp::UNIX_EPOCH), Part::Text("stranger")]);
    let _: i64 = namespace.say(&["ZADD", &order, "0", &stranger]).await;
    only_finding(&operator, &["names stranger"]).await;
}

/// Concurrent changes by other clients are no faults.
#[tokio::test]
async fn verify_finds_nothing_beside_concurrent_schedules_and_dead_letters() {
    let (namespace, store) = fresh().await;
    let ids = with_letters(&store, 10).await;
    let other = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    let busy = tokio::spawn(async move {
        for n in 0..150 {
            let due: Timestamp = "2020-01-01T00:00:00Z".parse().unwrap();
            let later = "2040-01-01T00:00:00Z".parse().unwrap();
            other.schedule(&Draft::new(&format!("now-{n}")).event(), due).await.unwrap();
            other.schedule(&Draft::new(&format!("later-{n}")).event(), later).await.unwrap();
            other.append_due(10).await.unwrap();
            other.cancel_scheduled(&format!("later-{n}")).await.unwrap();
            if let Some(id) = ids.get(n / 5) {
                other.discard(std::slice::from_ref(id), "enough").await.unwrap();
            }
            if n % 40 == 39 {
                other.purge_dead_letters(Timestamp::MAX).await.unwrap();
            }
        }
    });
    let mut rounds = 0;
    while !busy.is_finished() || rounds == 0 {
        assert_eq!(findings(&store).await, [""; 0]);
        rounds += 1;
    }
    busy.await.unwrap();
    assert_eq!(findings(&store).await, [""; 0]);
}
