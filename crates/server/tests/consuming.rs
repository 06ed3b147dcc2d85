//! Consuming over HTTP: clients fetch and settle deliveries, and the bus is responsible for the rest.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::{collections::BTreeMap, time::Duration};

use common::{Service, registered};
use event_replay_server::ServeOptions;
use serde_json::{Value, json};

async fn with_group(events: usize) -> Service {
    let service = Service::new().await;
    service.post_json("/v1/groups", json!({"name": "mail", "at": "start"})).await.is(201);
    let events: Vec<String> =
        (0..events).map(|n| registered(&format!("e{n}"), &format!("u{}", n % 5))).collect();
    if !events.is_empty() {
        service.publish(&events).await.is(201);
    }
    service
}

async fn fetch(service: &Service, max: usize, timeout: &str) -> Vec<Value> {
    let body = json!({"max": max, "wait": 20, "timeout": timeout, "client": "test"});
    let reply = service.post_json("/v1/groups/mail/fetch", body).await.is(200).json();
    reply["deliveries"].as_array().unwrap().clone()
}

fn settlement(delivery: &Value, outcome: &str) -> Value {
    json!({"receipt": delivery["receipt"], "outcome": outcome})
}

async fn settle(service: &Service, settlements: Value) -> Vec<String> {
    let reply = service.post_json("/v1/groups/mail/settle", settlements).await.is(200).json();
    let results = reply["results"].as_array().unwrap().iter();
    results.map(|result| result["status"].as_str().unwrap().to_owned()).collect()
}

fn id(delivery: &Value) -> String {
    delivery["event"]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_is_delivered_once_and_each_key_in_order() {
    let service = with_group(200).await;
    let mut by_user: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    let mut handled = 0;
    while handled < 200 {
        let deliveries = fetch(&service, 64, "30s").await;
        let users: Vec<&str> =
            deliveries.iter().map(|delivery| delivery["event"]["userId"].as_str().unwrap()).collect();
        for (delivery, user) in deliveries.iter().zip(&users) {
            assert_eq!(
                users.iter().filter(|other| *other == user).count(),
                1,
                "a key is handed out twice at once"
            );
            assert_eq!(
                (&delivery["delivery"]["group"], &delivery["delivery"]["attempt"]),
                (&json!("mail"), &json!(1))
            );
            by_user.entry((*user).to_owned()).or_default().push(id(delivery)[1..].parse().unwrap());
        }
        handled += deliveries.len();
        let settlements = deliveries.iter().map(|delivery| settlement(delivery, "ok")).collect();
        let results = settle(&service, settlements).await;
        assert!(results.iter().all(|status| status == "settled"), "{results:?}");
    }
    for (user, events) in by_user {
        let first = events[0];
        assert_eq!(events, (first..200).step_by(5).collect::<Vec<_>>(), "{user}");
    }
    let group = service.get("/v1/groups/mail").await.json();
    assert_eq!(group["blocked"], 0, "{group:#}");
    service.stop().await;
}

/// A client that dies delays its delivery until the deadline and uses one attempt. Another client then gets the
/// delivery.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_client_had_comes_again_after_its_deadline() {
    let service = with_group(1).await;
    let first = fetch(&service, 1, "300ms").await;
    assert_eq!((first.len(), id(&first[0]).as_str()), (1, "e0"));
    let again = fetch(&service, 1, "30s").await;
    assert_eq!((id(&again[0]).as_str(), &again[0]["delivery"]["attempt"]), ("e0", &json!(2)));
    // The receipt of the dead client is expired.
    assert_eq!(settle(&service, json!([settlement(&first[0], "ok")])).await, ["expired"]);
    assert_eq!(settle(&service, json!([settlement(&again[0], "ok")])).await, ["settled"]);
    assert_eq!(settle(&service, json!([settlement(&again[0], "ok")])).await, ["expired"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_retry_give_up_release_and_ask_for_time() {
    let service = with_group(1).await;
    let delivery = fetch(&service, 1, "30s").await;
    // A release does not count as an attempt.
    assert_eq!(settle(&service, json!([settlement(&delivery[0], "release")])).await, ["released"]);
    let delivery = fetch(&service, 1, "500ms").await;
    assert_eq!(delivery[0]["delivery"]["attempt"], 1);
    // With more time, the delivery stays valid after its first deadline.
    let extend = json!([{"receipt": delivery[0]["receipt"], "outcome": "extend", "afterMs": 20_000}]);
    let reply = service.post_json("/v1/groups/mail/settle", extend).await.is(200).json();
    assert_eq!(reply["results"][0]["status"], "extended", "{reply}");
    assert!(reply["results"][0]["deadline"].is_string(), "{reply}");
    tokio::time::sleep(Duration::from_millis(800)).await;
    let retry =
        json!([{"receipt": delivery[0]["receipt"], "outcome": "retry", "afterMs": 10, "error": "busy"}]);
    assert_eq!(settle(&service, retry).await, ["settled"]);
    let delivery = fetch(&service, 1, "30s").await;
    assert_eq!(delivery[0]["delivery"]["attempt"], 2);
    let give_up =
        json!([{"receipt": delivery[0]["receipt"], "outcome": "giveUp", "error": "no such account"}]);
    assert_eq!(settle(&service, give_up).await, ["settled"]);
    let letter = loop {
        let letters = service.get("/v1/dead-letters?group=mail").await.is(200).json();
        if let Some(letter) = letters["deadLetters"].as_array().unwrap().first() {
            break letter.clone();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!((&letter["error"], &letter["attempts"]), (&json!("no such account"), &json!(2)), "{letter:#}");
    // After a redrive, the event is delivered again, and the delivery names its dead letter.
    let would =
        service.post_json("/v1/redrives", json!({"group": "mail", "dryRun": true})).await.is(200).json();
    assert_eq!(would, json!({"dryRun": true, "requested": 1}));
    service.post_json("/v1/redrives", json!({"group": "mail"})).await.is(202);
    let delivery = fetch(&service, 1, "30s").await;
    assert_eq!(delivery[0]["delivery"]["deadLetter"], letter["id"], "{delivery:?}");
    assert_eq!(settle(&service, json!([settlement(&delivery[0], "ok")])).await, ["settled"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_out_survives_a_restart_without_an_attempt() {
    let mut service = with_group(2).await;
    let held = fetch(&service, 1, "30s").await;
    // Different keys have no order, so either event may be handed out first.
    let other = if id(&held[0]) == "e0" { "e1" } else { "e0" };
    // The server waits for deliveries that clients hold. The client settles its delivery during the stop.
    service.ask_to_stop();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let problem = service.post_json("/v1/groups/mail/fetch", json!({})).await;
    problem.problem(503, "unavailable");
    assert_eq!(settle(&service, json!([settlement(&held[0], "ok")])).await, ["settled"]);
    let service = Service::on(service.stop().await, ServeOptions::default()).await;
    let rest = fetch(&service, 10, "30s").await;
    assert_eq!(rest.iter().map(id).collect::<Vec<_>>(), [other]);
    assert_eq!(rest[0]["delivery"]["attempt"], 1);
    // A receipt of the previous instance is expired.
    assert_eq!(
        settle(&service, json!([settlement(&held[0], "ok"), settlement(&rest[0], "ok")])).await,
        ["expired", "settled"]
    );
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fetch_waits_for_what_comes() {
    let service = with_group(0).await;
    let empty = service.post_json("/v1/groups/mail/fetch", json!({})).await.is(200).json();
    assert_eq!(empty, json!({"deliveries": []}));
    let publishing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        service.publish(&[registered("e1", "u1")]).await.is(201);
    };
    let (deliveries, ()) = tokio::join!(fetch(&service, 5, "30s"), publishing);
    assert_eq!(deliveries.iter().map(id).collect::<Vec<_>>(), ["e1"]);
    assert_eq!(settle(&service, json!([settlement(&deliveries[0], "ok")])).await, ["settled"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_make_no_sense_are_refused() {
    let service = with_group(1).await;
    let problem = service.post_json("/v1/groups/mial/fetch", json!({})).await;
    problem.problem(404, "not-found");
    for body in [
        json!({"max": 0}),
        json!({"max": 65}),
        json!({"wait": 61}),
        json!({"timeout": "soon"}),
        json!({"timeout": 1}),
    ] {
        let reply = service.post_json("/v1/groups/mail/fetch", body).await;
        reply.problem(400, "bad-parameter");
    }
    let reply = service.post_json("/v1/groups/mail/fetch", json!({"maxx": 1})).await;
    assert_eq!(reply.problem(400, "unknown-parameter")["hint"], "did you mean max?");
    for body in [json!({}), json!([{"receipt": "x"}]), json!([{"receipt": "x", "outcome": "fine"}])] {
        let reply = service.post_json("/v1/groups/mail/settle", body).await;
        reply.problem(400, "bad-parameter");
    }
    let late = json!([{"receipt": "x", "outcome": "ok", "afterMs": 5}]);
    let reply = service.post_json("/v1/groups/mail/settle", late).await;
    reply.problem(422, "invalid");
    assert_eq!(settle(&service, json!([{"receipt": "x", "outcome": "ok"}])).await, ["expired"]);
    service.stop().await;
}
