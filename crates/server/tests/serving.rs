//! The server itself: guards, problems, limits, and the stop.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::time::Duration;

use axum::body::Body;
use common::{Service, registered};
use event_replay_server::ServeOptions;
use http::Request;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[tokio::test(flavor = "multi_thread")]
async fn it_lives_and_is_ready() {
    let service = Service::new().await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(service.get(path).await.is(200).text(), "ok\n");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_host_is_misdirected() {
    let service =
        Service::with(ServeOptions { hosts: vec!["events.internal".to_owned()], ..ServeOptions::default() })
            .await;
    let asked =
        |host: &str| Request::get(service.url("/livez")).header("host", host).body(Body::empty()).unwrap();
    service.send(asked("evil.example")).await.problem(421, "misdirected");
    service.send(asked("events.internal")).await.is(200);
    service.send(asked("localhost")).await.is(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_site_cannot_publish() {
    let service = Service::new().await;
    let request = Request::post(service.url("/v1/events"))
        .header("sec-fetch-site", "cross-site")
        .header("content-type", "application/json")
        .body(Body::from(registered("e1", "u1")))
        .unwrap();
    service.send(request).await.problem(403, "cross-site");
    service.get("/v1/events/e1").await.problem(404, "not-found");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_a_problem_with_the_nearest_name() {
    let service = Service::new().await;
    let problem = service.get("/v1/event").await.problem(404, "no-route");
    assert_eq!(problem["hint"], "did you mean /v1/events?");
    let problem = service.get("/v1/events?limt=3").await.problem(400, "unknown-parameter");
    assert_eq!(
        (problem["hint"].as_str(), problem["retry"].as_str()),
        (Some("did you mean limit?"), Some("never"))
    );
    let reply = service.delete("/v1/events").await;
    reply.problem(405, "method-not-allowed");
    assert_eq!(reply.headers["allow"], "POST, GET, HEAD");
    let page = service.get("/problems/no-route").await.is(200);
    assert!(page.text().contains("status 404"), "{}", page.text());
    let problem = service.post_json("/v1/groups", serde_json::json!({"name": "mail", "typ": "a"})).await;
    assert_eq!(problem.problem(400, "unknown-parameter")["hint"], "did you mean type?");
    service.stop().await;
}

/// The documentation contains the same description that the server returns. `EVENT_REPLAY_WRITE=1` rewrites the file.
/// Never remove an existing member.
#[tokio::test(flavor = "multi_thread")]
async fn the_description_of_the_api_is_the_committed_one() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let service = Service::new().await;
    let given = service.get("/openapi.json").await.is(200).text();
    service.stop().await;
    if std::env::var_os("EVENT_REPLAY_WRITE").is_some() {
        std::fs::write(&file, &given).unwrap();
    }
    assert_eq!(
        given,
        std::fs::read_to_string(&file).unwrap(),
        "EVENT_REPLAY_WRITE=1 rewrites docs/openapi.json"
    );
    assert_eq!(given, event_replay_server::openapi());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_null_is_left_out_and_a_whole_number_may_have_a_point() {
    let service = Service::new().await;
    service.publish(&[registered("e1", "u1")]).await.is(201);
    let body = json!({"name": "mail", "at": null, "type": null, "key": null, "segments": 8.0});
    let made = service.post_json("/v1/groups", body).await.is(201).json();
    assert_eq!((&made["segments"], &made["key"]), (&json!(8), &json!("event")), "{made}");
    let reply = service.post_json("/v1/groups", json!({"name": null})).await;
    reply.problem(400, "bad-parameter");
    let reply = service.post_json("/v1/groups", json!({"name": "x", "segments": 1.5})).await;
    reply.problem(400, "bad-parameter");
    let body = json!({"all": true, "limit": 3.0, "checkSchemas": null});
    service.post_json("/v1/plans", body).await.is(200);
    let reply = service.post_json("/v1/plans", json!({"all": null, "alll": null})).await;
    assert_eq!(reply.problem(400, "unknown-parameter")["hint"], "did you mean all?");
    service.post_json("/v1/checkpoints", json!({"name": "a", "metadata": {"kept": null}})).await.is(201);
    let found = service.get("/v1/checkpoints/a").await.is(200).json();
    assert_eq!(found["metadata"], json!({"kept": null}));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_do_not_fit_each_other_are_told_from_bad_values() {
    let service = Service::new().await;
    for path in
        ["/v1/events?atomic=true&partial=ok", "/v1/events?expiresIn=1h&expiresAt=2100-01-01T00:00:00Z"]
    {
        let reply = service.post(path, "application/json", registered("e1", "u1")).await;
        reply.problem(422, "invalid");
    }
    for body in [json!({}), json!({"rate": 1, "delay": 5})] {
        service.post_json("/v1/replays/x/pace", body).await.problem(422, "invalid");
    }
    let reply = service.post_json("/v1/replays/x/pace", json!({"rate": 0})).await;
    reply.problem(400, "bad-parameter");
    let nameless = json!({"document": {}, "version": ""});
    service.post_json("/v1/schemas/x", nameless).await.problem(400, "bad-parameter");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_an_id_which_may_be_the_clients() {
    let service = Service::new().await;
    let request =
        Request::get(service.url("/livez")).header("x-request-id", "abc-1").body(Body::empty()).unwrap();
    assert_eq!(service.send(request).await.headers["x-request-id"], "abc-1");
    assert_eq!(service.get("/livez").await.headers["x-request-id"].len(), 36);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_server_changes_nothing() {
    let service = Service::new().await;
    service.publish(&[registered("e1", "u1")]).await.is(201);
    let folder = service.stop().await;
    let service = Service::on(folder, ServeOptions { read_only: true, ..ServeOptions::default() }).await;
    service.publish(&[registered("e2", "u1")]).await.problem(403, "read-only");
    service.get("/v1/events/e1").await.is(200);
    service.get("/v1/events/e2").await.problem(404, "not-found");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_stands_below_the_base_path() {
    let service =
        Service::with(ServeOptions { base_path: "/er".to_owned(), ..ServeOptions::default() }).await;
    service.get("/er/livez").await.is(200);
    let problem = service.get("/livez").await.problem(404, "no-route");
    assert_eq!(problem["type"], "/er/problems/no-route");
    service.get("/er/problems/no-route").await.is(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_and_the_server_answers_on() {
    let service = Service::new().await;
    let reply = service.post("/v1/events", "application/x-ndjson", vec![b' '; 16 * 1024 * 1024 + 1]).await;
    reply.problem(413, "too-large");
    service.get("/livez").await.is(200);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_over_the_limit_are_refused() {
    let service = Service::new().await;
    let request = Request::get(service.url("/livez")).header("x-long", "a".repeat(20_000));
    service.send(request.body(Body::empty()).unwrap()).await.is(431);
    service.get("/livez").await.is(200);
    service.stop().await;
}

/// A stopping server closes idle connections at once, and lets running requests finish.
#[tokio::test(flavor = "multi_thread")]
async fn it_stops_in_order() {
    let mut service = Service::new().await;
    let mut idle = TcpStream::connect(service.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    // The request is incomplete: part of its body is missing when the server receives the request to stop.
    let event = registered("e1", "u1");
    let mut running = TcpStream::connect(service.address).await.unwrap();
    let head = format!(
        "POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        event.len()
    );
    running.write_all(head.as_bytes()).await.unwrap();
    running.write_all(&event.as_bytes()[..10]).await.unwrap();
    let mut stream = service.client.get(service.url("/v1/events/stream").parse().unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    service.ask_to_stop();
    // The idle connection closes without another response.
    assert_eq!(idle.read(&mut buffer).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.write_all(&event.as_bytes()[10..]).await.unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    // The stream ended without an error.
    while let Some(frame) = http_body_util::BodyExt::frame(stream.body_mut()).await {
        frame.unwrap();
    }
    let folder = service.stop().await;
    assert!(!folder.path().join("events.db-wal").exists(), "the store was not closed");
    let service = Service::on(folder, ServeOptions::default()).await;
    service.get("/v1/events/e1").await.is(200);
    service.stop().await;
}
