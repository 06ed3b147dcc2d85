//! A line stays one line, has the same meaning as the event, and cannot control a terminal.
// Test helpers may unwrap, because a panic is how a test fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use domain::{
    Document, Limits, Position, StoredEvent,
    ports::{DeliveryOutcome, ReplayDelivery, ReplayTarget, TargetError},
};
use event_replay_targets::{NdjsonTarget, push_safe_json, write_replayed, write_stored};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::io::AsyncWrite;

fn stored(json: &str) -> StoredEvent {
    let event = Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap();
    StoredEvent {
        event,
        position: Position::new(0, 17),
        stored_at: "2024-01-15T10:31:00.5Z".parse().unwrap(),
        replay_count: 2,
        last_replay_at: None,
    }
}

const EVENT: &str = "{\"id\":\"e1\",\r\n \"type\":\"t\",\n\"version\":\"1\",\"timestamp\":\"2024-01-15T11:30:00+01:00\",\
    \"source\":\"s\",\"metadata\":{},\"data\":{\"n\":1.50,\"text\":\"ü \u{7f}\u{85}\u{9b}\u{61c}\u{200e}\u{2028}\u{202e}\u{2066} ü\\n\"}}";

fn delivery(json: &str) -> ReplayDelivery {
    ReplayDelivery {
        stored: stored(json),
        replay_id: "r\"1\n".to_owned(),
        replay_timestamp: "2024-02-01T00:00:00Z".parse().unwrap(),
    }
}

fn safe(json: &str) -> String {
    let mut line = Vec::new();
    push_safe_json(json, &mut line);
    String::from_utf8(line).unwrap()
}

#[test]
fn a_stored_event_is_one_safe_line_of_the_documented_form() {
    let mut line = Vec::new();
    write_stored(&stored(EVENT), &mut line);
    let line = String::from_utf8(line).unwrap();
    assert_eq!(
        line,
        concat!(
            r#"{"event":{"id":"e1",   "type":"t", "version":"1","timestamp":"2024-01-15T11:30:00+01:00","source":"s","#,
            r#""metadata":{},"data":{"n":1.50,"text":"ü \u007f\u0085\u009b\u061c\u200e\u2028\u202e\u2066 ü\n"}},"#,
            r#""position":"0:17","storedAt":"2024-01-15T10:31:00.5Z","replayCount":2}"#
        )
    );
    let value: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["event"], serde_json::from_str::<Value>(EVENT).unwrap());
}

#[test]
fn a_replayed_event_says_that_it_is_a_replay() {
    let mut line = Vec::new();
    write_replayed(&delivery(EVENT), &mut line);
    let value: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(
        value["replay"],
        json!({
            "isReplay": true, "replayId": "r\"1\n", "originalTimestamp": "2024-01-15T10:30:00Z",
            "replayTimestamp": "2024-02-01T00:00:00Z", "replayCount": 3
        })
    );
    assert_eq!((&value["position"], &value["replayCount"]), (&json!("0:17"), &json!(2)));
}

#[test]
fn exactly_the_dangerous_characters_are_escaped() {
    for code in (0x7f..=0x2fff).filter_map(char::from_u32) {
        let dangerous = matches!(u32::from(code), 0x7f..=0x9f | 0x61c | 0x200e | 0x200f | 0x2028..=0x202e | 0x2066..=0x2069);
        let json = format!("\"{code}\"");
        let expected = if dangerous { format!("\"\\u{:04x}\"", u32::from(code)) } else { json.clone() };
        assert_eq!(safe(&json), expected);
    }
}

#[test]
fn a_dangerous_character_is_found_at_any_place_of_a_long_text() {
    for at in 0..300 {
        let text = format!("\"{}\u{9b}{}\"", "x".repeat(at), "ü".repeat(40));
        assert_eq!(safe(&text), text.replace('\u{9b}', "\\u009b"), "at {at}");
        let text = format!("[{}\n1]", " ".repeat(at));
        assert_eq!(safe(&text), text.replace('\n', " "), "at {at}");
    }
}

proptest! {
    #[test]
    fn any_text_keeps_its_value_and_is_one_line(texts in proptest::collection::vec(any::<String>(), 0..4)) {
        let value = json!({ "texts": texts, "more": [1, null, 0.1] });
        for json in [serde_json::to_string(&value).unwrap(), serde_json::to_string_pretty(&value).unwrap()] {
            let line = safe(&json);
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            prop_assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value.clone());
        }
    }
}

#[tokio::test]
async fn every_delivery_becomes_one_flushed_line_in_order() {
    let mut target = NdjsonTarget::new(tokio::io::BufWriter::with_capacity(1 << 20, Vec::new()));
    let events = ["a", "b", "c"].map(|id| delivery(&EVENT.replace("\"e1\"", &format!("\"{id}\""))));
    assert_eq!(target.deliver(&events).await, Ok(vec![DeliveryOutcome::Handled; 3]));
    let written = String::from_utf8(target.into_inner().get_ref().clone()).unwrap();
    let ids: Vec<Value> = written
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"]["id"].clone())
        .collect();
    assert_eq!(ids, ["a", "b", "c"]);
}

#[derive(Debug)]
struct Failing(io::ErrorKind);

impl AsyncWrite for Failing {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self.0.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_closed_pipe_is_told_from_a_failure() {
    let batch = [delivery(EVENT)];
    let closed = NdjsonTarget::new(Failing(io::ErrorKind::BrokenPipe)).deliver(&batch).await;
    assert_eq!(closed, Err(TargetError::Closed));
    let full = NdjsonTarget::new(Failing(io::ErrorKind::StorageFull)).deliver(&batch).await;
    assert!(matches!(full, Err(TargetError::Failed(reason)) if reason.contains("writing")), "a full disk");
}
