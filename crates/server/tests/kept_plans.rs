//! Kept plans and paused groups over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use common::{Service, ids, registered};
use event_replay_server::ServeOptions;
use serde_json::{Value, json};

async fn with_events(above: Option<u64>) -> Service {
    let folder = tempfile::tempdir().unwrap();
    let set = |settings: &mut event_replay::Settings| settings.plans.approval_above = above;
    let service = Service::set(folder, ServeOptions::default(), set).await;
    let events: Vec<String> = (0..9).map(|n| registered(&format!("e{n}"), &format!("u{}", n % 3))).collect();
    service.publish(&events).await.is(201);
    service.post_json("/v1/groups", json!({"name": "mail"})).await.is(201);
    service
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_plan_is_shown_paged_run_and_deleted() {
    let service = with_events(None).await;
    let body = json!({"userId": "u1", "rate": 100});
    let kept = service.post_json("/v1/kept-plans", body).await.is(201).json();
    assert_eq!((&kept["totalEvents"], &kept["state"]), (&json!(3), &json!("READY")), "{kept:#}");
    assert_eq!(kept["groups"][0]["wouldTake"], 3);
    service.publish(&[registered("late", "u1")]).await.is(201);
    let path = format!("/v1/kept-plans/{}", text(&kept["id"]));
    assert_eq!(service.get("/v1/kept-plans").await.is(200).json()[0]["id"], kept["id"]);
    assert_eq!(service.get(&path).await.is(200).json()["planHash"], kept["planHash"]);
    let first = service.get(&format!("{path}/events?limit=2")).await.is(200).json();
    assert_eq!(ids(&first["events"]), ["e1", "e4"]);
    let after = text(&first["nextCursor"]);
    let rest = service.get(&format!("{path}/events?after={after}")).await.is(200).json();
    assert_eq!((ids(&rest["events"]), &rest["nextCursor"]), (vec!["e7".to_owned()], &Value::Null));
    let started = service.post_json(&format!("{path}/runs"), json!({})).await.is(202).json();
    assert_eq!((&started["totalEvents"], &started["groups"]), (&json!(3), &json!(["mail"])));
    assert_eq!(started["planHash"], kept["planHash"]);
    service.post_json(&format!("{path}/approvals"), json!({})).await.problem(409, "conflict");
    service.delete(&path).await.is(200);
    service.get(&path).await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_above_the_bound_needs_an_approval() {
    let service = with_events(Some(2)).await;
    let plan = service.post_json("/v1/plans", json!({"userId": "u1"})).await.is(200).json();
    let start = json!({"userId": "u1", "mark": plan["mark"], "hash": plan["planHash"]});
    let refused = service.post_json("/v1/replays", start).await.problem(409, "conflict");
    assert!(text(&refused["detail"]).contains("3 events are more than 2 events"), "{refused}");
    let kept = service.post_json("/v1/kept-plans", json!({"userId": "u1"})).await.is(201).json();
    assert_eq!(kept["state"], "AWAITING_APPROVAL");
    let path = format!("/v1/kept-plans/{}", text(&kept["id"]));
    let refused = service.post_json(&format!("{path}/runs"), json!({})).await.problem(409, "conflict");
    assert!(text(&refused["detail"]).contains("no other operator has approved"), "{refused}");
    let refused = service.post_json(&format!("{path}/approvals"), json!({})).await.problem(409, "conflict");
    assert!(text(&refused["detail"]).contains("another operator must approve it"), "{refused}");
    assert_eq!(service.get("/v1/replays").await.is(200).json(), json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_paused_and_resumed() {
    let service = with_events(None).await;
    let body = json!({"for": "1h", "reason": "new server"});
    let paused = service.post_json("/v1/groups/mail/pause", body).await.is(200).json();
    assert_eq!((&paused["name"], &paused["pause"]["reason"]), (&json!("mail"), &json!("new server")));
    let shown = service.get("/v1/groups/mail").await.is(200).json();
    assert_eq!(shown["pauses"][0], paused["pause"]);
    let metrics = service.get("/metrics").await.is(200).text();
    assert!(metrics.contains("event_replay_group_paused{group=\"mail\"} 1"), "{metrics}");
    let resumed = service.post_json("/v1/groups/mail/resume", json!({})).await.is(200).json();
    assert_eq!(resumed, json!({"name": "mail", "pauses": 1}));
    assert_eq!(service.get("/v1/groups/mail").await.is(200).json()["pauses"], json!([]));
    service.post_json("/v1/groups/nail/pause", json!({})).await.problem(404, "not-found");
}
