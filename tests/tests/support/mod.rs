//! What the tests across crates share: the program, the data, rounds and seeds.
#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

pub(crate) mod acknowledged;
pub(crate) mod append_only_file;
pub(crate) mod at_work;
pub(crate) mod consumers;
pub(crate) mod effects;
pub(crate) mod killed_server;
pub(crate) mod publishing;

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

use domain::{Document, Event, Limits, OrderingRule};
use servers::{Binary, Config, Server};

/// How many rounds a test runs: `EVENT_REPLAY_ROUNDS` where set, else few.
pub(crate) fn rounds(few: usize) -> usize {
    std::env::var("EVENT_REPLAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// Whether as many rounds are run as figures are quoted from.
pub(crate) fn is_full_run() -> bool {
    std::env::var_os("EVENT_REPLAY_ROUNDS").is_some()
}

/// The server programs that a test runs on: all that are installed in a full run, else the first; those that are left out are
/// named.
pub(crate) fn binaries() -> Vec<Binary> {
    let mut binaries = Binary::all().unwrap();
    if !is_full_run() {
        for binary in binaries.drain(1..) {
            println!("NOT RUN on {binary}: ./test --full does");
        }
    }
    binaries
}

/// The event as the bus admits it: with the key that keeps its order.
pub(crate) fn admitted(json: &str) -> Event {
    let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    let key = OrderingRule::default().resolve(&event, None);
    event.with_key_source(key)
}

/// A seed, printed so that a failure can be met again: `EVENT_REPLAY_SEED` where set, else drawn.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("EVENT_REPLAY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("EVENT_REPLAY_SEED={seed}");
    seed
}

/// The program under test, in the profile that the tests were built in; built once if it is not there.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Ok(path) = std::env::var("EVENT_REPLAY_BIN") {
            return PathBuf::from(path);
        }
        // This test is in target/PROFILE/deps, and the program one folder up. The profile `dev` has the folder `debug`.
        let test = std::env::current_exe().unwrap();
        let folder = test.ancestors().nth(2).unwrap().file_name().unwrap().to_string_lossy();
        let profile = folder.replace("debug", "dev");
        let build = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "event-replay-cli", "--profile", &profile])
            .status()
            .unwrap();
        assert!(build.success(), "the program does not build");
        test.parent().and_then(Path::parent).unwrap().join("event-replay")
    })
}

/// The program, told nothing by the environment but the store.
pub(crate) fn event_replay(store: &Path) -> Command {
    let mut command = event_replay_at(store.parent().unwrap());
    command.env("EVENT_REPLAY_STORE", format!("sqlite:{}", store.display()));
    command
}

/// The program in a folder that is its home, told nothing by the environment.
pub(crate) fn event_replay_at(home: &Path) -> Command {
    let mut command = Command::new(program());
    command.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
    command.env("HOME", home).current_dir(home);
    command
}

/// An empty Redis server. Where no program for one is installed there is none, and what needs it is named.
pub(crate) async fn redis_server(what: &str) -> Option<Server> {
    let binary = Binary::default();
    if binary.major() == 0 {
        println!("NOT RUN: {what}, there is no redis-server");
        return None;
    }
    Some(Server::start(&binary, &Config::default()).await.unwrap())
}

pub(crate) fn run(command: &mut Command) -> Output {
    command.output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// 290 real events by others, where the folder is at hand.
pub(crate) fn real_events() -> Option<Vec<String>> {
    let folder = std::env::var("EVENT_REPLAY_REAL_DATA")
        .map_or_else(|_| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"), PathBuf::from);
    let Ok(file) = std::fs::File::open(folder.join("github-events.ndjson.gz")) else {
        println!("NOT RUN on real events: there is no {}", folder.display());
        return None;
    };
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    Some(text.lines().map(str::to_owned).collect())
}

/// Valid generated events.
pub(crate) fn demo_events(count: usize) -> Vec<String> {
    generator::Generator::new(generator::Settings::demo((count + count / 20 + 10) as u64))
        .filter(|generated| generated.validity == generator::Validity::Valid)
        .map(|generated| generated.json)
        .take(count)
        .collect()
}
