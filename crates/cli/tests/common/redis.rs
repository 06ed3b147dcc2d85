//! A Redis server for the tests of a process, and benches whose store is a namespace of its own on it.

use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

use servers::{Binary, Config, Server};
use tokio::runtime::Runtime;

use super::Bench;

static SERVER: OnceLock<Option<(Server, Runtime)>> = OnceLock::new();
static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// The server; none where no program for one is installed, and then it is said what did not run.
pub fn server() -> Option<&'static Server> {
    let made = SERVER.get_or_init(|| {
        let binary = Binary::default();
        if binary.major() == 0 {
            return None;
        }
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.block_on(Server::start(&binary, &Config::default())).unwrap();
        Some((server, runtime))
    });
    if made.is_none() {
        #[allow(clippy::print_stderr, reason = "what did not run is named")]
        {
            eprintln!("NOT RUN: the command line on Redis, there is no redis-server");
        }
    }
    made.as_ref().map(|(server, _)| server)
}

impl Bench {
    /// A bench whose store is on Redis, and not there yet.
    pub fn on_redis() -> Option<Self> {
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let store = format!("{}?namespace=bench-{number}", server()?.url());
        Some(Self::new().env("EVENT_REPLAY_STORE", &store))
    }
}
