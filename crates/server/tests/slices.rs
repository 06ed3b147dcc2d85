//! Slices of the log over HTTP: bounds by event, and the events that a group missed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Service, ids, registered};
use serde_json::json;

async fn with_events(number: usize) -> Service {
    let service = Service::new().await;
    let events: Vec<String> =
        (0..number).map(|n| registered(&format!("e{n}"), &format!("u{}", n % 3))).collect();
    service.publish(&events).await.is(201);
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn events_bound_lists_counts_and_plans() {
    let service = with_events(9).await;
    let bounds = "afterEvent=e2&untilEvent=0:7";
    let newest = service.get(&format!("/v1/events?limit=3&{bounds}")).await.is(200).json();
    assert_eq!(ids(&newest["events"]), ["e6", "e5", "e4"]);
    let after = newest["nextCursor"].as_str().unwrap();
    let rest = service.get(&format!("/v1/events?limit=3&{bounds}&after={after}")).await.is(200).json();
    assert_eq!((ids(&rest["events"]), &rest["nextCursor"]), (vec!["e3".to_owned()], &json!(null)));
    let oldest = service.get(&format!("/v1/events?order=asc&{bounds}")).await.is(200).json();
    assert_eq!(ids(&oldest["events"]), ["e3", "e4", "e5", "e6"]);
    assert_eq!(service.get(&format!("/v1/stats?{bounds}")).await.is(200).json()["events"], 4);
    let counted = service.get(&format!("/v1/events/histogram?interval=1d&{bounds}")).await.is(200).json();
    assert_eq!(counted["events"], 4);

    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    let body = json!({"afterEvent": "e2", "untilEvent": "e6"});
    let plan = service.post_json("/v1/plans", body).await.is(200).json();
    assert_eq!(plan["totalEvents"], 4);
    let mut start = json!({"afterEvent": "e2", "untilEvent": "e6"});
    (start["mark"], start["hash"]) = (plan["mark"].clone(), plan["planHash"].clone());
    let started = service.post_json("/v1/replays", start).await.is(202).json();
    assert_eq!((&started["totalEvents"], &started["planHash"]), (&json!(4), &plan["planHash"]));

    service.get("/v1/events?afterEvent=none").await.problem(404, "not-found");
    service.get("/v1/events?afterEvent=0:99").await.problem(404, "not-found");
    service.get("/v1/events?afterEvent=e6&untilEvent=e2").await.problem(422, "invalid");
    service.get("/v1/dead-letters?afterEvent=e2").await.problem(400, "unknown-parameter");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_sent_what_it_missed() {
    let service = with_events(5).await;
    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    service.post_json("/v1/groups", json!({"name": "other"})).await.is(201);
    let body = json!({"missed": "mail", "cause": "start", "userId": "u0"});
    let plan = service.post_json("/v1/plans", body.clone()).await.is(200).json();
    let parts = json!([{"cause": "start", "events": 2, "types": []}]);
    assert_eq!((&plan["totalEvents"], &plan["missed"]["parts"]), (&json!(2), &parts));
    let mut start = body.clone();
    (start["mark"], start["hash"]) = (plan["mark"].clone(), plan["planHash"].clone());
    let started = service.post_json("/v1/replays", start.clone()).await.is(202).json();
    assert_eq!((&started["totalEvents"], &started["groups"]), (&json!(2), &json!(["mail"])));
    start["group"] = json!("other");
    service.post_json("/v1/replays", start).await.problem(422, "invalid");
    let kept = service.post_json("/v1/kept-plans", body).await.is(201).json();
    assert_eq!((&kept["totalEvents"], &kept["groups"][0]["name"]), (&json!(2), &json!("mail")));
    service.post_json("/v1/plans", json!({"missed": "none"})).await.problem(404, "not-found");
    service
        .post_json("/v1/plans", json!({"missed": "mail", "cause": "luck"}))
        .await
        .problem(400, "bad-parameter");
    let both = json!({"missed": "mail", "checkpoint": "c"});
    service.post_json("/v1/plans", both).await.problem(422, "invalid");
    service.stop().await;
}
