//! A consumer during an outage of its store: it reports the outage once, and its end once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::time::{Duration, Instant};

use common::{
    Bench, Said,
    consumer::wait,
    ids,
    redis::{block_on, server},
    registered, some,
};

const SILENT: &str = "the store does not answer";
const BACK: &str = "the store answers again, after";

fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// Holds the lock on a store's file.
fn lock(bench: &Bench) -> rusqlite::Connection {
    let lock = rusqlite::Connection::open(bench.path("events.db")).unwrap();
    lock.execute_batch("BEGIN IMMEDIATE").unwrap();
    lock
}

#[test]
fn a_consumer_says_once_that_its_file_is_locked_and_once_that_it_is_free() {
    let bench = Bench::with(&some());
    let consumer = bench.consume(&["mail", "--at", "start", "--lease", "1s"]);
    consumer.prints_lines(5);
    let lock = lock(&bench);
    consumer.says(SILENT);
    std::thread::sleep(Duration::from_secs(2));
    lock.execute_batch("ROLLBACK").unwrap();
    drop(lock);
    consumer.says(BACK);
    bench.pipe(&["publish"], registered("e6", "user-6", "2024-02-02T00:00:00Z")).ok();
    consumer.prints_lines(6);
    let said = consumer.stop().ok();
    assert_eq!((times(&said.stderr, SILENT), times(&said.stderr, BACK)), (1, 1), "{said:#?}");
}

#[test]
fn a_consumer_that_begins_on_a_locked_file_says_that_it_waits_and_can_be_ended() {
    let bench = Bench::with(&some());
    let lock = lock(&bench);
    let waiting = bench.start(&["consume", "mail", "--until-idle", "1s"]);
    waiting.says("the store does not answer yet; waiting for it");
    waiting.stop().exits(1).says("ended before the consumer had begun");
    let patient = bench.start(&["consume", "mail", "--at", "start", "--until-idle", "1s"]);
    patient.says("the store does not answer yet; waiting for it");
    lock.execute_batch("ROLLBACK").unwrap();
    let said = patient.ends().ok();
    assert_eq!(ids(&said.lines()).len(), 5);
}

#[test]
fn a_consumer_whose_last_outcomes_are_not_stored_fails() {
    let bench = Bench::with(&some());
    let consumer = bench.consume(&["mail", "--at", "start"]);
    consumer.prints_lines(5);
    std::thread::sleep(Duration::from_millis(300));
    let lock = lock(&bench);
    consumer.signal("INT");
    consumer.says(SILENT);
    // The lock is held for longer than the store waits for it.
    consumer.ends().exits(1).says("the last handled events are delivered again");
    lock.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_consumer_says_once_that_its_server_is_gone_and_once_that_it_is_back() {
    let Some((bench, proxy)) = Bench::behind_a_proxy() else { return };
    bench.pipe(&["publish"], some()).ok();
    let consumer = bench.consume(&["mail", "--at", "start", "--lease", "1s"]);
    consumer.prints_lines(5);
    block_on(proxy.refuse()).unwrap();
    proxy.cut();
    consumer.says(SILENT);
    std::thread::sleep(Duration::from_secs(2));
    block_on(proxy.accept()).unwrap();
    consumer.says(BACK);
    bench.pipe(&["publish"], registered("e6", "user-6", "2024-02-02T00:00:00Z")).ok();
    consumer.prints_lines(6);
    let said = consumer.stop().ok();
    assert_eq!((times(&said.stderr, SILENT), times(&said.stderr, BACK)), (1, 1), "{said:#?}");
}

/// The store waits 30 seconds for a lock. The single writes of a replay before and after its deliveries must not add to
/// this time.
#[test]
fn a_replay_on_a_locked_file_waits_once() {
    let bench = Bench::with(&some());
    let lock = lock(&bench);
    let began = Instant::now();
    let said = bench.start(&["replay", "--all", "--target", "stdout"]).ends().exits(1);
    assert!(said.says("locked by another process").stdout.is_empty());
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    lock.execute_batch("ROLLBACK").unwrap();
}

/// The part of a connection that a publisher loses.
#[derive(Clone, Copy)]
enum Lost {
    /// The answer to its append, and then the server.
    Answer,
    /// The server, before its append arrives.
    Server,
}

/// Publishes until the publisher gives up. Returns its output and the number of stored events.
fn publish_and_lose(lost: Lost) -> Option<(Said, u64)> {
    let (bench, proxy) = Bench::behind_a_proxy()?;
    let store = &bench.variables()[0].1;
    let direct = Bench::new()
        .env("EVENT_REPLAY_STORE", &store.replace(&proxy.port().to_string(), &server()?.port().to_string()));
    let stored = || direct.json(&["stats"])["events"].as_u64().unwrap();
    let holds = |number| {
        wait("another event in the store", || if stored() == number { Ok(()) } else { Err(String::new()) });
    };
    bench.run(&["init"]).ok();
    let e2 = registered("e2", "user-1", "2024-02-02T00:00:01Z");
    let said = match lost {
        Lost::Answer => {
            let mut publish = bench.start(&["publish"]);
            publish.feed(&registered("e1", "user-1", "2024-02-02T00:00:00Z"));
            holds(1);
            proxy.swallow_answers();
            publish.feed(&e2);
            holds(2);
            block_on(proxy.refuse()).unwrap();
            proxy.cut();
            publish.ends()
        }
        Lost::Server => {
            block_on(proxy.refuse()).unwrap();
            bench.pipe(&["publish"], e2)
        }
    };
    Some((said, stored()))
}

/// The message "cannot be reached" promises that nothing was stored.
#[test]
fn an_append_whose_answer_was_lost_stays_unknown_although_the_server_is_gone_after_it() {
    let Some((said, stored)) = publish_and_lose(Lost::Answer) else { return };
    let said = said.exits(1).says("the outcome of the write is unknown");
    assert!(!said.stderr.contains("nothing was stored"), "{said:#?}");
    assert_eq!(stored, 2);
}

/// The same case, but the append never arrives. It shows that the test above detects the difference.
#[test]
fn an_append_that_never_arrived_is_not_unknown() {
    let Some((said, stored)) = publish_and_lose(Lost::Server) else { return };
    let said = said.exits(1).says("cannot be reached");
    assert!(!said.stderr.contains("unknown"), "{said:#?}");
    assert_eq!(stored, 0);
}
