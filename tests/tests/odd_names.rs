//! Unusual names never collide on a real server. Ids, types, sources, correlation ids, entities, groups, checkpoints
//! and schemas get such names. Each object is found by its own name only, and no key on the server contains text from
//! users.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

#[path = "support/odd.rs"]
mod odd;
#[path = "support/odd_kept.rs"]
mod odd_kept;
mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use domain::{
    Document, Entity, Event, Filter, Limits, TypePattern,
    ports::{AppendOutcome, Atomicity, EventStore, ReadRequest, engine::SpaceKind},
};
use serde_json::json;
use servers::Server;
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;

/// The names of an event.
#[derive(Debug, Clone)]
struct Called {
    id: String,
    event_type: String,
    source: String,
    correlation: Option<String>,
    entities: BTreeMap<String, String>,
}

/// A search for events by one name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Look {
    Id(String),
    Type(String),
    Source(String),
    Correlation(String),
    Entity(String, String),
}

impl Called {
    fn draw(random: &mut fastrand::Rng, id: &str, names: &[String], pairs: &[(String, String)]) -> Self {
        let mut name = || random.choice(names).cloned().unwrap();
        let (event_type, source, correlation) = (name(), name(), name());
        Self {
            id: id.to_owned(),
            event_type,
            source,
            correlation: random.bool().then_some(correlation),
            entities: (0..random.usize(..3)).map(|_| random.choice(pairs).cloned().unwrap()).collect(),
        }
    }

    fn event(&self) -> Event {
        let mut json = json!({
            "id": self.id, "type": self.event_type, "version": "1", "timestamp": "2024-01-15T10:30:00Z",
            "source": self.source, "metadata": {},
        });
        if let Some(correlation) = &self.correlation {
            json["correlationId"] = json!(correlation);
        }
        for (kind, id) in &self.entities {
            json[format!("{kind}Id")] = json!(id);
        }
        Document::parse(json.to_string().as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
    }

    /// The definition of a match. In a search for types, a star matches any text.
    fn is_meant(&self, look: &Look) -> bool {
        match look {
            Look::Id(id) => self.id == *id,
            Look::Type(pattern) => pattern == &self.event_type || glob(pattern, &self.event_type),
            Look::Source(source) => self.source == *source,
            Look::Correlation(id) => self.correlation.as_ref() == Some(id),
            Look::Entity(kind, id) => self.entities.get(kind) == Some(id),
        }
    }

    fn looks(&self) -> Vec<Look> {
        let mut looks = vec![
            Look::Id(self.id.clone()),
            Look::Type(self.event_type.clone()),
            Look::Source(self.source.clone()),
        ];
        looks.extend(self.correlation.clone().map(Look::Correlation));
        looks.extend(self.entities.iter().map(|(kind, id)| Look::Entity(kind.clone(), id.clone())));
        looks
    }
}

/// Whether a text matches a pattern. The match works on prefixes of the text, because some names contain many stars.
fn glob(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let mut can = vec![false; text.len() + 1];
    can[0] = true;
    for c in pattern.chars() {
        can = match c {
            '*' => (0..can.len()).map(|end| can[..=end].contains(&true)).collect(),
            c => (0..can.len()).map(|end| end > 0 && can[end - 1] && text[end - 1] == c).collect(),
        };
    }
    can[text.len()]
}

/// An implementation of searches.
#[async_trait]
trait Finds {
    /// Returns the ids of the matching events, in log order.
    async fn find(&self, look: &Look) -> Vec<String>;
}

#[async_trait]
impl Finds for Store {
    async fn find(&self, look: &Look) -> Vec<String> {
        let one = |text: &String| BTreeSet::from([text.clone()]);
        let filter = match look {
            Look::Id(id) => Filter { event_ids: [id.clone()].into(), ..Filter::default() },
            Look::Type(text) => Filter { types: vec![TypePattern::new(text)], ..Filter::default() },
            Look::Source(text) => Filter { sources: one(text), ..Filter::default() },
            Look::Correlation(id) => Filter::correlation(id),
            Look::Entity(kind, id) => Filter::of_entity(Entity::new(kind, id)),
        };
        let filter = Arc::new(filter);
        let page = self.read(&ReadRequest::new(filter.clone(), 1000)).await.unwrap();
        assert_eq!((page.corrupt, page.next), (vec![], None));
        let ids: Vec<String> = page.events.iter().map(|stored| stored.event.id().to_owned()).collect();
        assert_eq!(self.count(&filter, None).await.unwrap(), ids.len() as u64, "{look:?}");
        if let Look::Id(id) = look {
            let got = self.get(std::slice::from_ref(id)).await.unwrap();
            assert!(got.iter().map(|stored| stored.event.id()).eq(&ids), "{look:?}");
        }
        ids
    }
}

/// Returns the searches with a result that differs from the definition.
async fn confusions(finds: &impl Finds, all: &[Called], looks: &BTreeSet<Look>) -> Vec<String> {
    let mut confused = Vec::new();
    for look in looks {
        let meant: Vec<&str> =
            all.iter().filter(|called| called.is_meant(look)).map(|c| c.id.as_str()).collect();
        let found = finds.find(look).await;
        if found != meant {
            confused.push(format!("{look:?}: found {found:?}, meant {meant:?}"));
        }
    }
    confused
}

/// Returns events with unusual names, and searches for every name, whether or not an event has the name.
fn drawn(random: &mut fastrand::Rng) -> (Vec<Called>, BTreeSet<Look>) {
    let names = odd::names(random, 60);
    let pairs = odd::pairs(random, &names, 40);
    // An event may have one entity of a kind. Kinds that would name other members of an event are excluded.
    let is_kind = |(kind, _): &&(String, String)| kind != "correlation" && kind != "causation";
    let pairs: Vec<_> = pairs.iter().filter(is_kind).cloned().collect();
    let mut all: Vec<Called> = names.iter().map(|id| Called::draw(random, id, &names, &pairs)).collect();
    // Each pair gets an event.
    assert!(pairs.len() <= all.len());
    for (called, (kind, id)) in all.iter_mut().zip(&pairs) {
        called.entities.insert(kind.clone(), id.clone());
    }
    let mut looks: BTreeSet<Look> = all.iter().flat_map(Called::looks).collect();
    for name in &names {
        looks.extend([Look::Type(name.clone()), Look::Source(name.clone()), Look::Correlation(name.clone())]);
    }
    looks.extend(pairs.iter().map(|(kind, id)| Look::Entity(kind.clone(), id.clone())));
    (all, looks)
}

async fn check_events(store: &Store, random: &mut fastrand::Rng) {
    let (mut all, looks) = drawn(random);
    for batch in all.chunks(17) {
        let events: Vec<Event> = batch.iter().map(Called::event).collect();
        let outcomes = store.append(&events, Atomicity::Each).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
    }
    assert_eq!(confusions(store, &all, &looks).await, [""; 0]);
    // The erasure of an entity removes its own events, and keeps the events of all other names.
    let erased = all.iter().find_map(|called| called.entities.first_key_value()).unwrap();
    let erased = (erased.0.clone(), erased.1.clone());
    store.erase(&Entity::new(&erased.0, &erased.1)).await.unwrap();
    all.retain(|called| called.entities.get(&erased.0) != Some(&erased.1));
    assert_eq!(confusions(store, &all, &looks).await, [""; 0], "after erasing {erased:?}");
    let report = store.verify(None).await.unwrap();
    assert_eq!((report.total_findings, report.events), (0, all.len() as u64), "{:?}", report.findings);
}

/// Whether the rest of a key, after the prefix of its namespace, is a key of `docs/redis-format.md`.
fn is_documented(rest: &str) -> bool {
    let number = |text: &str| {
        let digits = text.strip_prefix('-').unwrap_or(text);
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    // base64url without padding.
    let encoded = |text: &str| {
        let is_of = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !text.is_empty() && text.bytes().all(is_of)
    };
    let is_kind = |text: &str| SpaceKind::ALL.iter().any(|kind| kind.name() == text);
    match rest.split(':').collect::<Vec<_>>()[..] {
        [name] => ["meta", "chunks", "zdict", "holes", "unscrubbed", "pending", "runs"].contains(&name),
        ["log" | "dir" | "d" | "replayed" | "copy", n] => number(n),
        ["run", stretch] => stretch.split_once('-').is_some_and(|(base, last)| number(base) && number(last)),
        ["ix", chunk, "t" | "s" | "e", text] => number(chunk) && encoded(text),
        ["ix", chunk, "h", hour] => number(chunk) && number(hour),
        ["r", kind] => is_kind(kind),
        ["r", kind, scope] => is_kind(kind) && encoded(scope),
        _ => false,
    }
}

/// Checks that the server has many keys, and that each key is documented.
async fn check_keys(server: &Server, namespaces: &[String]) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    assert!(keys.len() > 100 * namespaces.len(), "{}", keys.len());
    for key in keys {
        let text = String::from_utf8(key).unwrap();
        let rest = namespaces.iter().find_map(|name| text.strip_prefix(&format!("{{{name}:0}}:")));
        assert!(rest.is_some_and(is_documented), "{text:?} is no key of docs/redis-format.md");
    }
}

#[tokio::test]
async fn everything_is_found_by_its_own_name_and_no_other() {
    let Some(server) = support::redis_server("odd names on Redis").await else { return };
    let mut random = fastrand::Rng::with_seed(support::seed());
    let rounds = support::rounds(8);
    let mut namespaces = Vec::new();
    for round in 0..rounds {
        let namespace = format!("odd-{round}");
        let options = RedisOptions { namespace: namespace.clone(), ..RedisOptions::new(server.url()) };
        let engine = RedisEngine::create(options).await.unwrap();
        let store = Store::new(engine.clone());
        check_events(&store, &mut random).await;
        odd_kept::check_groups(&store, &mut random).await;
        odd_kept::check_marks_and_schemas(&store, &mut random).await;
        odd_kept::check_waiting(&store, &mut random).await;
        engine.close().await;
        namespaces.push(namespace);
    }
    check_keys(&server, &namespaces).await;
    println!("{rounds} rounds of odd names");
}

/// The function that derives an index key from a search.
type Key = fn(&Look) -> String;

/// A naive index that does not expect unusual names.
struct Careless {
    key: Key,
    found: BTreeMap<String, Vec<String>>,
}

impl Careless {
    fn of(key: Key, all: &[Called]) -> Self {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for called in all {
            for look in called.looks() {
                let ids = found.entry(key(&look)).or_default();
                if ids.last() != Some(&called.id) {
                    ids.push(called.id.clone());
                }
            }
        }
        Self { key, found }
    }
}

#[async_trait]
impl Finds for Careless {
    async fn find(&self, look: &Look) -> Vec<String> {
        self.found.get(&(self.key)(look)).cloned().unwrap_or_default()
    }
}

/// Returns the parts of a search, as a correct key contains them.
fn parts(look: &Look) -> [&str; 3] {
    match look {
        Look::Id(text) => ["id", text, ""],
        Look::Type(text) => ["type", text, ""],
        Look::Source(text) => ["source", text, ""],
        Look::Correlation(text) => ["correlation", text, ""],
        Look::Entity(kind, id) => ["entity", kind, id],
    }
}

#[test]
fn a_star_stands_for_any_text() {
    for (pattern, text, is_so) in [
        ("", "", true),
        ("*", "", true),
        ("a*b", "ab", true),
        ("a*b", "a**b", true),
        ("a*b", "abc", false),
        ("**a", "bca", true),
        ("*a*a*", "a", false),
        ("ä", "ä", true),
    ] {
        assert_eq!(glob(pattern, text), is_so, "{pattern} {text}");
    }
    assert!(!glob(&("*".repeat(127) + "b"), &"a".repeat(128)));
}

/// The control: each of these keys confuses some names, and the same check detects it.
#[tokio::test]
async fn keys_that_confuse_names_are_noticed() {
    let mut random = fastrand::Rng::with_seed(support::seed());
    let (all, mut looks) = drawn(&mut random);
    // The naive index does not support patterns.
    looks.retain(|look| !matches!(look, Look::Type(text) if text.contains('*')));
    let right = Careless::of(|look| format!("{:?}", parts(look)), &all);
    assert_eq!(confusions(&right, &all, &looks).await, [""; 0]);
    let wrong: [(&str, Key); 6] = [
        ("joined", |look| parts(look).concat()),
        ("joined by a colon", |look| parts(look).join(":")),
        ("in small letters", |look| format!("{:?}", parts(look)).to_lowercase()),
        ("without controls", |look| {
            parts(look).join("/").chars().filter(|c| !c.is_control() && *c != '\u{202e}').collect()
        }),
        ("without braces and hyphens", |look| parts(look).join("/").replace(['{', '}', '-'], "")),
        ("cut", |look| parts(look).map(|part| part.chars().take(3).collect::<String>()).join("/")),
    ];
    for (name, key) in wrong {
        let confused = confusions(&Careless::of(key, &all), &all, &looks).await;
        println!("{name}: {} of {} looks", confused.len(), looks.len());
        assert!(!confused.is_empty(), "{name}");
    }
}
