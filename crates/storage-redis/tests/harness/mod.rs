//! The parts of the suite that belong to this adapter: a separate server, fresh namespaces, and faults by plain
//! commands.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    reason = "a panic is a test's way to fail, what did not run is named; not every test uses all of it"
)]

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use conformance::{EngineHarness, EngineStorage, Faults, Harness, ManualClock, Storage, Stores};
use domain::{
    Position,
    ports::{RetentionMode, StorageEngine},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use servers::{Binary, Cluster, Config, Server};
use store::Store;
use tokio::sync::OnceCell;

/// One server of each program for the tests of a process. The first test starts it, and it ends with the process.
pub(crate) struct RedisHarness {
    url: String,
    /// The URLs of the servers themselves, for plain commands.
    servers: Vec<String>,
    partitions: u16,
}

static SERVERS: Mutex<BTreeMap<PathBuf, Arc<OnceCell<Server>>>> = Mutex::new(BTreeMap::new());

impl RedisHarness {
    /// Returns a harness on the default server, for tests that fit any server.
    pub(crate) async fn new() -> Self {
        Self::on(&Binary::default()).await
    }

    /// Returns a harness on the installed server with this name and major version. If it is not installed, prints the
    /// skipped test.
    pub(crate) async fn installed(name: &str, major: u32) -> Option<Self> {
        let Some(binary) = Binary::installed(name, major).unwrap() else {
            println!("NOT RUN: the ports' laws on {name} {major}, which is not installed");
            return None;
        };
        Some(Self::on(&binary).await)
    }

    async fn on(binary: &Binary) -> Self {
        let server = Arc::clone(SERVERS.lock().unwrap().entry(binary.path.clone()).or_default());
        let started =
            server.get_or_init(|| async { Server::start(binary, &Config::default()).await.unwrap() });
        let url = started.await.url();
        Self { servers: vec![url.clone()], url, partitions: 1 }
    }

    /// Returns a harness on servers that a test has started, under this URL.
    pub(crate) fn over(url: String, servers: &[servers::Server]) -> Self {
        Self { url, servers: servers.iter().map(servers::Server::url).collect(), partitions: 1 }
    }

    /// Returns a harness with namespaces of this number of partitions.
    pub(crate) async fn of(partitions: u16) -> Self {
        Self::new().await.with_partitions(partitions)
    }

    /// Sets the number of partitions of its namespaces.
    pub(crate) fn with_partitions(self, partitions: u16) -> Self {
        Self { partitions, ..self }
    }

    pub(crate) fn namespace(&self, clock: ManualClock, keeps: RetentionMode) -> Namespace {
        let name = format!("t{:x}", fastrand::u64(..));
        let (url, servers, partitions) = (self.url.clone(), self.servers.clone(), self.partitions);
        Namespace { url, servers, name, clock, keeps, partitions }
    }
}

#[async_trait]
impl Harness for RedisHarness {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage> {
        Box::new(self.namespace(clock, RetentionMode::History))
    }

    async fn fresh_keeping(&self, clock: ManualClock, keeps: RetentionMode) -> Option<Box<dyn Storage>> {
        Some(Box::new(self.namespace(clock, keeps)))
    }
}

#[derive(Clone)]
pub(crate) struct Namespace {
    pub(crate) url: String,
    pub(crate) servers: Vec<String>,
    pub(crate) name: String,
    pub(crate) clock: ManualClock,
    pub(crate) keeps: RetentionMode,
    pub(crate) partitions: u16,
}

impl Namespace {
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions {
            namespace: self.name.clone(),
            clock: Some(Arc::new(self.clock.clone())),
            keeps: self.keeps,
            partitions: Some(self.partitions),
            ..RedisOptions::new(&self.url)
        }
    }
}

#[async_trait]
impl Storage for Namespace {
    async fn open(&self) -> Arc<dyn Stores> {
        Arc::new(Store::new(RedisEngine::create(self.options()).await.unwrap()))
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl EngineHarness for RedisHarness {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn fresh(&self, clock: ManualClock) -> Box<dyn EngineStorage> {
        Box::new(self.namespace(clock, RetentionMode::History))
    }
}

#[async_trait]
impl EngineStorage for Namespace {
    async fn open(&self) -> Arc<dyn StorageEngine> {
        Arc::new(RedisEngine::create(self.options()).await.unwrap())
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

/// Returns a namespace that this master serves, and its slot.
pub(crate) async fn namespace_at(cluster: &Cluster, master: usize) -> (Namespace, u16) {
    let harness = RedisHarness::over(cluster.url(), cluster.nodes());
    loop {
        let namespace = harness.namespace(ManualClock::default(), RetentionMode::History);
        let slot = cluster.slot_of(&namespace.key("meta")).await.unwrap();
        if cluster.master_of(slot).await == Some(master) {
            return (namespace, slot);
        }
    }
}

/// Returns the slot of a hash tag. It is the remainder of its bits and sixteen zeros, divided by x^16 + x^12 + x^5 +
/// 1.
pub(crate) fn slot(tag: &str) -> u32 {
    let bits = tag.bytes().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let divided = |rest: u32, bit: u32| {
        let next = rest << 1 | bit;
        if next & 0x1_0000 == 0 { next } else { next ^ 0x1_1021 }
    };
    bits.chain([0; 16]).fold(0, divided) % 16_384
}

/// The number of positions of one chunk of the log.
const CHUNK: u64 = 1 << 17;

/// The id of an entry and its fields.
pub(crate) type Entry = (String, Vec<(String, Vec<u8>)>);

/// Returns the sequence in the id of an entry. The rest of the id is the stored time.
pub(crate) fn sequence_of(id: &str) -> u64 {
    id.split_once('-').unwrap().0.parse().unwrap()
}

impl Namespace {
    /// Returns a key of the only partition.
    pub(crate) fn key(&self, name: &str) -> String {
        assert_eq!(self.partitions, 1);
        self.key_in(0, name)
    }

    /// Returns a key of a partition, as in docs/redis-format.md.
    pub(crate) fn key_in(&self, partition: u16, name: &str) -> String {
        if self.partitions == 1 {
            return format!("{{{}:0}}:{name}", self.name);
        }
        let tags = (0..).map(|k| format!("{}:{partition}:{k}", self.name));
        let lies_there =
            |tag: &String| slot(tag) / (16_384 / u32::from(self.partitions)) == u32::from(partition);
        format!("{{{}}}:{name}", tags.into_iter().find(lies_there).unwrap())
    }

    /// Sends a plain command, as an operator would.
    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        for server in &self.servers {
            let client = redis::Client::open(server.as_str()).unwrap();
            let Ok(mut connection) = client.get_multiplexed_async_connection().await else { continue };
            match command.query_async(&mut connection).await {
                // Another server has the key.
                Err(error) if matches!(error.code(), Some("MOVED" | "READONLY")) => {}
                answer => return answer.unwrap(),
            }
        }
        panic!("no server takes {:?}", words.first().map(|word| String::from_utf8_lossy(word)))
    }

    /// Sends a command like [`Namespace::command`], with words that are texts.
    pub(crate) async fn say<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.command(&words).await
    }

    /// Returns the list of a type's positions, in the chunk of a position, with its directory and field.
    fn type_list(&self, at: Position, event_type: &str) -> (String, String, String) {
        let (chunk, field) = (at.sequence / CHUNK, format!("t:{}", URL_SAFE_NO_PAD.encode(event_type)));
        let key = |name: String| self.key_in(at.partition, &name);
        (key(format!("ix:{chunk}:{field}")), key(format!("dir:{chunk}")), field)
    }
}

#[async_trait]
impl Faults for Namespace {
    /// Rewrites the chunk with a changed byte in this entry, since entries cannot be changed.
    async fn damage_event(&self, at: Position) {
        let log = self.key_in(at.partition, &format!("log:{}", at.sequence / CHUNK));
        let entries: Vec<Entry> = self.say(&["XRANGE", &log, "-", "+"]).await;
        let id = entries.iter().map(|(own, _)| own).find(|own| sequence_of(own) == at.sequence).cloned();
        let id = id.unwrap_or_else(|| panic!("there is no event at {at}"));
        let _: i64 = self.say(&["DEL", &log]).await;
        for (own, mut fields) in entries {
            if own == id {
                let (_, json) = fields.iter_mut().find(|(name, _)| name == "event").unwrap();
                let byte = json.iter_mut().rev().find(|byte| byte.is_ascii_alphanumeric()).unwrap();
                *byte = if *byte == b'x' { b'y' } else { b'x' };
            }
            let mut words: Vec<&[u8]> = vec![b"XADD", log.as_bytes(), own.as_bytes()];
            words.extend(fields.iter().flat_map(|(name, value)| [name.as_bytes(), value]));
            let _: String = self.command(&words).await;
        }
    }

    async fn drop_index_entry(&self, at: Position) {
        RedisEngine::open(self.options()).await.unwrap().fold().await.unwrap();
        let log = self.key_in(at.partition, &format!("log:{}", at.sequence / CHUNK));
        let id = at.sequence.to_string();
        let entries: Vec<Entry> = self.say(&["XRANGE", &log, &id, &id]).await;
        let (_, json) = entries[0].1.iter().find(|(name, _)| name == "event").unwrap();
        let json: serde_json::Value = serde_json::from_slice(json).unwrap();
        let (list, _, _) = self.type_list(at, json["type"].as_str().unwrap());
        let dropped: i64 = self.say(&["LREM", &list, "1", &(at.sequence % CHUNK).to_string()]).await;
        assert_eq!(dropped, 1);
    }

    async fn plant_index_entry(&self, at: Position) {
        let (list, directory, field) = self.type_list(at, "planted");
        let _: i64 = self.say(&["RPUSH", &list, &(at.sequence % CHUNK).to_string()]).await;
        let _: i64 = self.say(&["HSET", &directory, &field, "1"]).await;
    }
}

impl Namespace {
    /// Returns the name of a function in a server that has the library.
    pub(crate) async fn function(&self, name: &str) -> String {
        for server in &self.servers {
            let namespace = Self { servers: vec![server.clone()], ..self.clone() };
            let listed: redis::Value = namespace.say(&["FUNCTION", "LIST"]).await;
            let listed = format!("{listed:?}");
            if let Some(at) = listed.find(&format!("er_{name}_")) {
                let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
                return listed[at..].chars().take_while(|c| is_of_name(*c)).collect();
            }
        }
        panic!("no server has the library");
    }

    /// Returns the log as plain commands find it on its server: the state, and all entries of all chunks.
    pub(crate) async fn log(&self) -> (std::collections::HashMap<String, String>, Vec<Entry>) {
        let meta = self.say(&["HGETALL", &self.key("meta")]).await;
        let chunks: Vec<u64> = self.say(&["ZRANGE", &self.key("chunks"), "0", "-1"]).await;
        let mut entries = Vec::new();
        for chunk in chunks {
            let found: Vec<Entry> = self.say(&["XRANGE", &self.key(&format!("log:{chunk}")), "-", "+"]).await;
            entries.extend(found);
        }
        (meta, entries)
    }
}
