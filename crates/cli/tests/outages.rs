//! A consumer while its store does not answer: it says so once, and once that the store is back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Bench, ids, redis::block_on, registered, some};

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
    std::thread::sleep(std::time::Duration::from_secs(2));
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
    std::thread::sleep(std::time::Duration::from_millis(300));
    let lock = lock(&bench);
    consumer.signal("INT");
    consumer.says(SILENT);
    // Longer than the store waits for a lock.
    consumer.ends().exits(1).says("what was handled last is delivered again");
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
    std::thread::sleep(std::time::Duration::from_secs(2));
    block_on(proxy.accept()).unwrap();
    consumer.says(BACK);
    bench.pipe(&["publish"], registered("e6", "user-6", "2024-02-02T00:00:00Z")).ok();
    consumer.prints_lines(6);
    let said = consumer.stop().ok();
    assert_eq!((times(&said.stderr, SILENT), times(&said.stderr, BACK)), (1, 1), "{said:#?}");
}
