//! The lines of a group: a delivery is handled after its line was flushed, and an ended output reports its reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    io::{self, Read, Write},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use domain::{
    delivery::{Delivery, DeliveryOrigin, HandlerError, Verdict},
    ports::EventHandler,
};
use event_replay_targets::{LinesHandler, OutputEnd, write_delivery};
use serde_json::{Value, json};
use support::delivery;

const LONG: Duration = Duration::from_secs(60);

/// Records the flushed bytes.
#[derive(Debug, Clone, Default)]
struct Flushed {
    written: Vec<u8>,
    flushed: Arc<Mutex<Vec<u8>>>,
}

impl Write for Flushed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.written.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.flushed.lock().unwrap().append(&mut self.written);
        Ok(())
    }
}

/// An output that fails with this kind of error.
#[derive(Debug)]
struct Failing(io::ErrorKind);

impl Write for Failing {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines(bytes: &[u8]) -> Vec<Value> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

fn replayed(id: &str) -> Delivery {
    let origin = DeliveryOrigin::Replay { replay_id: "r\"1".to_owned() };
    Delivery { origin, ..delivery(id, LONG) }
}

#[tokio::test]
async fn a_delivery_is_flushed_before_it_counts() {
    let output = Flushed::default();
    let handler = LinesHandler::new(output.clone()).unwrap();
    for n in 0..100 {
        handler.handle(&delivery(&format!("e{n}"), LONG)).await.unwrap();
        let written = lines(&output.flushed.lock().unwrap());
        assert_eq!(written.len(), n + 1);
        assert_eq!(written[n]["event"]["id"], format!("e{n}"));
    }
}

#[tokio::test]
async fn many_at_once_are_lines_all_the_same() {
    let output = Flushed::default();
    let handler = LinesHandler::new(output.clone()).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..2000 {
        let handler = handler.clone();
        tasks.spawn(async move { handler.handle(&delivery(&format!("e{n}"), LONG)).await });
    }
    assert!(tasks.join_all().await.into_iter().all(|result| result.is_ok()));
    assert_eq!(lines(&output.flushed.lock().unwrap()).len(), 2000);
}

#[tokio::test]
async fn live_lines_are_stored_events_and_replays_say_so() {
    let output = Flushed::default();
    let handler = LinesHandler::new(output.clone()).unwrap();
    handler.handle(&delivery("live", LONG)).await.unwrap();
    handler.handle(&replayed("again")).await.unwrap();
    let written = lines(&output.flushed.lock().unwrap());
    let members: Vec<&String> = written[0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["event", "position", "replayCount", "storedAt"]);
    assert_eq!(
        (&written[1]["replay"]["isReplay"], &written[1]["replay"]["replayId"]),
        (&json!(true), &json!("r\"1"))
    );
    assert_eq!((&written[1]["replayCount"], &written[1]["replay"]["replayCount"]), (&json!(2), &json!(3)));
}

#[test]
fn a_delivery_says_which_group_attempt_replay_and_dead_letter_it_is_of() {
    let read = |delivery: &Delivery| {
        let mut line = Vec::new();
        write_delivery(delivery, &mut line);
        serde_json::from_slice::<Value>(&line).unwrap()
    };
    let replay = read(&replayed("e"));
    assert_eq!(replay["delivery"], json!({"group": "g", "attempt": 1}));
    assert_eq!(replay["replay"]["originalTimestamp"], "2024-01-15T10:30:00Z");
    let origin = DeliveryOrigin::Redrive { dead_letter: "d\\1".to_owned() };
    let redriven =
        read(&Delivery { origin, group: "g\"\u{85}".to_owned(), attempt: 9, ..delivery("e", LONG) });
    assert_eq!(redriven["delivery"], json!({"group": "g\"\u{85}", "attempt": 9, "deadLetter": "d\\1"}));
    assert_eq!(redriven.get("replay"), None);
}

#[tokio::test]
async fn a_closed_pipe_is_told_from_a_failure() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let closed = LinesHandler::new(writer).unwrap();
    let full = LinesHandler::new(Failing(io::ErrorKind::StorageFull)).unwrap();
    for _ in 0..3 {
        let error = closed.handle(&delivery("e", LONG)).await;
        assert_eq!(error, Err(HandlerError::retry("the reader closed the output")));
        let error = full.handle(&delivery("e", LONG)).await.unwrap_err();
        assert!(
            error.verdict == Verdict::Retry && error.message().starts_with("writing the event: "),
            "{error}"
        );
    }
    assert_eq!(closed.ended().await, OutputEnd::Closed);
    assert!(matches!(full.ended().await, OutputEnd::Failed(why) if !why.is_empty()));
}

#[tokio::test]
async fn an_output_that_is_open_has_not_ended() {
    let handler = LinesHandler::new(Flushed::default()).unwrap();
    handler.handle(&delivery("e", LONG)).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_millis(50), handler.ended()).await;
    assert!(ended.is_err(), "{ended:?}");
}

#[tokio::test]
async fn a_reader_that_dawdles_does_not_hold_up_the_runtime_and_loses_nothing() {
    let (mut reader, writer) = io::pipe().unwrap();
    let handler = LinesHandler::new(writer).unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..1000 {
        let handler = handler.clone();
        tasks.spawn(async move { handler.handle(&delivery(&format!("e{n}"), LONG)).await });
    }
    // Together the lines are larger than a pipe. The test has only one thread, so a blocked thread would stop this
    // line.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (done, read) = mpsc::channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        done.send(bytes).unwrap();
    });
    assert!(tasks.join_all().await.into_iter().all(|result| result.is_ok()));
    drop(handler);
    assert_eq!(lines(&read.recv().unwrap()).len(), 1000, "the pipe is closed once the handler is gone");
}

#[tokio::test]
async fn a_delivery_that_is_dropped_before_its_turn_is_not_written() {
    let (mut reader, writer) = io::pipe().unwrap();
    let handler = LinesHandler::new(writer).unwrap();
    let mut big = delivery("big", LONG);
    big.stored = support::stored("big", "u", 1, 200_000);
    let stuck = {
        let handler = handler.clone();
        tokio::spawn(async move { handler.handle(&big).await })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    let dropped =
        tokio::time::timeout(Duration::from_millis(50), handler.handle(&delivery("gone", LONG))).await;
    assert!(dropped.is_err());
    let read = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    });
    assert_eq!(stuck.await.unwrap(), Ok(()));
    handler.handle(&delivery("last", LONG)).await.unwrap();
    drop(handler);
    let ids: Vec<Value> =
        lines(&read.join().unwrap()).iter().map(|line| line["event"]["id"].clone()).collect();
    assert_eq!(ids, ["big", "last"]);
}
