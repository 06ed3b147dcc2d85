//! Redis servers for the tests of one process. Each bench uses a separate namespace on one of the servers.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use servers::{Binary, Config, Proxy, Server};
use tokio::runtime::Runtime;

use super::Bench;

/// The runtime that runs the servers.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
});
static SERVERS: Mutex<BTreeMap<PathBuf, &'static Server>> = Mutex::new(BTreeMap::new());
static NAMESPACES: AtomicU32 = AtomicU32::new(0);

/// Returns a server of the default program. Returns none if no program is installed, and prints the skipped test.
pub fn server() -> Option<&'static Server> {
    let binary = Binary::default();
    if binary.major() == 0 {
        not_run("Redis, there is no redis-server");
        return None;
    }
    Some(started(&binary))
}

/// Returns a server of the installed program with this name and major version.
pub fn server_of(name: &str, major: u32) -> Option<&'static Server> {
    let binary = Binary::installed(name, major).unwrap();
    if binary.is_none() {
        not_run(&format!("{name} {major}, which is not installed"));
    }
    binary.as_ref().map(started)
}

/// Waits for a future on the runtime of the servers.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(future)
}

fn started(binary: &Binary) -> &'static Server {
    // A panic in one test must not fail other tests.
    let mut servers = SERVERS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    servers.entry(binary.path.clone()).or_insert_with(|| {
        // The server ends with the process.
        Box::leak(Box::new(RUNTIME.block_on(Server::start(binary, &Config::default())).unwrap()))
    })
}

#[allow(clippy::print_stderr, reason = "what did not run is named")]
fn not_run(what: &str) {
    eprintln!("NOT RUN: the command line on {what}");
}

impl Bench {
    /// Returns a bench with a store on Redis that does not exist yet.
    pub fn on_redis() -> Option<Self> {
        server().map(Self::on_server)
    }

    /// Returns a bench with a store that does not exist yet, on the program with this name and major version.
    pub fn on(name: &str, major: u32) -> Option<Self> {
        server_of(name, major).map(Self::on_server)
    }

    /// Returns a bench with a store on Redis behind a proxy, which can refuse connections.
    pub fn behind_a_proxy() -> Option<(Self, Proxy)> {
        let server = server()?;
        let proxy = block_on(Proxy::start(server.port())).unwrap();
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let store = format!("{}?namespace=bench-{number}", proxy.url(&server.url(), server.port()));
        Some((Self::new().env("EVENT_REPLAY_STORE", &store), proxy))
    }

    fn on_server(server: &Server) -> Self {
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let store = format!("{}?namespace=bench-{number}", server.url());
        Self::new().env("EVENT_REPLAY_STORE", &store)
    }
}
