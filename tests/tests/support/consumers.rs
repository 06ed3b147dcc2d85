//! Consumers in processes of their own, over one store that the test publishes to: a SQLite file, or a Redis server.

use std::{
    collections::BTreeSet,
    io::{Read, Seek, SeekFrom},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    Event,
    group::SegmentStatus,
    ports::{AppendOutcome, Atomicity, DeadLetterQuery, Stores},
};
use servers::{Binary, Cluster, Config, Sentinels, Server};
use storage_redis::{RedisEngine, RedisOptions};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;

use super::effects::{self, Line, Planned, Verdict};

pub(crate) const GROUP: &str = "workers";

/// How long a test waits while nothing is handled; how soon things come is not promised.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a store is kept by.
#[derive(Debug, Clone)]
pub(crate) enum Keeper {
    /// A file.
    Sqlite,
    /// This server program.
    Redis(Binary),
    /// A master of it with two replicas, and three sentinels.
    Sentinel(Binary),
    /// Three masters of it with a replica each.
    Cluster(Binary),
}

/// What runs as long as the store is used.
pub(crate) enum Servers {
    /// A file needs nothing that runs.
    None,
    One(Box<Server>),
    Sentinel(Sentinels),
    Cluster(Cluster),
}

impl Servers {
    /// Starts what keeps a store.
    pub(crate) async fn start(keeper: &Keeper) -> Self {
        match keeper {
            Keeper::Sqlite => Self::None,
            Keeper::Redis(binary) => {
                Self::One(Box::new(Server::start(binary, &Config::default()).await.unwrap()))
            }
            Keeper::Sentinel(binary) => {
                Self::Sentinel(Sentinels::start(binary, &Config::default()).await.unwrap())
            }
            Keeper::Cluster(binary) => {
                Self::Cluster(Cluster::start(binary, &Config::default()).await.unwrap())
            }
        }
    }

    pub(crate) fn url(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::One(server) => Some(server.url()),
            Self::Sentinel(trio) => Some(trio.url()),
            Self::Cluster(cluster) => Some(cluster.url()),
        }
    }
}

impl Keeper {
    /// Redis on each of the programs that a test runs on.
    pub(crate) fn servers() -> Vec<Self> {
        super::binaries().into_iter().map(Self::Redis).collect()
    }
}

impl std::fmt::Display for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite => f.write_str("SQLite"),
            Self::Redis(binary) => binary.fmt(f),
            Self::Sentinel(binary) => write!(f, "{binary} with sentinels"),
            Self::Cluster(binary) => write!(f, "a cluster of {binary}"),
        }
    }
}

/// A store, its file of effects, and who consumes it.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) servers: Servers,
    pub(crate) store: Arc<dyn Stores>,
    started: u32,
    killed: BTreeSet<u32>,
}

/// A consumer's process. Dropped, it is killed.
pub(crate) struct Process {
    pub(crate) number: u32,
    pub(crate) name: String,
    child: Child,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
    }
}

impl World {
    pub(crate) async fn new(keeper: &Keeper) -> Self {
        Self::with_timeout(keeper, Duration::from_secs(5)).await
    }

    /// Where calls of the test itself may take so long, if the store is on servers.
    pub(crate) async fn with_timeout(keeper: &Keeper, timeout: Duration) -> Self {
        println!("on {keeper}");
        let folder = tempfile::tempdir().unwrap();
        let servers = Servers::start(keeper).await;
        let store: Arc<dyn Stores> = match servers.url() {
            None => {
                let options = SqliteOptions::new(folder.path().join("events.db"));
                Arc::new(SqliteEngine::create(options).await.map(Store::new).unwrap())
            }
            Some(url) => {
                let options = RedisOptions { timeout, ..RedisOptions::new(url) };
                Arc::new(RedisEngine::create(options).await.map(Store::new).unwrap())
            }
        };
        Self { folder, servers, store, started: 0, killed: BTreeSet::new() }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("events.db")
    }

    /// What the consumers' processes are told of the store.
    fn location(&self) -> String {
        self.servers.url().unwrap_or_else(|| self.file().display().to_string())
    }

    fn effects_file(&self) -> PathBuf {
        self.folder.path().join("effects")
    }

    pub(crate) fn effects(&self) -> Vec<Line> {
        effects::read(&self.effects_file())
    }

    /// Waits until a process has done something, or for a while where it has nothing to do.
    pub(crate) fn next_effect_of(&self, process: &Process) {
        let mut file = std::fs::File::open(self.effects_file()).unwrap();
        file.seek(SeekFrom::End(0)).unwrap();
        let (end, number) = (Instant::now() + Duration::from_secs(1), process.number.to_string());
        let mut news = String::new();
        while Instant::now() < end {
            file.read_to_string(&mut news).unwrap();
            if news.lines().any(|line| line.split(' ').next() == Some(&number)) {
                return;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Starts a consumer, under this name or one of its own.
    pub(crate) fn start(&mut self, name: Option<&str>, options: &[&str]) -> Process {
        self.started += 1;
        let number = self.started;
        let name = name.map_or_else(|| format!("p{number}"), str::to_owned);
        let child = Command::new(env!("CARGO_BIN_EXE_test-consumer"))
            .arg(self.location())
            .args([GROUP, &number.to_string()])
            .arg(self.effects_file())
            .arg(format!("name={name}"))
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Process { number, name, child }
    }

    /// Kills a consumer: it learns nothing of it.
    pub(crate) fn kill(&mut self, mut process: Process) {
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        self.killed.insert(process.number);
    }

    /// A consumer that ended by itself, and should not have.
    pub(crate) fn crashed(&mut self, process: &Process) {
        self.killed.insert(process.number);
    }

    /// Tells a consumer to stop, and waits until it has.
    pub(crate) fn stop(&self, mut process: Process) {
        drop(process.child.stdin.take());
        let status = process.child.wait().unwrap();
        assert!(status.success(), "consumer {}: {status}", process.number);
    }

    /// Stops a process in the middle of its work, not in the middle of a write to a file, which would stop everyone.
    pub(crate) fn freeze(&self, process: &Process) {
        if !matches!(self.servers, Servers::None) {
            process.signal("STOP");
            return;
        }
        for _ in 0..200 {
            process.signal("STOP");
            std::thread::sleep(Duration::from_millis(20));
            let other = rusqlite::Connection::open(self.file()).unwrap();
            other.busy_timeout(Duration::from_millis(200)).unwrap();
            if other.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok() {
                return;
            }
            process.signal("CONT");
            std::thread::sleep(Duration::from_millis(7));
        }
        panic!("the process was always writing");
    }

    pub(crate) async fn publish(&self, events: &[Planned]) {
        publish(&*self.store, events).await;
    }

    /// Waits until something holds, as long as anything goes on.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let (mut end, mut size) = (Instant::now() + PATIENCE, 0);
        while !holds(self).await {
            let grown = std::fs::metadata(self.effects_file()).map_or(0, |file| file.len());
            if grown > size {
                (end, size) = (Instant::now() + PATIENCE, grown);
            }
            if Instant::now() >= end {
                let (head, group) = (self.store.head().await, self.store.group(GROUP).await);
                panic!(
                    "nothing goes on, and it never came true: {what}: the head is {head:?}, the group {group:?}"
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the group has settled everything.
    pub(crate) async fn is_idle(&self) -> bool {
        // A failover may be under way.
        let Ok(head) = self.store.head().await else { return false };
        let Ok(Some(status)) = self.store.group(GROUP).await else { return false };
        let is_at_head = |s: &SegmentStatus| s.cursor == head.sequence(s.partition);
        status.unreachable.is_empty()
            && status.segments.iter().all(|s| is_at_head(s) && s.blocked_keys == 0 && s.lane == 0)
    }

    pub(crate) async fn cursors(&self) -> Vec<u64> {
        let status = self.store.group(GROUP).await.unwrap().unwrap();
        status.segments.iter().map(|segment| segment.cursor).collect()
    }

    pub(crate) async fn dead(&self) -> BTreeSet<String> {
        let query = DeadLetterQuery { limit: 100_000, ..DeadLetterQuery::default() };
        let letters = self.store.dead_letters(&query).await.unwrap();
        letters.iter().map(|letter| letter.event.id().to_owned()).collect()
    }

    /// What the checker says of all that was done.
    pub(crate) async fn check(&self, planned: &[Planned]) -> Verdict {
        self.check_without(planned, &BTreeSet::new()).await
    }

    /// The same where some events were lost after they had been answered.
    pub(crate) async fn check_without(&self, planned: &[Planned], lost: &BTreeSet<String>) -> Verdict {
        let report = self.store.verify(None).await.unwrap();
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
        effects::check_without(planned, lost, &self.effects(), &self.killed, &self.dead().await)
    }
}

pub(crate) async fn publish(store: &dyn Stores, events: &[Planned]) {
    let admitted: Vec<Event> = events.iter().map(|planned| super::admitted(&planned.json())).collect();
    // As many as any store takes at once.
    for batch in admitted.chunks(100) {
        let outcomes = store.append(batch, Atomicity::Each).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
    }
}

/// Publishes events over about so long a time, in batches of many sizes.
pub(crate) fn publish_over(
    store: &Arc<dyn Stores>,
    events: Vec<Planned>,
    over: Duration,
    mut rng: fastrand::Rng,
) -> tokio::task::JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        let (begun, total) = (Instant::now(), events.len());
        let (mut rest, mut done) = (events.as_slice(), 0);
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(rng.usize(1..=100).min(rest.len()));
            publish(&*store, batch).await;
            done += batch.len();
            rest = others;
            let due = begun + over.mul_f64(done as f64 / total as f64);
            tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
        }
    })
}

/// The events' number, as the environment says it, or few.
pub(crate) fn events(few: usize) -> usize {
    std::env::var("EVENT_REPLAY_EVENTS").ok().and_then(|events| events.parse().ok()).unwrap_or(few)
}
