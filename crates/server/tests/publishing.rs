//! Publishing over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Service, ids, registered};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn one_event_is_stored_once_however_often_it_is_sent() {
    let service = Service::new().await;
    let event = registered("e1", "u1");
    let first = service.post("/v1/events", "application/json", event.clone()).await.is(201).json();
    assert_eq!((first["stored"].as_u64(), first["position"].as_str()), (Some(1), Some("0:1")), "{first}");
    let again = service.post("/v1/events", "application/json", event.clone()).await.is(200).json();
    assert_eq!(
        (again["alreadyStored"].as_u64(), again["position"].as_str()),
        (Some(1), Some("0:1")),
        "{again}"
    );
    let other = registered("e1", "u2");
    service.post("/v1/events", "application/json", other).await.problem(409, "conflict");
    let count = service.get("/v1/events").await.is(200).json();
    assert_eq!(ids(&count["events"]), ["e1"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_is_refused_is_told_with_all_that_is_wrong() {
    let service = Service::new().await;
    let wrong =
        r#"{"id":"","type":"user.registered","version":"1.0","timestamp":"soon","source":"s","metadata":[]}"#;
    let problem = service.post("/v1/events", "application/json", wrong).await.problem(422, "rejected");
    let pointers: Vec<&str> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["pointer"].as_str().unwrap())
        .collect();
    for pointer in ["/id", "/timestamp", "/metadata"] {
        assert!(pointers.contains(&pointer), "{problem:#}");
    }
    service.post("/v1/events", "text/plain", wrong).await.problem(415, "unsupported-media");
    service.post("/v1/events", "application/json", "[1,").await.problem(400, "bad-request");
    service.post("/v1/events", "application/x-ndjson", "\n\n").await.problem(400, "bad-request");
    service.stop().await;
}

/// The stored event is the published JSON object byte for byte, without the white space around it. The event has
/// numbers that a double cannot represent, unsorted members, unusual white space, and unusual Unicode.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_kept() {
    let service = Service::new().await;
    let data = "{\"a\":1.10,  \"b\":123456789012345678901234567890,\t\"c\":\"\\u00e4é\\ud83d\\ude00😀e\u{301}\u{fffd}\u{200d}\",\"d\":1e2 ,\"e\":-0.0,\"f\":\"\\/\",\"a b\":{\"z\":1,\"y\":2}}";
    let event = format!(
        r#"{{ "metadata":{{}},"data":{data},"id":"odd","type":"custom.event","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s" }}"#
    );
    for (n, (media, body)) in [
        ("application/json", format!("\r\n\t {event} \n\n")),
        ("application/json", event.clone()),
        ("application/json", format!("[\n  {event}\t]\n")),
        ("application/x-ndjson", format!("\t{event} \r\n")),
        ("application/x-ndjson", format!("{{\"event\": {event},\"position\":\"0:1\"}}\n")),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = service.post("/v1/events?unknownTypes=accept", media, body).await;
        assert_eq!(reply.status, if n == 0 { 201 } else { 200 }, "{n}: {}", reply.text());
    }
    let stored = service.get("/v1/events/odd").await.is(200).text();
    assert!(stored.contains(&format!("\"event\":{event},")), "{stored}");
    let binary = service.get("/v1/events/odd?cloudevent=binary").await.is(200);
    assert_eq!(binary.text(), data);
    let structured = service.get("/v1/events/odd?cloudevent=structured").await.is(200).text();
    assert!(structured.contains(&format!("\"data\":{data}")), "{structured}");
    service.stop().await;
}

/// Line breaks between tokens and characters that a terminal interprets are stored as they are. A JSON response has
/// the same value in one line, and the body of a CloudEvent has the bytes.
#[tokio::test(flavor = "multi_thread")]
async fn line_breaks_and_bidirectional_controls_are_kept_and_shown_safely() {
    let service = Service::new().await;
    let data = "{\n \"a\":\r\n \"x\u{202e}y\u{7f}\"}";
    let event = format!(
        r#"{{"id":"odd","type":"custom.event","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{{}},"data":{data}}}"#
    );
    service.post("/v1/events?unknownTypes=accept", "application/json", event.clone()).await.is(201);
    let shown = "{  \"a\":   \"x\\u202ey\\u007f\"}";
    let stored = service.get("/v1/events/odd").await.is(200).text();
    assert!(stored.contains(&format!("\"data\":{shown}}}")), "{stored}");
    assert_eq!(service.get("/v1/events/odd?cloudevent=binary").await.is(200).text(), data);
    service.post("/v1/events?unknownTypes=accept", "application/json", event).await.is(200);
    service.stop().await;
}

/// The hint for an unknown type names the ways that a client of the HTTP API has.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_without_a_schema_is_refused_with_the_ways_over_http() {
    let service = Service::new().await;
    let event = registered("e1", "u1").replace("user.registered", "order.placed");
    for (media, body) in [
        ("application/json", event.clone()),
        ("application/json", format!("[{event}]")),
        ("application/x-ndjson", event.clone()),
    ] {
        let problem = service.post("/v1/events", media, body).await.problem(422, "rejected");
        let hint = problem["hint"].as_str().unwrap();
        for way in ["POST /v1/schemas/{type}", "?unknownTypes=accept"] {
            assert!(hint.contains(way), "{problem:#}");
        }
        let said = "No schema found for event type: order.placed";
        assert!(problem.to_string().contains(said), "{problem:#}");
    }
    // An event that is refused for another reason has no such hint.
    let wrong = registered("e2", "u1").replace("\"email\":", "\"mail\":");
    let problem = service.post("/v1/events", "application/json", wrong).await.problem(422, "rejected");
    assert_eq!(problem["hint"], json!(null), "{problem:#}");
    service.post("/v1/events?unknownTypes=accept", "application/json", event).await.is(201);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_events_are_reported_line_by_line() {
    let service = Service::new().await;
    let lines = [registered("e1", "u1"), "{".to_owned(), registered("e2", "u2")];
    let problem = service.publish(&lines).await.problem(422, "rejected");
    assert_eq!((problem["stored"].as_u64(), problem["rejected"].as_u64()), (Some(2), Some(1)), "{problem:#}");
    assert_eq!(problem["errors"][0]["line"], 2, "{problem:#}");
    let report =
        service.post("/v1/events?partial=ok", "application/x-ndjson", lines.join("\n")).await.is(200).json();
    assert_eq!((report["alreadyStored"].as_u64(), report["rejected"].as_u64()), (Some(2), Some(1)));
    let array = format!("[{},{}]", registered("e3", "u1"), registered("e4", "u1"));
    let report = service.post("/v1/events", "application/json", array.clone()).await.is(201).json();
    assert_eq!(
        report,
        json!({"stored": 2, "alreadyStored": 0, "rejected": 0, "conflicts": 0, "errors": [], "errorsTruncated": false})
    );
    service.post("/v1/events", "application/json", array).await.is(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn atomic_is_all_or_nothing() {
    let service = Service::new().await;
    let lines = [registered("e1", "u1"), "{".to_owned(), registered("e2", "u2")];
    let problem = service.post("/v1/events?atomic=true", "application/x-ndjson", lines.join("\n")).await;
    let problem = problem.problem(422, "rejected");
    assert_eq!(
        (problem["stored"].as_u64(), problem["notStored"].as_u64()),
        (Some(0), Some(2)),
        "{problem:#}"
    );
    service.get("/v1/events/e1").await.problem(404, "not-found");
    let sound = [registered("e1", "u1"), registered("e2", "u2")].join("\n");
    service.post("/v1/events?atomic=true", "application/x-ndjson", sound).await.is(201);
    service
        .post("/v1/events?atomic=true&delay=5s", "application/json", registered("e9", "u"))
        .await
        .problem(422, "invalid");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_event_waits_in_the_schedule() {
    let service = Service::new().await;
    let event = registered("later", "u1");
    let waits = service
        .post("/v1/events?delay=1h&priority=high", "application/json", event.clone())
        .await
        .is(202)
        .json();
    assert_eq!(waits["scheduled"], 1, "{waits}");
    assert!(waits["due"].is_string(), "{waits}");
    service.post("/v1/events?delay=1h", "application/json", event.clone()).await.is(200);
    let lines = [event, registered("later-2", "u1")].join("\n");
    let report = service.post("/v1/events?delay=1h", "application/x-ndjson", lines).await.is(202).json();
    assert_eq!(
        (report["scheduled"].as_u64(), report["alreadyScheduled"].as_u64()),
        (Some(1), Some(1)),
        "{report}"
    );
    let list = service.get("/v1/scheduled").await.is(200).json();
    assert_eq!(ids(&list["scheduled"]), ["later", "later-2"]);
    assert_eq!(list["scheduled"][0]["priority"], "high");
    service.get("/v1/events/later").await.problem(404, "not-found");
    assert_eq!(
        service.delete("/v1/scheduled/later").await.is(200).json(),
        json!({"cancelled": ["later"], "unknown": []})
    );
    service.delete("/v1/scheduled/later").await.problem(404, "not-found");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_added_serves_the_next_publish() {
    let service = Service::new().await;
    let event = r#"{"id":"o1","type":"order.placed","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s","metadata":{},"data":{"total":"x"}}"#;
    service.post("/v1/events", "application/json", event).await.problem(422, "rejected");
    let schema =
        json!({"data": true, "document": {"type": "object", "properties": {"total": {"type": "number"}}}});
    service.post_json("/v1/schemas/order.placed", schema.clone()).await.is(201);
    service.post_json("/v1/schemas/order.placed", schema.clone()).await.is(200);
    let problem = service.post("/v1/events", "application/json", event).await.problem(422, "rejected");
    assert_eq!(problem["errors"][0]["pointer"], "/data/total", "{problem:#}");
    service.post("/v1/events", "application/json", event.replace("\"x\"", "7")).await.is(201);
    let shown = service.get("/v1/schemas/order.placed").await.is(200).json();
    assert_eq!((&shown["document"], &shown["origin"]), (&schema["document"], &json!("store")));
    let removed = service.delete("/v1/schemas/order.placed").await.is(200).json();
    assert_eq!(removed, json!({"eventType": "order.placed", "eventVersion": null}));
    service.get("/v1/schemas/order.placed").await.problem(404, "not-found");
    service.delete("/v1/schemas/user.registered").await.problem(409, "conflict");
    service.stop().await;
}
