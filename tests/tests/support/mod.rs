//! Shared parts of the tests across crates: the program, the data, rounds and seeds.
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

/// Returns the number of rounds of a test: `EVENT_REPLAY_ROUNDS`, or `few`.
pub(crate) fn rounds(few: usize) -> usize {
    std::env::var("EVENT_REPLAY_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(few)
}

/// Whether this is a full run, as for published figures.
pub(crate) fn is_full_run() -> bool {
    std::env::var_os("EVENT_REPLAY_ROUNDS").is_some()
}

/// Returns the server programs of a test: all installed programs in a full run, else the first. The omitted programs
/// are printed.
pub(crate) fn binaries() -> Vec<Binary> {
    let mut binaries = Binary::all().unwrap();
    if !is_full_run() {
        for binary in binaries.drain(1..) {
            println!("NOT RUN on {binary}: ./test --full does");
        }
    }
    binaries
}

/// Returns the event as the bus admits it, with its ordering key.
pub(crate) fn admitted(json: &str) -> Event {
    let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    let key = OrderingRule::default().resolve(&event, None);
    event.with_key_source(key)
}

/// Returns the random seed: `EVENT_REPLAY_SEED`, or a random number. The seed is printed, so that a failure is
/// reproducible.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("EVENT_REPLAY_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("EVENT_REPLAY_SEED={seed}");
    seed
}

/// Returns the program under test, in the profile of the tests. Builds the program once, unless `EVENT_REPLAY_BIN`
/// names it.
pub(crate) fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        if let Ok(path) = std::env::var("EVENT_REPLAY_BIN") {
            return PathBuf::from(path);
        }
        // The path of this test is target/PROFILE/deps, and the program is one folder up. The profile `dev` has the
        // folder `debug`.
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

/// Returns a command of the program, with only the store in its environment.
pub(crate) fn event_replay(store: &Path) -> Command {
    let mut command = event_replay_at(store.parent().unwrap());
    command.env("EVENT_REPLAY_STORE", format!("sqlite:{}", store.display()));
    command
}

/// Returns a command of the program in a folder that is its home, with no settings in its environment.
pub(crate) fn event_replay_at(home: &Path) -> Command {
    let mut command = Command::new(program());
    command.env_clear().env("PATH", std::env::var("PATH").unwrap_or_default());
    command.env("HOME", home).current_dir(home);
    command
}

/// Starts an empty Redis server. Without an installed program, prints the skipped test and returns `None`.
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

/// Returns 290 real events from GitHub, if their folder exists.
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

/// Returns valid generated events.
pub(crate) fn demo_events(count: usize) -> Vec<String> {
    generator::Generator::new(generator::Settings::demo((count + count / 20 + 10) as u64))
        .filter(|generated| generated.validity == generator::Validity::Valid)
        .map(|generated| generated.json)
        .take(count)
        .collect()
}
