//! After a power loss, the append-only file of a server may end inside the writes of a function. The tests cut the
//! file at many places within the newest batches. The server starts with the cut file, gets a write, and is killed
//! again during the rewrite of its file. Each batch is then stored whole or not at all, and a repeated append stores
//! it once.
//!
//! EVENT_REPLAY_ROUNDS sets how many places within commands are cut, and EVENT_REPLAY_SEED selects them. A full run
//! also cuts at the end of every command.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

use std::{
    collections::HashMap,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use conformance::Draft;
use domain::{
    Event,
    ports::{AppendOutcome, Atomicity, EventStore},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions};
use fastrand::Rng;
use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use servers::{Aof, Binary, Config, Error, Server};
use store::Store;
use tempfile::TempDir;

/// The number of events that are stored before the cut. After them, one of the cut batches makes a fold due.
const EARLIER: u64 = 1_000;
/// The batches that are cut: the first event of each, and the event after its last.
const CUT: [(u64, u64); 2] = [(EARLIER, EARLIER + 20), (EARLIER + 20, EARLIER + 60)];
/// The events of the batch that is appended after the restart.
const LATER: (u64, u64) = (EARLIER + 60, EARLIER + 65);

/// A server with an append-only file that ends with the batches, as it was at the kill.
struct Scene {
    server: Server,
    /// A copy of its folder `appendonlydir`.
    copy: TempDir,
    /// Its newest file, from which the end is cut off.
    file: PathBuf,
    /// The length of the file before the first of the batches, and after each.
    before: u64,
    behind: [u64; CUT.len()],
}

/// The observations during the cuts.
#[derive(Default)]
struct Seen {
    places: usize,
    /// The number of kills during a rewrite of the file.
    rewriting: usize,
    /// The number of starts that the server refused.
    refused: usize,
    violations: Vec<String>,
}

impl Scene {
    /// `may_rewrite`: whether the store's user may request a rewrite of the file.
    async fn set(binary: &Binary, may_rewrite: bool) -> Self {
        // With this delay for each key, a rewrite is slow enough for a kill during it.
        let lines = ["auto-aof-rewrite-percentage 0", "rdb-key-save-delay 1000"].map(str::to_owned).to_vec();
        let right = if may_rewrite { "" } else { " -bgrewriteaof" };
        let users = vec![format!("default on nopass ~* &* +@all{right}")];
        let config = Config { aof: Aof::Always, lines, users, ..Config::default() };
        let mut server = Server::start(binary, &config).await.unwrap();
        let store = create(&server).await;
        for from in (0..EARLIER).step_by(200) {
            append(&store, (from, from + 200)).await;
        }
        // The creation of the namespace started a rewrite.
        while is_rewriting(&server).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let (_, before) = newest_file(&server);
        let mut behind = [0; CUT.len()];
        for (batch, behind) in CUT.into_iter().zip(&mut behind) {
            append(&store, batch).await;
            *behind = newest_file(&server).1;
        }
        drop(store);
        server.kill().await.unwrap();
        let copy = TempDir::new().unwrap();
        copy_files(&server.folder().join("appendonlydir"), copy.path());
        let (file, _) = newest_file(&server);
        Self { server, copy, file, before, behind }
    }

    /// Returns the places of the cuts: within commands, and in a full run also behind each command.
    fn places(&self) -> Vec<u64> {
        let seed = number_of("SEED").unwrap_or_else(|| fastrand::u64(..));
        println!("EVENT_REPLAY_SEED={seed}");
        let mut rng = Rng::with_seed(seed);
        let [first, end] = self.behind;
        let ends = ends_of_commands(&fs::read(&self.file).unwrap());
        let own = ends.into_iter().filter(|place| (self.before..=end).contains(place));
        let mut places: Vec<u64> = match number_of("ROUNDS").is_some() {
            true => own.collect(),
            false => vec![self.before, first, end],
        };
        places.extend((0..number_of("ROUNDS").unwrap_or(12)).map(|_| rng.u64(self.before..end)));
        places
    }

    /// Restores the files, and cuts the newest one.
    fn cut(&self, place: u64) {
        let folder = self.server.folder().join("appendonlydir");
        // The process that rewrites the file outlives its server for a moment, and may create a file meanwhile.
        while let Err(error) = fs::remove_dir_all(&folder) {
            assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty, "{error}");
        }
        fs::create_dir(&folder).unwrap();
        copy_files(self.copy.path(), &folder);
        File::options().write(true).open(&self.file).unwrap().set_len(place).unwrap();
    }

    /// Starts the server, and tries once more if the server refuses to start.
    async fn start(&mut self, seen: &mut Seen) {
        let before = self.server.log().await.len();
        let Err(error) = self.server.restart().await else { return };
        let Error::NotReady { log, .. } = &error else { panic!("{error}") };
        assert!(log[before..].contains("Fatal error: the truncated file is not the last file"), "{error}");
        seen.refused += 1;
        self.server.restart().await.unwrap();
    }

    /// Cuts the file, starts the server, appends, and kills the server during or after the rewrite of its file.
    /// Returns the violations that it finds.
    async fn try_place(&mut self, place: u64, kill_early: bool, seen: &mut Seen) -> Vec<String> {
        let mut violations = Vec::new();
        self.cut(place);
        self.start(seen).await;
        // The cut may remove other writes of the function behind a batch, without the batch.
        let log = stored(&self.server).await;
        let whole = CUT.map(|batch| count(&log, batch) > 0);
        let is_cut = |(whole, behind): (&bool, &u64)| !whole && *behind <= place;
        if whole.iter().zip(&self.behind).any(is_cut) || whole == [false, true] {
            violations.push(format!("of the batches these are there: {whole:?}"));
        }
        let store = create(&self.server).await;
        violations.extend(self.look("started", &store, whole, false).await);
        append(&store, LATER).await;
        match kill_early {
            true => seen.rewriting += usize::from(is_rewriting(&self.server).await),
            false => is_rewritten(&self.server).await,
        }
        drop(store);
        self.server.kill().await.unwrap();
        self.start(seen).await;
        let store = create(&self.server).await;
        violations.extend(self.look("started again", &store, whole, true).await);
        for batch in CUT {
            if let Err(error) = store.append(&events(batch), Atomicity::Each).await {
                violations.push(format!("the batch {batch:?} is not published again: {error}"));
            }
        }
        violations.extend(self.look("published again", &store, [true; CUT.len()], true).await);
        violations
    }

    /// Returns the violations in the present content.
    async fn look(&self, when: &str, store: &Store, whole: [bool; CUT.len()], later: bool) -> Vec<String> {
        let mut violations = Vec::new();
        let log = stored(&self.server).await;
        let mut batches = vec![((0, EARLIER), true), (LATER, later)];
        batches.extend(CUT.into_iter().zip(whole));
        for (batch, is_there) in batches {
            let (found, wanted) = (count(&log, batch), if is_there { batch.1 - batch.0 } else { 0 });
            if found != wanted {
                violations.push(format!("{when}: {found} of {batch:?}, not {wanted}"));
            }
        }
        let report = store.verify(None).await.unwrap();
        if report.total_findings > 0 {
            violations.push(format!(
                "{when}: {} findings, such as {:?}",
                report.total_findings,
                report.findings.first()
            ));
        }
        violations
    }
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// Returns the newest append-only file of a server, to which it writes, and the length of the file.
fn newest_file(server: &Server) -> (PathBuf, u64) {
    let folder = fs::read_dir(server.folder().join("appendonlydir")).unwrap();
    let number = |path: &PathBuf| {
        let name = path.file_name()?.to_str()?.strip_prefix("appendonly.aof.")?;
        name.strip_suffix(".incr.aof")?.parse::<u32>().ok()
    };
    let paths = folder.map(|entry| entry.unwrap().path());
    let (_, path) = paths.filter_map(|path| Some((number(&path)?, path))).max().unwrap();
    let length = fs::metadata(&path).unwrap().len();
    (path, length)
}

/// Returns the end of each command of an append-only file.
fn ends_of_commands(bytes: &[u8]) -> Vec<u64> {
    let (mut at, mut ends) = (0, Vec::new());
    let number = |at: &mut usize| {
        let rest = &bytes[*at..];
        let end = rest.windows(2).position(|two| two == b"\r\n").unwrap();
        *at += end + 2;
        std::str::from_utf8(&rest[1..end]).unwrap().parse::<usize>().unwrap()
    };
    while at < bytes.len() {
        for _ in 0..number(&mut at) {
            let length = number(&mut at);
            at += length + 2;
        }
        ends.push(at as u64);
    }
    ends
}

async fn connected(server: &Server) -> MultiplexedConnection {
    // A server may be slow while many tests run.
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let client = redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
}

/// Returns the server's fields about its files.
async fn persistence(server: &Server) -> HashMap<String, String> {
    let mut command = redis::cmd("INFO");
    let info: String = command.arg("persistence").query_async(&mut connected(server).await).await.unwrap();
    let fields = info.lines().filter_map(|line| line.trim_end().split_once(':'));
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

async fn is_rewriting(server: &Server) -> bool {
    persistence(server).await["aof_rewrite_in_progress"] == "1"
}

/// Waits until a server has rewritten its file since its start.
async fn is_rewritten(server: &Server) {
    for _ in 0..3_000 {
        let fields = persistence(server).await;
        if fields["aof_rewrites"] != "0" && fields["aof_rewrite_in_progress"] == "0" {
            assert_eq!(fields["aof_last_bgrewrite_status"], "ok");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the append-only file is not rewritten");
}

/// Returns the ids of the events in the log, read from its keys.
async fn stored(server: &Server) -> Vec<String> {
    type Entry = (String, Vec<(String, Vec<u8>)>);
    let (mut server, mut ids) = (connected(server).await, Vec::new());
    let keys: Vec<String> =
        redis::cmd("KEYS").arg("{default:0}:log:*").query_async(&mut server).await.unwrap();
    for key in keys {
        let mut command = redis::cmd("XRANGE");
        let entries: Vec<Entry> = command.arg(key).arg("-").arg("+").query_async(&mut server).await.unwrap();
        for (_, fields) in entries {
            let event: serde_json::Value = serde_json::from_slice(&fields[0].1).unwrap();
            ids.push(event["id"].as_str().unwrap().to_owned());
        }
    }
    ids
}

/// Counts the stored events of a batch, including duplicates.
fn count(stored: &[String], batch: (u64, u64)) -> u64 {
    let ids: Vec<String> = events(batch).iter().map(|event| event.id().to_owned()).collect();
    stored.iter().filter(|id| ids.contains(id)).count() as u64
}

fn number_of(what: &str) -> Option<u64> {
    std::env::var(format!("EVENT_REPLAY_{what}")).ok()?.parse().ok()
}

fn events((from, end): (u64, u64)) -> Vec<Event> {
    let draft = |n| Draft::new(&format!("e{n}")).with("userId", format!("user-{}", n % 17)).event();
    (from..end).map(draft).collect()
}

async fn create(server: &Server) -> Store {
    RedisEngine::create(RedisOptions::new(server.url())).await.map(Store::new).unwrap()
}

async fn append(store: &Store, batch: (u64, u64)) {
    let outcomes = store.append(&events(batch), Atomicity::Each).await.unwrap();
    assert!(outcomes.iter().all(|outcome| matches!(outcome, AppendOutcome::Stored(_))), "{outcomes:?}");
}

async fn try_all(binary: &Binary, may_rewrite: bool) -> Seen {
    let (mut scene, mut seen) = (Scene::set(binary, may_rewrite).await, Seen::default());
    let places = scene.places();
    seen.places = places.len();
    for (at, place) in places.into_iter().enumerate() {
        let violations = scene.try_place(place, !may_rewrite || at % 6 > 0, &mut seen).await;
        seen.violations.extend(violations.into_iter().map(|text| format!("cut at {place}: {text}")));
    }
    println!(
        "{binary}: {} places, {} kills in a rewrite, {} starts refused, {} violations",
        seen.places,
        seen.rewriting,
        seen.refused,
        seen.violations.len()
    );
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn no_beginning_of_a_batch_comes_back_wherever_the_file_is_cut() {
    for binary in Binary::all().unwrap() {
        let seen = try_all(&binary, true).await;
        let few: Vec<&String> = seen.violations.iter().take(20).collect();
        assert!(few.is_empty(), "{binary}: {few:#?}");
        assert!(seen.rewriting > 0, "{binary} was never killed while it rewrote its file");
    }
}

/// The same without rewrites, to show that the test above detects faults.
#[tokio::test(flavor = "multi_thread")]
async fn beginnings_of_batches_come_back_where_the_file_may_not_be_rewritten() {
    for binary in Binary::all().unwrap() {
        let seen = try_all(&binary, false).await;
        assert_eq!(!seen.violations.is_empty(), binary.name == "redis", "{binary}: {:?}", seen.violations);
    }
}
