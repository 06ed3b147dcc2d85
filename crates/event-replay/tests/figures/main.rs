//! Compares every public figure with a scan of the store: lists, groups, counters, health, replays and dead letters.
//! Handlers fail, keys are blocked or parked, replays pause, and events are erased and trimmed.
//!
//! A seed determines a history. After each step all activity stops, and all figures are compared. A failure names the
//! store, the seed and the step. `FIGURES_SEED=N` runs only that seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]
#![allow(clippy::print_stdout, reason = "a test says what it did not run")]

mod compared;
mod history;
mod recorder;
mod scanned;

use std::ops::Range;

use event_replay::{Access, OpenOptions, RedisAccess, open_store};

use history::History;

const STEPS: u64 = 12;

/// Returns the seeds to run.
fn seeds(range: Range<u64>) -> Vec<u64> {
    match std::env::var("FIGURES_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => vec![seed],
        None => range.collect(),
    }
}

async fn agrees(location: &str, partitions: u16, seed: u64) {
    println!("{location} with {partitions} partitions: seed {seed}");
    let redis = RedisAccess { partitions: Some(partitions), ..RedisAccess::default() };
    let options = OpenOptions { redis, ..OpenOptions::default() };
    let store = open_store(&location.parse().unwrap(), options, Access::Create).await.unwrap();
    let mut history = History::begin(store, seed).await;
    for step in 0..STEPS {
        let did = history.step().await;
        println!("  {step}: {did}");
        history.compare(&format!("{location} seed {seed} step {step} ({did})")).await;
    }
    history.settle().await;
    history.compare(&format!("{location} seed {seed} at the end")).await;
    history.check_that_it_tested_something();
    history.close().await;
}

#[tokio::test]
async fn figures_are_what_a_scan_finds_in_memory() {
    for seed in seeds(0..4) {
        agrees("memory:", 1, seed).await;
    }
}

#[tokio::test]
async fn figures_are_what_a_scan_finds_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    for seed in seeds(100..103) {
        agrees(&format!("sqlite:{}/{seed}.db", folder.path().display()), 1, seed).await;
    }
}

#[tokio::test]
async fn figures_are_what_a_scan_finds_on_redis() {
    let server =
        servers::Server::start(&servers::Binary::default(), &servers::Config::default()).await.unwrap();
    for seed in seeds(200..204) {
        let partitions = if seed % 2 == 0 { 1 } else { 4 };
        agrees(&format!("redis://127.0.0.1:{}?namespace=n{seed}", server.port()), partitions, seed).await;
    }
}
