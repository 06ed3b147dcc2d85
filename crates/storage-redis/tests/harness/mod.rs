//! What the suite needs of this adapter: a server of its own, fresh namespaces on it, and damage by plain commands.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a panic is a test's way to fail; not every test uses all of it"
)]

use std::{
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use conformance::{Faults, Harness, ManualClock, Storage, Stores};
use domain::{Position, ports::Keeps};
use storage_redis::{RedisOptions, RedisStore};

/// One server for the tests of a process: it is made by the first, and ends when the process does.
pub(crate) struct RedisHarness {
    url: String,
    partitions: u16,
}

static SERVER: tokio::sync::OnceCell<(Server, String)> = tokio::sync::OnceCell::const_new();

struct Server(Child);

impl RedisHarness {
    pub(crate) async fn new() -> Self {
        Self::of(1).await
    }

    /// Of namespaces with so many partitions.
    pub(crate) async fn of(partitions: u16) -> Self {
        let url = match std::env::var("EVENT_REPLAY_TEST_REDIS") {
            Ok(url) => url,
            Err(_) => SERVER.get_or_init(start).await.1.clone(),
        };
        Self { url, partitions }
    }

    pub(crate) fn namespace(&self, clock: ManualClock, keeps: Keeps) -> Namespace {
        let name = format!("t{:x}", fastrand::u64(..));
        Namespace { url: self.url.clone(), name, clock, keeps, partitions: self.partitions }
    }
}

#[allow(clippy::zombie_processes, reason = "the shell ends with the server, which ends with this process")]
async fn start() -> (Server, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // The shell ends the server when this process is gone: a static is never dropped.
    let script = format!(
        "redis-server --bind 127.0.0.1 --port {port} --save '' --appendonly no --daemonize no >/dev/null & \
         server=$!; while kill -0 {} 2>/dev/null; do sleep 1; done; kill $server",
        std::process::id()
    );
    let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).spawn().unwrap();
    let url = format!("redis://127.0.0.1:{port}/");
    let client = redis::Client::open(url.as_str()).unwrap();
    for _ in 0..200 {
        if let Ok(mut connection) = client.get_multiplexed_async_connection().await
            && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
        {
            return (Server(child), url);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the Redis server did not come up");
}

#[async_trait]
impl Harness for RedisHarness {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage> {
        Box::new(self.namespace(clock, Keeps::History))
    }

    async fn fresh_keeping(&self, clock: ManualClock, keeps: Keeps) -> Option<Box<dyn Storage>> {
        Some(Box::new(self.namespace(clock, keeps)))
    }
}

pub(crate) struct Namespace {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) clock: ManualClock,
    pub(crate) keeps: Keeps,
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
        Arc::new(RedisStore::create(self.options()).await.unwrap())
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

/// The slot of a hash tag: the remainder of its bits and sixteen noughts, divided by x^16 + x^12 + x^5 + 1.
pub(crate) fn slot(tag: &str) -> u32 {
    let bits = tag.bytes().flat_map(|byte| (0..8).rev().map(move |bit| u32::from(byte >> bit & 1)));
    let divided = |rest: u32, bit: u32| {
        let next = rest << 1 | bit;
        if next & 0x1_0000 == 0 { next } else { next ^ 0x1_1021 }
    };
    bits.chain([0; 16]).fold(0, divided) % 16_384
}

/// Positions of one chunk of the log.
const CHUNK: u64 = 1 << 17;

/// The id of an entry and its fields.
pub(crate) type Entry = (String, Vec<(String, Vec<u8>)>);

impl Namespace {
    /// A key of the only partition.
    pub(crate) fn key(&self, name: &str) -> String {
        assert_eq!(self.partitions, 1);
        self.key_in(0, name)
    }

    /// A key of a partition, as docs/redis-format.md says.
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
        let client = redis::Client::open(self.url.as_str()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        command.query_async(&mut connection).await.unwrap()
    }

    /// As [`Namespace::command`], of words that are texts.
    pub(crate) async fn say<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.command(&words).await
    }

    /// The list of a type's positions in the chunk of a position.
    fn type_list(&self, at: Position, event_type: &str) -> (String, String, String) {
        let (chunk, field) = (at.sequence / CHUNK, format!("t:{}", URL_SAFE_NO_PAD.encode(event_type)));
        let key = |name: String| self.key_in(at.partition, &name);
        (key(format!("ix:{chunk}:{field}")), key(format!("dir:{chunk}")), field)
    }
}

#[async_trait]
impl Faults for Namespace {
    /// Entries cannot be changed: the chunk is written anew with other bytes in one of them.
    async fn damage_event(&self, at: Position) {
        let (log, id) = (
            self.key_in(at.partition, &format!("log:{}", at.sequence / CHUNK)),
            format!("{}-0", at.sequence),
        );
        let entries: Vec<Entry> = self.say(&["XRANGE", &log, "-", "+"]).await;
        assert!(entries.iter().any(|(own, _)| *own == id), "there is no event at {at}");
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
        let (log, id) = (
            self.key_in(at.partition, &format!("log:{}", at.sequence / CHUNK)),
            format!("{}-0", at.sequence),
        );
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
