//! Verifying what stands beside the log: dead letters and the schedule, in each of their indexes. Each fault is planted by
//! plain commands, and taken back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use conformance::{Draft, ManualClock};
use domain::{
    Cursor, Position,
    dead_letter::{Failure, NewDeadLetter},
    group::{GroupSpec, Lease},
    ports::{
        Atomicity, CommitOutcome, DeadLetterQuery, DeadLetterStore as _, EventStore as _, GroupStore as _,
        Keeps, LeaseRequest, ScheduleStore as _, SegmentCommit,
    },
};
use harness::{Namespace, RedisHarness};
use jiff::Timestamp;
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;

async fn fresh() -> (Namespace, Store) {
    let namespace = RedisHarness::new().await.namespace(ManualClock::default(), Keeps::History);
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    (namespace, store)
}

async fn findings(store: &Store) -> Vec<String> {
    let report = store.verify(None).await.unwrap();
    assert_eq!(report.total_findings as usize, report.findings.len());
    report.findings.into_iter().map(|finding| finding.detail).collect()
}

/// The only finding, which has all of these in it.
async fn only_finding(store: &Store, parts: &[&str]) {
    let found = findings(store).await;
    let [detail] = found.as_slice() else { panic!("{found:?}, not one about {parts:?}") };
    assert!(parts.iter().all(|part| detail.contains(part)), "{detail}, not about {parts:?}");
}

fn text(name: &str) -> String {
    URL_SAFE_NO_PAD.encode(name)
}

/// All of the namespace: what every key holds, however it lies in memory.
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

/// A group `g` that has given up on the events at the first so many positions.
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

/// The name of a letter in the lists.
async fn member(namespace: &Namespace, id: &str) -> String {
    let all: Vec<String> = namespace.say(&["ZRANGE", &namespace.key("dl:order"), "0", "-1"]).await;
    all.into_iter().find(|member| member.ends_with(&format!(":{id}"))).unwrap()
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
        "dl:order".to_owned(),
        format!("dl:in:open:{}", text("g")),
        format!("dl:in:discarded:{}", text("g")),
        "dl:at".to_owned(),
        "dl:events".to_owned(),
        "dl:groups".to_owned(),
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

    let _: i64 = namespace.say(&["HDEL", &at, "0:2:g"]).await;
    only_finding(&store, &[id, "is not found by the place of its event"]).await;
    let _: i64 = namespace.say(&["HSET", &at, "0:2:g", id]).await;

    let event: Vec<u8> = namespace.say(&["HGET", &events, id]).await;
    let put = async |event: &[u8]| {
        let _: i64 = namespace.command(&[b"HSET", events.as_bytes(), id.as_bytes(), event]).await;
    };
    let _: i64 = namespace.say(&["HDEL", &events, id]).await;
    only_finding(&store, &[id, "has no event"]).await;
    put(&event[..20]).await;
    only_finding(&store, &["the event of the dead letter", id]).await;
    put(&event).await;

    let _: i64 = namespace.say(&["SREM", &groups, "g"]).await;
    let found = findings(&store).await;
    assert!(found.iter().any(|detail| detail.contains("the group \"g\" has dead letters")), "{found:?}");
    let _: i64 = namespace.say(&["SADD", &groups, "g"]).await;

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
    let open = format!("dl:in:open:{}", text("g"));
    let handled = format!("dl:in:handled:{}", text("g"));
    for (list, member, parts) in [
        ("dl:order", &stranger, ["the list of all dead letters names stranger", "which is not there"]),
        ("dl:order", &moved, ["the list of all dead letters names", "where it does not belong"]),
        (&open, &stranger, ["the state open names stranger", "which is not there"]),
        (&handled, &one, ["the state handled names", "where it does not belong"]),
        (&handled, &"nonsense".to_owned(), ["an entry of", "is not ours"]),
    ] {
        let list = namespace.key(list);
        let _: i64 = namespace.say(&["ZADD", &list, "0", member]).await;
        only_finding(&store, &parts).await;
        let _: i64 = namespace.say(&["ZREM", &list, member]).await;
    }
    let (at, events, records) = (namespace.key("dl:at"), namespace.key("dl:events"), namespace.key("dl"));
    for (field, id, parts) in [
        ("0:9:g", "stranger", ["names stranger at \"0:9:g\"", "which is not there"]),
        ("0:9:g", ids[0].as_str(), ["at \"0:9:g\"", "where it does not belong"]),
        ("nonsense", ids[0].as_str(), ["at \"nonsense\"", "where it does not belong"]),
    ] {
        let _: i64 = namespace.say(&["HSET", &at, field, id]).await;
        only_finding(&store, &parts).await;
        let _: i64 = namespace.say(&["HDEL", &at, field]).await;
    }
    let _: i64 = namespace.say(&["HSET", &events, "stranger", "bytes"]).await;
    only_finding(&store, &["an event is kept for the dead letter stranger, which is not there"]).await;
    let _: i64 = namespace.say(&["HDEL", &events, "stranger"]).await;

    // A record that is gone leaves behind all that led to it; one that is damaged can say nothing.
    let record: Vec<u8> = namespace.say(&["HGET", &records, &ids[0]]).await;
    let _: i64 = namespace.say(&["HDEL", &records, &ids[0]]).await;
    let found = findings(&store).await;
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found.iter().all(|detail| detail.contains(&ids[0])), "{found:?}");
    let _: i64 = namespace.say(&["HSET", &records, &ids[0], "{"]).await;
    only_finding(&store, &["the dead letter", &ids[0], "cannot be read"]).await;
    let _: i64 =
        namespace.command(&[b"HSET", records.as_bytes(), ids[0].as_bytes(), record.as_slice()]).await;

    // Lists of a group of which nobody knows that it has any.
    let unknown = namespace.key(&format!("dl:in:open:{}", text("nobody")));
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
    let schedule = namespace.key("schedule");
    let entries: Vec<String> = namespace.say(&["ZRANGE", &schedule, "0", "-1"]).await;
    let waits = |n: usize| namespace.key(&format!("wait:{}", text(&format!("later-{n}"))));

    // The event is there, and its entry is not; then the entry is there, and its event is not.
    let _: i64 = namespace.say(&["ZREM", &schedule, &entries[1]]).await;
    only_finding(&store, &["the event \"later-1\" waits, and the schedule does not name it"]).await;
    let _: i64 = namespace.say(&["ZADD", &schedule, "0", &entries[1]]).await;
    let _: String = namespace.say(&["RENAME", &waits(1), &namespace.key("aside")]).await;
    only_finding(&store, &["the schedule names the event \"later-1\", which does not wait"]).await;
    let _: String = namespace.say(&["RENAME", &namespace.key("aside"), &waits(1)]).await;

    // An entry at another place, and one that is none.
    let elsewhere = entries[0].replacen("0000000000000001", "0000000000000009", 1);
    assert_ne!(elsewhere, entries[0]);
    for (entry, about) in [(elsewhere.as_str(), "\"later-0\" at a place"), ("nonsense", "is not ours")] {
        let _: i64 = namespace.say(&["ZADD", &schedule, "0", entry]).await;
        only_finding(&store, &[about]).await;
        let _: i64 = namespace.say(&["ZREM", &schedule, entry]).await;
    }

    // An event without its time, one that is damaged, and one that is another's.
    for (field, value, about) in [
        ("place", "nowhere", "at a place that is not its own"),
        ("at", "noon", "\"later-2\" is damaged"),
        ("head", "x", "\"later-2\" is damaged"),
        ("event", "{}", "\"later-2\" is damaged"),
    ] {
        let old: Vec<u8> = namespace.say(&["HGET", &waits(2), field]).await;
        let _: i64 = namespace.say(&["HSET", &waits(2), field, value]).await;
        let found = findings(&store).await;
        assert!(found.iter().any(|detail| detail.contains(about)), "{field}: {found:?}");
        let _: i64 =
            namespace.command(&[b"HSET", waits(2).as_bytes(), field.as_bytes(), old.as_slice()]).await;
    }
    let others: Vec<Vec<u8>> = namespace.say(&["HMGET", &waits(0), "head", "event"]).await;
    let own: Vec<Vec<u8>> = namespace.say(&["HMGET", &waits(2), "head", "event"]).await;
    let put = async |fields: &[Vec<u8>]| {
        let key = waits(2);
        let words: [&[u8]; 6] = [b"HSET", key.as_bytes(), b"head", &fields[0], b"event", &fields[1]];
        let _: i64 = namespace.command(&words).await;
    };
    put(&others).await;
    only_finding(&store, &["what waits as the event \"later-2\" is another"]).await;
    put(&own).await;

    assert_eq!(findings(&store).await, [""; 0]);
    assert_eq!(content(&namespace).await, before, "what was planted was taken back");
}

#[tokio::test]
async fn verify_finds_keys_of_a_group_that_does_not_exist() {
    let (namespace, store) = fresh().await;
    with_letters(&store, 1).await;
    let groups = namespace.key("groups");
    let record: Vec<u8> = namespace.say(&["HGET", &groups, "g"]).await;
    let _: i64 = namespace.say(&["HDEL", &groups, "g"]).await;
    only_finding(&store, &["there are keys of the group \"g\", which does not exist"]).await;
    let _: i64 = namespace.command(&[b"HSET", groups.as_bytes(), b"g", record.as_slice()]).await;
    assert_eq!(findings(&store).await, [""; 0]);
}

/// Who may not look at every key verifies all the same, and finds what can be found from what leads to it.
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
    let order = namespace.key("dl:order");
    let _: i64 = namespace.say(&["ZADD", &order, "0", "8000000000000000:stranger"]).await;
    only_finding(&operator, &["names stranger"]).await;
}

/// What others do meanwhile is no fault.
#[tokio::test]
async fn verify_finds_nothing_beside_others_who_schedule_and_give_up() {
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
