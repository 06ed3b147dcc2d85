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
use conformance::{Faults, Harness, ManualClock, Storage, Stores};
use domain::ports::Keeps;
use storage_redis::{RedisOptions, RedisStore};

/// One server for the tests of a process: it is made by the first, and ends when the process does.
pub(crate) struct RedisHarness {
    url: String,
}

static SERVER: tokio::sync::OnceCell<(Server, String)> = tokio::sync::OnceCell::const_new();

struct Server(Child);

impl RedisHarness {
    pub(crate) async fn new() -> Self {
        let url = match std::env::var("EVENT_REPLAY_TEST_REDIS") {
            Ok(url) => url,
            Err(_) => SERVER.get_or_init(start).await.1.clone(),
        };
        Self { url }
    }

    pub(crate) fn namespace(&self, clock: ManualClock, keeps: Keeps) -> Namespace {
        let name = format!("t{:x}", fastrand::u64(..));
        Namespace { url: self.url.clone(), name, clock, keeps }
    }
}

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
}

impl Namespace {
    pub(crate) fn options(&self) -> RedisOptions {
        RedisOptions {
            namespace: self.name.clone(),
            clock: Some(Arc::new(self.clock.clone())),
            keeps: self.keeps,
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
        None
    }
}
