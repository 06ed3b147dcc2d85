//! Operation of a store over HTTP: plans, replays, metrics, and discards, trims and erasures with their hashes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::{collections::BTreeSet, time::Duration};

use common::{Service, registered};
use event_replay_server::ServeOptions;
use serde_json::{Value, json};

async fn with_events(number: usize) -> Service {
    let service = Service::new().await;
    service
        .publish(
            &(0..number).map(|n| registered(&format!("e{n}"), &format!("u{}", n % 3))).collect::<Vec<_>>(),
        )
        .await
        .is(201);
    service
}

/// Fetches and settles until a fetch returns nothing. Returns all deliveries.
async fn consume(service: &Service, group: &str, outcome: &str) -> Vec<Value> {
    let mut all = vec![];
    loop {
        let path = format!("/v1/groups/{group}/fetch");
        let reply = service.post_json(&path, json!({"max": 64, "wait": 2})).await.is(200).json();
        let deliveries = reply["deliveries"].as_array().unwrap().clone();
        if deliveries.is_empty() {
            return all;
        }
        let settlements: Vec<Value> = deliveries
            .iter()
            .map(|delivery| json!({"receipt": delivery["receipt"], "outcome": outcome}))
            .collect();
        service.post_json(&format!("/v1/groups/{group}/settle"), json!(settlements)).await.is(200);
        all.extend(deliveries);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_exactly_the_set_of_its_plan() {
    let service = with_events(9).await;
    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    let plan = service.post_json("/v1/plans", json!({"userId": "u1"})).await.is(200).json();
    assert_eq!(
        (&plan["totalEvents"], &plan["dryRun"], &plan["invalid"]),
        (&json!(3), &json!(true), &json!(0)),
        "{plan:#}"
    );
    // An event that arrives after the plan is not part of it, and does not change its hash.
    service.publish(&[registered("late", "u1")]).await.is(201);
    let start = json!({"userId": "u1", "mark": plan["mark"], "hash": plan["planHash"], "delay": 0});
    let started = service.post_json("/v1/replays", start.clone()).await.is(202).json();
    assert_eq!((&started["totalEvents"], &started["groups"]), (&json!(3), &json!(["mail"])), "{started:#}");
    let delivered: BTreeSet<String> = consume(&service, "mail", "ok")
        .await
        .iter()
        .filter(|delivery| !delivery["replay"].is_null())
        .map(|delivery| delivery["event"]["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(delivered, ["e1", "e4", "e7"].map(str::to_owned).into());
    let id = started["replayId"].as_str().unwrap();
    let replay = loop {
        let replay = service.get(&format!("/v1/replays/{id}")).await.is(200).json();
        if replay["state"] == "COMPLETED" {
            break replay;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(replay["successful"], 3, "{replay:#}");
    // A different set does not match the confirmed hash.
    let other = json!({"userId": "u2", "mark": plan["mark"], "hash": plan["planHash"]});
    let reply = service.post_json("/v1/replays", other).await;
    reply.problem(409, "plan-changed");
    let reply = service.post_json("/v1/replays", json!({"userId": "u1"})).await;
    reply.problem(400, "bad-parameter");
    let reply = service.post_json("/v1/plans", json!({})).await;
    assert_eq!(reply.problem(422, "invalid")["hint"], "say which events, or add \"all\": true");
    let reply = service.post_json("/v1/plans", json!({"checkpoint": "nothing"})).await;
    reply.problem(404, "not-found");
    let reply = service.post_json(&format!("/v1/replays/{id}/pause"), json!({})).await;
    reply.problem(409, "conflict");
    assert_eq!(service.delete(&format!("/v1/replays/{id}")).await.is(200).json(), json!({"deleted": id}));
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_paused_resumed_and_cancelled() {
    let service = with_events(50).await;
    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    let plan = service.post_json("/v1/plans", json!({"all": true})).await.is(200).json();
    let start = json!({"all": true, "mark": plan["mark"], "hash": plan["planHash"], "rate": 1});
    let started = service.post_json("/v1/replays", start).await.is(202).json();
    let id = started["replayId"].as_str().unwrap();
    assert_eq!(started["groupsWithoutConsumers"], json!(["mail"]));
    let rests = service.post_json(&format!("/v1/replays/{id}/pause"), json!({})).await.is(200).json();
    assert_eq!(rests["state"], "PAUSED", "{rests}");
    assert!(rests["effective"].is_boolean(), "{rests}");
    let goes_on = service.post_json(&format!("/v1/replays/{id}/resume"), json!({})).await.is(200).json();
    assert!(["PLANNED", "RUNNING"].contains(&goes_on["state"].as_str().unwrap()), "{goes_on}");
    let ends = service.post_json(&format!("/v1/replays/{id}/cancel"), json!({})).await.is(200).json();
    assert!(["CANCELLING", "CANCELLED"].contains(&ends["state"].as_str().unwrap()), "{ends}");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_undone_is_done_by_its_hash_alone() {
    let service = with_events(9).await;
    // Erasure.
    let request = json!({"userId": "u0"});
    let reply = service.post_json("/v1/erasures", request.clone()).await;
    reply.problem(422, "invalid");
    let would =
        service.post_json("/v1/erasures", json!({"userId": "u0", "dryRun": true})).await.is(200).json();
    assert_eq!((&would["erased"], &would["dryRun"]), (&json!(3), &json!(true)), "{would}");
    service.publish(&[registered("more", "u0")]).await.is(201);
    let with_hash = json!({"userId": "u0", "hash": would["hash"]});
    let reply = service.post_json("/v1/erasures", with_hash).await;
    reply.problem(409, "plan-changed");
    let would =
        service.post_json("/v1/erasures", json!({"userId": "u0", "dryRun": true})).await.is(200).json();
    let done = service
        .post_json("/v1/erasures", json!({"userId": "u0", "hash": would["hash"]}))
        .await
        .is(200)
        .json();
    assert_eq!((&done["erased"], &done["dryRun"]), (&json!(4), &json!(false)), "{done}");
    let reply = service.post("/v1/events", "application/json", registered("more", "u0")).await;
    reply.problem(410, "erased");
    // Trim.
    let would = service.post_json("/v1/trims", json!({"maxEvents": 2, "dryRun": true})).await.is(200).json();
    assert_eq!(would["events"], 4, "{would}");
    let reply = service.post_json("/v1/trims", json!({"maxEvents": 2, "hash": "0"})).await;
    reply.problem(409, "plan-changed");
    let done =
        service.post_json("/v1/trims", json!({"maxEvents": 2, "hash": would["hash"]})).await.is(200).json();
    assert_eq!((&done["events"], &done["dryRun"]), (&json!(4), &json!(false)), "{done}");
    let reply = service.post_json("/v1/trims", json!({})).await;
    reply.problem(422, "invalid");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_found_counted_and_discarded() {
    let service = with_events(3).await;
    service.post_json("/v1/groups", json!({"name": "mail", "at": "start"})).await.is(201);
    consume(&service, "mail", "giveUp").await;
    let letters = loop {
        let page = service.get("/v1/dead-letters?limit=2").await.is(200).json();
        if page["nextCursor"].is_string() {
            break page;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let next = letters["nextCursor"].as_str().unwrap();
    let rest = service.get(&format!("/v1/dead-letters?limit=2&after={next}")).await.is(200).json();
    assert_eq!((rest["deadLetters"].as_array().map(Vec::len), &rest["nextCursor"]), (Some(1), &Value::Null));
    let alike = service.get("/v1/dead-letters/groups").await.is(200).json();
    assert_eq!((&alike[0]["count"], &alike[0]["group"]), (&json!(3), &json!("mail")), "{alike:#}");
    let id = &letters["deadLetters"][0]["id"];
    let shown = service.get(&format!("/v1/dead-letters/{}", id.as_str().unwrap())).await.is(200).json();
    assert_eq!(shown["deadLetters"][0], letters["deadLetters"][0]);
    let reply = service.post_json("/v1/discards", json!({"id": id})).await;
    reply.problem(400, "bad-parameter");
    let done = service.post_json("/v1/discards", json!({"id": id, "reason": "test"})).await.is(200).json();
    assert_eq!(done["discarded"], 1, "{done}");
    let request = json!({"group": "mail", "reason": "test", "dryRun": true});
    let would = service.post_json("/v1/discards", request).await.is(200).json();
    assert_eq!(would["requested"], 2, "{would}");
    let reply = service.post_json("/v1/discards", json!({"group": "mail", "reason": "test"})).await;
    reply.problem(422, "invalid");
    let request = json!({"group": "mail", "reason": "test", "hash": would["hash"]});
    let done = service.post_json("/v1/discards", request).await.is(200).json();
    assert_eq!(done["discarded"], 2, "{done}");
    let open = service.get("/v1/dead-letters").await.is(200).json();
    assert_eq!(open["deadLetters"], json!([]));
    let closed = service.get("/v1/dead-letters?state=discarded").await.is(200).json();
    assert_eq!(closed["deadLetters"].as_array().map(Vec::len), Some(3));
    service.stop().await;
}

/// Returns the value of a series in the Prometheus text format.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_of_every_process_and_begin_at_zero() {
    let service = Service::new().await;
    service.post_json("/v1/groups", json!({"name": "mail", "at": "start"})).await.is(201);
    let reply = service.get("/metrics").await.is(200);
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = reply.text();
    for series in [
        "event_replay_append_failures_total",
        "event_replay_events_refused_total{type=\"(other)\"}",
        "event_replay_dead_letters{group=\"mail\",state=\"open\"}",
        "event_replay_dead_letters_made_total{group=\"mail\"}",
        "event_replay_delivery_outcomes_total{group=\"mail\",outcome=\"retry\"}",
        "event_replay_group_lag_events{group=\"mail\"}",
        "event_replay_replays{state=\"running\"}",
        "event_replay_scheduled_oldest_due_timestamp_seconds",
    ] {
        assert_eq!(value(&text, series), Some(0.0), "{series}\n{text}");
    }
    assert_eq!(value(&text, "event_replay_store_up"), Some(1.0));
    service.publish(&[registered("e1", "u1"), registered("e2", "u2"), "{".to_owned()]).await.is(422);
    let text = loop {
        // The server flushes counters each second.
        let text = service.get("/metrics").await.is(200).text();
        if value(&text, "event_replay_events_appended_total") == Some(2.0) {
            break text;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    for (series, expected) in [
        ("event_replay_events_admitted_total{type=\"user.registered\"}", 2.0),
        ("event_replay_store_events", 2.0),
        ("event_replay_group_pending_events{group=\"mail\"}", 2.0),
        ("event_replay_group_consumers{group=\"mail\"}", 0.0),
    ] {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    // Another process reports the same values.
    let folder = service.stop().await;
    let service = Service::on(folder, ServeOptions { read_only: true, ..ServeOptions::default() }).await;
    let text = service.get("/metrics").await.is(200).text();
    assert_eq!(value(&text, "event_replay_events_appended_total"), Some(2.0), "{text}");
    service.stop().await;
}

/// The stream sends the current record, each change, and the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_followed_until_it_is_over() {
    let service = with_events(9).await;
    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    let plan = service.post_json("/v1/plans", json!({"all": true})).await.is(200).json();
    let start = json!({"all": true, "mark": plan["mark"], "hash": plan["planHash"], "delay": 0});
    let started = service.post_json("/v1/replays", start).await.is(202).json();
    let path = format!("/v1/replays/{}", started["replayId"].as_str().unwrap());
    let request = http::Request::get(service.url(&path)).header("accept", "text/event-stream");
    let following = service.send(request.body(axum::body::Body::empty()).unwrap());
    let (reply, _) = tokio::join!(following, consume(&service, "mail", "ok"));
    let reply = reply.is(200);
    let text = reply.text();
    let records: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let last = records.last().unwrap();
    assert_eq!((&last["state"], &last["successful"]), (&json!("COMPLETED"), &json!(9)), "{text}");
    assert!(records[..records.len() - 1].iter().all(|record| record["state"] != "COMPLETED"), "{text}");
    let unknown = http::Request::get(service.url("/v1/replays/none")).header("accept", "text/event-stream");
    service.send(unknown.body(axum::body::Body::empty()).unwrap()).await.problem(404, "not-found");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_groups_did_with_an_event_is_told_without_its_content() {
    let service = with_events(2).await;
    service.post_json("/v1/groups", json!({"name": "mail", "at": "start"})).await.is(201);
    let before = service.get("/v1/events/e1/deliveries").await.is(200).json();
    assert_eq!(before["deliveries"][0]["state"], "waiting", "{before}");
    consume(&service, "mail", "ok").await;
    let after = service.get("/v1/events/e1/deliveries").await.is(200);
    assert_eq!(after.json()["deliveries"][0]["state"], "handled", "{}", after.text());
    assert!(!after.text().contains("example.com"), "{}", after.text());
    service.get("/v1/events/none/deliveries").await.problem(404, "not-found");
    service.stop().await;
}
