//! Requests that a client repeats with an idempotency key: the server runs them once, and gives the same response.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use axum::body::Body;
use common::{Reply, Service, registered};
use event_replay_server::{ServeOptions, routes::ROUTES};
use http::Request;
use serde_json::{Value, json};

async fn send(service: &Service, path: &str, key: &str, body: &Value) -> Reply {
    let request = Request::post(service.url(path))
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(Body::from(body.to_string()));
    service.send(request.unwrap()).await
}

fn is_replayed(reply: &Reply) -> bool {
    reply.headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

/// Starts a server with events and a group, and returns the request that starts a replay.
async fn ready() -> (Service, Value) {
    let service = Service::new().await;
    service.publish(&(0..9).map(|n| registered(&format!("e{n}"), "u")).collect::<Vec<_>>()).await.is(201);
    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    let plan = service.post_json("/v1/plans", json!({"all": true})).await.is(200).json();
    (service, json!({"all": true, "mark": plan["mark"], "hash": plan["planHash"]}))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_asked_for_twice_is_started_once() {
    let (service, start) = ready().await;
    let first = send(&service, "/v1/replays", "k-1", &start).await.is(202);
    assert!(!is_replayed(&first));
    // Another server of the same store also knows the response.
    let service = Service::on(service.stop().await, ServeOptions::default()).await;
    let second = send(&service, "/v1/replays", "k-1", &start).await.is(202);
    assert!(is_replayed(&second));
    assert_eq!(
        (&second.body, &second.headers["content-type"]),
        (&first.body, &first.headers["content-type"])
    );
    assert_eq!(service.get("/v1/replays").await.json().as_array().unwrap().len(), 1);
    // A request without a key, or with another key, is a separate request.
    service.post_json("/v1/replays", start.clone()).await.is(202);
    send(&service, "/v1/replays", "k-2", &start).await.is(202);
    assert_eq!(service.get("/v1/replays").await.json().as_array().unwrap().len(), 3);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_request() {
    let (service, start) = ready().await;
    send(&service, "/v1/replays", "k", &start).await.is(202);
    let mut other = start.clone();
    other["rate"] = json!(5);
    send(&service, "/v1/replays", "k", &other).await.problem(422, "key-reused");
    // The same key on another route is a separate request.
    let checkpoint = json!({"name": "nightly"});
    send(&service, "/v1/checkpoints", "k", &checkpoint).await.is(201);
    let path = "/v1/replays";
    for bad in ["", "two words", &"k".repeat(129)] {
        send(&service, path, bad, &start).await.problem(400, "bad-request");
    }
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_repeats_at_once_one_is_done() {
    let (service, start) = ready().await;
    let sending = (0..16).map(|_| send(&service, "/v1/replays", "k", &start));
    let replies = futures_util::future::join_all(sending).await;
    let (done, running): (Vec<_>, Vec<_>) = replies.into_iter().partition(|reply| reply.status == 202);
    assert_eq!(done.iter().filter(|reply| !is_replayed(reply)).count(), 1);
    for reply in running {
        let problem = reply.problem(409, "still-running");
        assert_eq!(problem["retry"], "later");
    }
    assert_eq!(service.get("/v1/replays").await.json().as_array().unwrap().len(), 1);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_kept_as_it_was_given() {
    let (service, start) = ready().await;
    let mut wrong = start.clone();
    wrong["hash"] = json!("0000");
    let first = send(&service, "/v1/replays", "k", &wrong).await;
    let problem = first.problem(409, "plan-changed");
    let second = send(&service, "/v1/replays", "k", &wrong).await;
    assert!(is_replayed(&second));
    assert_eq!(second.headers["content-type"], "application/problem+json");
    assert_eq!(second.json(), problem);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_with_secrets_or_persons_are_not_kept() {
    let (service, _) = ready().await;
    let token = json!({"name": "mailer", "role": "read"});
    send(&service, "/v1/tokens", "k", &token).await.is(201);
    // The server runs the repeat as a separate request, which fails because the name is taken.
    send(&service, "/v1/tokens", "k", &token).await.problem(409, "conflict");
    let would = json!({"userId": "u", "dryRun": true});
    assert!(!is_replayed(&send(&service, "/v1/erasures", "k", &would).await.is(200)));
    assert!(!is_replayed(&send(&service, "/v1/erasures", "k", &would).await.is(200)));
    for path in ["/v1/events", "/v1/tokens", "/v1/erasures", "/v1/groups/{group}/fetch"] {
        let keeps = ROUTES.iter().filter(|route| route.path == path).any(|route| route.keeps_answers());
        assert!(!keeps, "{path}");
    }
    service.stop().await;
}
