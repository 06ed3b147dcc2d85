//! Measures the frequent operations of a consumer. Run it by hand: `cargo test --profile dist -p
//! event-replay-storage-sqlite --test measure -- --ignored --nocapture`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::time::{Duration, Instant};

use domain::{
    group::{BlockedKey, GroupSpec, Key},
    ports::{EventStore, GroupStore, LeaseRequest, SegmentCommit},
};
use support::{append, many, store};

const ROUNDS: u32 = 2000;

fn say(what: &str, begun: Instant) {
    println!("{what}: {:?} each", begun.elapsed() / ROUNDS);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures, and asserts nothing about time"]
async fn commits_leases_and_idle_lanes() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    append(&store, &many(1000)).await;
    let mark = store.head().await.unwrap();
    store.create_group(&GroupSpec::new("g"), &mark).await.unwrap();
    let request =
        LeaseRequest { group: "g".into(), consumer: "c".into(), token: 1, duration: Duration::from_secs(30) };
    let held = store.lease(&request).await.unwrap().held;
    let mut commits: Vec<_> = held.iter().map(|lease| SegmentCommit::new(lease.clone(), 0, 0)).collect();

    let begun = Instant::now();
    for round in 0..ROUNDS {
        for commit in &mut commits {
            commit.cursor = u64::from(round);
            commit.claimed_to = u64::from(round) + 100;
        }
        store.commit(&commits).await.unwrap();
    }
    say("commit of 16 segments", begun);

    let begun = Instant::now();
    for round in 0..ROUNDS {
        for (n, commit) in commits.iter_mut().enumerate() {
            let now = jiff::Timestamp::UNIX_EPOCH;
            let key = Key::new("user", format!("user-{n}"));
            commit.blocked = vec![BlockedKey {
                key: key.clone(),
                position: u64::from(round),
                through: u64::from(round) + 10,
                claimed_to: 0,
                attempts: 1,
                ends: 2,
                due: Some(now),
                error: "the mail server is gone".into(),
                failures: Vec::new(),
                since: now,
            }];
            commit.unblocked = vec![Key::new("user", format!("other-{n}"))];
        }
        store.commit(&commits).await.unwrap();
    }
    say("commit of 16 segments with a row of the ledger each", begun);

    let begun = Instant::now();
    for _ in 0..ROUNDS {
        store.lease(&request).await.unwrap();
    }
    say("lease that extends 16 segments", begun);

    let after: Vec<_> = held.iter().map(|lease| (lease.segment, 0)).collect();
    let begun = Instant::now();
    for _ in 0..ROUNDS {
        store.lane("g", &after, 100).await.unwrap();
    }
    say("look at idle lanes", begun);

    let begun = Instant::now();
    for n in 0..ROUNDS / 10 {
        append(&store, &[support::event(&format!("x{n}"), "u", "n")]).await;
        store.commit(&commits).await.unwrap();
    }
    println!("append of one and commit, in turn: {:?} each", begun.elapsed() / (ROUNDS / 10));
}
