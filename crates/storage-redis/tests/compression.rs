//! Compressed events: a namespace with compression stores fewer bytes, and readers see no difference.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a panic is a test's way to fail, and it says how much was saved"
)]

mod harness;

use conformance::ManualClock;
use domain::{
    Document, Event, Filter, Limits, Position,
    ports::{AppendOutcome, Atomicity, EventStore as _, ReadRequest, RetentionMode},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use generator::{Generator, Settings};
use harness::{Entry, Namespace, RedisHarness, sequence_of};
use store::Store;

async fn namespace(compression: bool) -> (Namespace, RedisOptions) {
    let namespace = RedisHarness::new().await.namespace(ManualClock::default(), RetentionMode::History);
    let options = RedisOptions { compression, ..namespace.options() };
    (namespace, options)
}

fn generated(count: u64) -> Vec<Event> {
    let admit = |json: &str| Document::parse(json.as_bytes(), &Limits::default()).ok()?.into_event().ok();
    let made: Vec<Event> =
        Generator::new(Settings::demo(count)).filter_map(|made| admit(&made.json)).collect();
    assert!(made.len() as u64 > count * 9 / 10);
    made
}

async fn append(store: &Store, events: &[Event]) {
    for batch in events.chunks(100) {
        let outcomes = store.append(batch, Atomicity::Each).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
    }
}

async fn texts(store: &Store, filter: Filter) -> Vec<String> {
    let mut request = ReadRequest::new(filter, 500);
    let mut found = Vec::new();
    loop {
        let page = store.read(&request).await.unwrap();
        assert_eq!(page.corrupt, []);
        found.extend(page.events.iter().map(|stored| stored.event.json().to_owned()));
        match page.next {
            Some(next) => request.after = Some(next),
            None => return found,
        }
    }
}

/// Returns the bytes that the server uses for the log alone.
async fn log_bytes(namespace: &Namespace) -> u64 {
    namespace.say(&["MEMORY", "USAGE", &namespace.key("log:0"), "SAMPLES", "0"]).await
}

#[tokio::test]
async fn compressed_events_are_read_as_they_came_and_take_less() {
    let events = generated(4_000);
    let json: u64 = events.iter().map(|event| event.size_bytes() as u64).sum();
    let mut kept = Vec::new();
    for compression in [false, true] {
        let (namespace, options) = namespace(compression).await;
        let store = Store::new(RedisEngine::create(options.clone()).await.unwrap());
        append(&store, &events).await;
        assert_eq!(store.info().await.unwrap().bytes, json, "what counts is the text");
        let other = Store::new(
            RedisEngine::open(RedisOptions { compression: !compression, ..options }).await.unwrap(),
        );
        let all: Vec<&str> = events.iter().map(Event::json).collect();
        for store in [&store, &other] {
            assert_eq!(texts(store, Filter::default()).await, all);
            let outcomes = store.append(&events[..3], Atomicity::Each).await.unwrap();
            assert!(outcomes.iter().all(|o| matches!(o, AppendOutcome::AlreadyStored(_))), "{outcomes:?}");
        }
        let correlation = events.iter().find_map(Event::correlation_id).unwrap();
        let of: Vec<&str> =
            events.iter().filter(|e| e.correlation_id() == Some(correlation)).map(Event::json).collect();
        assert_eq!(texts(&other, Filter::correlation(correlation)).await, of);
        let report = other.verify(None).await.unwrap();
        assert_eq!((report.total_findings, report.events), (0, events.len() as u64), "{:?}", report.findings);
        kept.push(log_bytes(&namespace).await);
        // After the first thousand events there is a dictionary.
        let last: Vec<Entry> =
            namespace.say(&["XREVRANGE", &namespace.key("log:0"), "+", "-", "COUNT", "1000"]).await;
        let heads = last.iter().flat_map(|(_, fields)| fields).filter(|(name, _)| name == "head");
        assert!(heads.into_iter().all(|(_, head)| head.is_empty() == compression), "a head is with its text");
        let texts = last.iter().flat_map(|(_, fields)| fields).filter(|(name, _)| name == "event");
        let texts: Vec<&[u8]> = texts.map(|(_, text)| &**text).collect();
        assert!(texts.iter().all(|text| text.starts_with(&[0, 0, 1]) == compression));
        eprintln!("compression {compression}: {} bytes a text", texts.concat().len() / texts.len());
    }
    let per = |bytes: u64| bytes / events.len() as u64;
    eprintln!(
        "bytes an event: {} of text; in the log {}, compressed {}",
        per(json),
        per(kept[0]),
        per(kept[1])
    );
    assert!(kept[1] * 10 < kept[0] * 7, "{kept:?}");
}

/// A namespace has such entries if it was made before heads were packed.
#[tokio::test]
async fn a_text_that_was_packed_without_its_head_is_read() {
    let events = generated(20);
    let (namespace, options) = namespace(true).await;
    let store = Store::new(RedisEngine::create(options).await.unwrap());
    append(&store, &events).await;
    let log = namespace.key("log:0");
    let entries: Vec<Entry> = namespace.say(&["XRANGE", &log, "-", "+"]).await;
    let _: i64 = namespace.say(&["DEL", &log]).await;
    for ((id, _), event) in entries.iter().zip(&events) {
        let frame = zstd::bulk::compress(event.json().as_bytes(), 3).unwrap();
        let (text, head) = ([&[0, 0, 0][..], &frame].concat(), domain::event::head::encode(event));
        let words: [&[u8]; 7] = [b"XADD", log.as_bytes(), id.as_bytes(), b"event", &text, b"head", &head];
        let _: String = namespace.command(&words).await;
    }
    let all: Vec<&str> = events.iter().map(Event::json).collect();
    assert_eq!(texts(&store, Filter::default()).await, all);
}

#[tokio::test]
async fn a_dictionary_that_is_gone_makes_its_events_damaged_and_no_others() {
    let events = generated(1_400);
    let (namespace, options) = namespace(true).await;
    append(&Store::new(RedisEngine::create(options.clone()).await.unwrap()), &events).await;
    let entries: Vec<Entry> = namespace.say(&["XRANGE", &namespace.key("log:0"), "-", "+"]).await;
    let needs =
        |entry: &&Entry| entry.1.iter().any(|(name, value)| name == "event" && value.starts_with(&[0, 0, 1]));
    let needing: Vec<Position> =
        entries.iter().filter(needs).map(|(id, _)| Position::new(0, sequence_of(id))).collect();
    assert!((100..1_000).contains(&needing.len()), "{} of {}", needing.len(), events.len());
    let _: i64 = namespace.say(&["DEL", &namespace.key("zdict")]).await;
    let store = Store::new(RedisEngine::open(options).await.unwrap());
    let (mut request, mut corrupt, mut read) = (ReadRequest::new(Filter::default(), 500), Vec::new(), 0);
    loop {
        let page = store.read(&request).await.unwrap();
        read += page.events.len();
        corrupt.extend(page.corrupt.iter().map(|corrupt| corrupt.position));
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    assert_eq!(corrupt, needing);
    assert_eq!(read, events.len() - needing.len());
}

#[tokio::test]
async fn a_dictionary_says_nothing_of_people() {
    let events = generated(1_200);
    let (namespace, options) = namespace(true).await;
    append(&Store::new(RedisEngine::create(options).await.unwrap()), &events).await;
    let dictionary: Vec<u8> = namespace.say(&["HGET", &namespace.key("zdict"), "1"]).await;
    assert!(dictionary.len() > 1_000);
    let has = |text: &str| dictionary.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("\"timestamp\""));
    for event in &events {
        let values = event.entities().map(|(_, id)| id).chain([event.id()]).chain(event.correlation_id());
        for value in values.filter(|value| value.len() > 5) {
            assert!(!has(value), "{value:?} is in the dictionary");
        }
    }
}
