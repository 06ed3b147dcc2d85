//! Consumers in separate processes, over one store to which the test publishes: a SQLite file, or a Redis server.

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

/// Maximum wait of a test without a new effect. The tests promise no speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The kind of the store.
#[derive(Debug, Clone)]
pub(crate) enum Keeper {
    /// A SQLite file.
    Sqlite,
    /// One server of this program.
    Redis(Binary),
    /// A master with two replicas, and three sentinels.
    Sentinel(Binary),
    /// Three masters with one replica each.
    Cluster(Binary),
}

/// The processes that run while the store is used.
pub(crate) enum Servers {
    /// A file needs no process.
    None,
    One(Box<Server>),
    Sentinel(Sentinels),
    Cluster(Cluster),
}

impl Servers {
    /// Starts the processes of a store.
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
    /// Returns one Redis store for each program of the test run.
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

/// A store, its effects file, and its consumers.
pub(crate) struct World {
    folder: tempfile::TempDir,
    pub(crate) servers: Servers,
    pub(crate) store: Arc<dyn Stores>,
    /// The consumer group of the processes.
    group: &'static str,
    started: u32,
    killed: BTreeSet<u32>,
}

/// The process of a consumer. Dropping the value kills the process.
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
    /// Whether the process has ended by itself.
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

    /// Creates a store. `timeout` is the timeout of calls of the test itself, if the store is on servers.
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
        Self { folder, servers, store, group: GROUP, started: 0, killed: BTreeSet::new() }
    }

    /// Sets the consumer group of the processes.
    pub(crate) fn of_group(self, group: &'static str) -> Self {
        Self { group, ..self }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("events.db")
    }

    /// The location of the store, as an argument of the consumer processes.
    fn location(&self) -> String {
        self.servers.url().unwrap_or_else(|| self.file().display().to_string())
    }

    fn effects_file(&self) -> PathBuf {
        self.folder.path().join("effects")
    }

    pub(crate) fn effects(&self) -> Vec<Line> {
        effects::read(&self.effects_file())
    }

    /// Waits until a process has a new effect, for at most one second.
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

    /// Starts a consumer with the given name, or with a new name.
    pub(crate) fn start(&mut self, name: Option<&str>, options: &[&str]) -> Process {
        self.start_program(env!("CARGO_BIN_EXE_test-consumer"), name, options)
    }

    /// Starts a program that consumes the group, with the given consumer name, or with a new name.
    pub(crate) fn start_program(&mut self, program: &str, name: Option<&str>, options: &[&str]) -> Process {
        self.started += 1;
        let number = self.started;
        let name = name.map_or_else(|| format!("p{number}"), str::to_owned);
        let child = Command::new(program)
            .arg(self.location())
            .args([self.group, &number.to_string()])
            .arg(self.effects_file())
            .arg(format!("name={name}"))
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Process { number, name, child }
    }

    /// Kills a consumer without notice.
    pub(crate) fn kill(&mut self, mut process: Process) {
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        self.killed.insert(process.number);
    }

    /// Records a consumer that crashed by itself.
    pub(crate) fn crashed(&mut self, process: &Process) {
        self.killed.insert(process.number);
    }

    /// Requests the stop of a consumer, and waits until it has ended.
    pub(crate) fn stop(&self, mut process: Process) {
        drop(process.child.stdin.take());
        let status = process.child.wait().unwrap();
        assert!(status.success(), "consumer {}: {status}", process.number);
    }

    /// Pauses a process during its work, but not during a write to a file, which would block all processes.
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

    /// Waits until a condition holds, as long as there are new effects.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let (mut end, mut size) = (Instant::now() + PATIENCE, 0);
        while !holds(self).await {
            let grown = std::fs::metadata(self.effects_file()).map_or(0, |file| file.len());
            if grown > size {
                (end, size) = (Instant::now() + PATIENCE, grown);
            }
            if Instant::now() >= end {
                let (head, group) = (self.store.head().await, self.store.group(self.group).await);
                panic!(
                    "nothing goes on, and it never came true: {what}: the head is {head:?}, the group {group:?}"
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the group has settled all events.
    pub(crate) async fn is_idle(&self) -> bool {
        // The read fails during a failover.
        let Ok(head) = self.store.head().await else { return false };
        let Ok(Some(status)) = self.store.group(self.group).await else { return false };
        let is_at_head = |s: &SegmentStatus| s.cursor == head.sequence(s.partition);
        status.unreachable.is_empty()
            && status.segments.iter().all(|s| is_at_head(s) && s.blocked_keys == 0 && s.lane == 0)
    }

    pub(crate) async fn cursors(&self) -> Vec<u64> {
        let status = self.store.group(self.group).await.unwrap().unwrap();
        status.segments.iter().map(|segment| segment.cursor).collect()
    }

    pub(crate) async fn dead(&self) -> BTreeSet<String> {
        let query = DeadLetterQuery { limit: 100_000, ..DeadLetterQuery::default() };
        let letters = self.store.dead_letters(&query).await.unwrap();
        letters.iter().map(|letter| letter.event.id().to_owned()).collect()
    }

    /// Returns the verdict of the checker for all effects.
    pub(crate) async fn check(&self, planned: &[Planned]) -> Verdict {
        self.check_without(planned, &BTreeSet::new()).await
    }

    /// Returns the verdict of the checker, if some events were lost after their acknowledgment.
    pub(crate) async fn check_without(&self, planned: &[Planned], lost: &BTreeSet<String>) -> Verdict {
        let report = self.store.verify(None).await.unwrap();
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
        effects::check_without(planned, lost, &self.effects(), &self.killed, &self.dead().await)
    }
}

pub(crate) async fn publish(store: &dyn Stores, events: &[Planned]) {
    publish_events(store, &admitted(events)).await;
}

fn admitted(events: &[Planned]) -> Vec<Event> {
    events.iter().map(|planned| super::admitted(&planned.json())).collect()
}

async fn publish_events(store: &dyn Stores, events: &[Event]) {
    // The largest batch that every store accepts.
    for batch in events.chunks(100) {
        let outcomes = store.append(batch, Atomicity::Each).await.unwrap();
        assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
    }
}

/// Publishes events over about `over`, in batches of random sizes.
pub(crate) fn publish_over(
    store: &Arc<dyn Stores>,
    events: &[Planned],
    over: Duration,
    rng: fastrand::Rng,
) -> tokio::task::JoinHandle<()> {
    publish_events_over(store, admitted(events), over, rng)
}

/// Publishes admitted events over about `over`, in batches of random sizes.
pub(crate) fn publish_events_over(
    store: &Arc<dyn Stores>,
    events: Vec<Event>,
    over: Duration,
    mut rng: fastrand::Rng,
) -> tokio::task::JoinHandle<()> {
    let store = Arc::clone(store);
    tokio::spawn(async move {
        let (begun, total) = (Instant::now(), events.len());
        let (mut rest, mut done) = (events.as_slice(), 0);
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(rng.usize(1..=100).min(rest.len()));
            publish_events(&*store, batch).await;
            done += batch.len();
            rest = others;
            let due = begun + over.mul_f64(done as f64 / total as f64);
            tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
        }
    })
}

/// Returns the number of events: `EVENT_REPLAY_EVENTS`, or `few`.
pub(crate) fn events(few: usize) -> usize {
    std::env::var("EVENT_REPLAY_EVENTS").ok().and_then(|events| events.parse().ok()).unwrap_or(few)
}
