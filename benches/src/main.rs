//! Benchmarks. Each row measures Event Replay and a yardstick in turn, in the same run, and prints their ratio.
//!
//! `cargo run --profile dist -p event-replay-benches` runs all rows. `-- sqlite`, `-- redis`, `-- delivery`, `--
//! validation` or `-- http` runs some rows. Absolute figures depend on the machine and its load, so compare the ratios.
#![allow(clippy::print_stdout, reason = "a benchmark's output is its table")]

mod delivery;
mod http;
mod measure;
mod plain_sql;
mod reading;
mod redis;
mod sqlite;
mod turns;
mod validation;

use anyhow::Result;
use clap::Parser;

/// Measures Event Replay beside yardsticks.
#[derive(Parser)]
struct Args {
    /// Rows to run: those whose name contains one of these words. All when none is given.
    words: Vec<String>,
    /// How often each side of a row runs.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Events in the store that scans read.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Events in the store that is replayed into a group.
    #[arg(long, default_value_t = 1_000_000)]
    replayed: u64,
    /// Measure the paths of this build on a store, a line a row, to compare it with another build.
    #[arg(long, value_name = "STORE", conflicts_with = "words")]
    turns: Option<turns::Kind>,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let Some(kind) = args.turns {
        return runtime.block_on(turns::run(kind, usize::try_from(args.events)?));
    }
    let mut bench = measure::Bench::new(args.words, args.rounds);
    sqlite::run(&mut bench, &runtime, args.events)?;
    redis::run(&mut bench, &runtime, args.events)?;
    validation::run(&mut bench)?;
    delivery::run(&mut bench, &runtime, args.events, args.replayed)?;
    http::run(&mut bench, &runtime)?;
    println!("{}", bench.table());
    Ok(())
}
