//! Entity tags, edits of dead letters, and the histogram.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use axum::body::Body;
use common::{Reply, Service, registered};
use http::Request;
use serde_json::{Value, json};

async fn ask(service: &Service, method: &str, path: &str, header: (&str, &str), body: Value) -> Reply {
    let request = Request::builder().method(method).uri(service.url(path));
    let request = request.header(header.0, header.1).header("content-type", "application/json");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    service.send(request.body(body).unwrap()).await
}

fn tag(reply: &Reply) -> String {
    reply.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_resource_that_is_the_same_is_not_sent_again() {
    let service = Service::new().await;
    service.post_json("/v1/checkpoints", json!({"name": "a"})).await.is(201);
    let first = service.get("/v1/checkpoints/a").await.is(200);
    let known = tag(&first);
    let again = ask(&service, "GET", "/v1/checkpoints/a", ("if-none-match", &known), Value::Null).await;
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
    assert_eq!(tag(&again), known);
    let other = ask(&service, "GET", "/v1/checkpoints/a", ("if-none-match", "\"00\""), Value::Null).await;
    assert_eq!((other.status.as_u16(), other.body.clone()), (200, first.body));
    service.stop().await;
}

#[tokio::test]
async fn a_change_of_a_resource_that_has_changed_is_refused() {
    let service = Service::new().await;
    service.post_json("/v1/groups", json!({"name": "g", "at": "head"})).await.is(201);
    let known = tag(&service.get("/v1/groups/g").await.is(200));
    // Events do not change what people set of the group.
    service.publish(&[registered("e1", "u1")]).await.is(201);
    assert_eq!(tag(&service.get("/v1/groups/g").await.is(200)), known);
    let pause = json!({"reason": "maintenance"});
    ask(&service, "POST", "/v1/groups/g/pause", ("if-match", &known), pause).await.is(200);
    let refused = ask(&service, "DELETE", "/v1/groups/g", ("if-match", &known), Value::Null).await;
    refused.problem(412, "stale");
    let now = tag(&service.get("/v1/groups/g").await.is(200));
    assert_ne!(now, known);
    ask(&service, "DELETE", "/v1/groups/g", ("if-match", &now), Value::Null).await.is(200);
    ask(&service, "DELETE", "/v1/groups/g", ("if-match", &now), Value::Null).await.problem(404, "not-found");
    // A condition that no resource answers for is refused, not ignored.
    let many = ask(&service, "POST", "/v1/trims", ("if-match", "\"00\""), json!({"maxEvents": 1})).await;
    many.problem(400, "bad-request");
    service.stop().await;
}

/// Makes a dead letter of an event, and returns its id.
async fn dead_letter(service: &Service) -> String {
    service.post_json("/v1/groups", json!({"name": "mail", "at": "head"})).await.is(201);
    service.publish(&[registered("e1", "u1")]).await.is(201);
    let fetched =
        service.post_json("/v1/groups/mail/fetch", json!({"max": 1, "wait": 30})).await.is(200).json();
    let receipt = &fetched["deliveries"][0]["receipt"];
    let settlement = json!([{"receipt": receipt, "outcome": "giveUp", "error": "no such mailbox"}]);
    service.post_json("/v1/groups/mail/settle", settlement).await.is(200);
    loop {
        let letters = service.get("/v1/dead-letters").await.is(200).json();
        if let Some(id) = letters["deadLetters"][0]["id"].as_str() {
            return id.to_owned();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_dead_letter_is_edited_under_its_tag_and_keeps_the_published_event() {
    let service = Service::new().await;
    let id = dead_letter(&service).await;
    let path = format!("/v1/dead-letters/{id}");
    let known = tag(&service.get(&path).await.is(200));
    let patch = json!({"patch": [{"op": "replace", "path": "/data/email", "value": "new@example.com"}]});
    let revisions = format!("{path}/revisions");
    let mut dry = patch.clone();
    dry["dryRun"] = json!(true);
    service.post_json(&revisions, dry).await.is(200);
    assert_eq!(tag(&service.get(&path).await.is(200)), known, "a dry run changes nothing");
    ask(&service, "POST", &revisions, ("if-match", &known), patch.clone()).await.is(200);
    ask(&service, "POST", &revisions, ("if-match", &known), patch).await.problem(412, "stale");
    let letter = service.get(&path).await.is(200).json();
    let text = letter.to_string();
    assert!(text.contains("new@example.com") && text.contains("u1@example.com"), "{text}");
    for (body, code) in [
        (json!({}), "invalid"),
        (json!({"undo": true, "patch": []}), "invalid"),
        (json!({"patch": [{"op": "remove", "path": "/nothing"}]}), "invalid"),
        (json!({"patch": [{"op": "replace", "path": "/id", "value": "e2"}]}), "invalid"),
        (json!({"patsh": []}), "unknown-parameter"),
    ] {
        let refused = service.post_json(&revisions, body.clone()).await;
        assert_eq!(refused.json()["code"], code, "{body}: {}", refused.text());
    }
    service.post_json(&revisions, json!({"undo": true})).await.is(200);
    assert!(!service.get(&path).await.text().contains("new@example.com"));
    service.stop().await;
}

#[tokio::test]
async fn a_discarded_dead_letter_is_restored() {
    let service = Service::new().await;
    let id = dead_letter(&service).await;
    service.post_json("/v1/discards", json!({"id": id, "reason": "obsolete"})).await.is(200);
    let report = service.post_json("/v1/restores", json!({"id": [id, "unknown"]})).await.is(200).json();
    assert_eq!(report, json!({"requested": 2, "restored": 1, "unchanged": 0, "unknown": 1}));
    let letters = service.get("/v1/dead-letters?state=open").await.is(200).json();
    assert_eq!(letters["deadLetters"][0]["id"], id);
    service.post_json("/v1/restores", json!({})).await.problem(422, "invalid");
    service.stop().await;
}

#[tokio::test]
async fn events_are_counted_over_time() {
    let service = Service::new().await;
    service.publish(&[registered("e1", "u1"), registered("e2", "u2")]).await.is(201);
    let counted = service.get("/v1/events/histogram?interval=1h&by=type&userId=u1").await.is(200).json();
    let interval = json!({"start": "2024-01-15T10:00:00Z", "events": 1, "by": {"user.registered": 1}});
    assert_eq!((&counted["intervals"], &counted["events"]), (&json!([interval]), &json!(1)));
    service.get("/v1/events/histogram").await.problem(400, "bad-parameter");
    service.get("/v1/events/histogram?interval=1h&by=user").await.problem(400, "bad-parameter");
    service.get("/v1/events/histogram?interval=1ms").await.problem(422, "invalid");
    service.stop().await;
}
