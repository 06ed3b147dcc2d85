//! Queries for events, streams of new events, and all other read-only routes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod common;

use std::time::Duration;

use axum::body::Body;
use common::{Service, ids, registered};
use http::Request;
use http_body_util::BodyExt;
use serde_json::json;

async fn with_events(number: usize) -> Service {
    let service = Service::new().await;
    let events: Vec<String> =
        (0..number).map(|n| registered(&format!("e{n}"), &format!("u{}", n % 3))).collect();
    service.publish(&events).await.is(201);
    service
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_give_each_event_once() {
    let service = with_events(25).await;
    let mut found = vec![];
    let mut path = "/v1/events?limit=7&type=user.*".to_owned();
    loop {
        let reply = service.get(&path).await.is(200);
        let page = reply.json();
        found.extend(ids(&page["events"]));
        let Some(next) = page["nextCursor"].as_str() else {
            assert!(!reply.headers.contains_key("link"));
            break;
        };
        path = format!("/v1/events?limit=7&type=user.*&after={next}");
        assert_eq!(reply.headers["link"].to_str().unwrap(), format!("<{path}>; rel=\"next\""));
    }
    let expected: Vec<String> = (0..25).rev().map(|n| format!("e{n}")).collect();
    assert_eq!(found, expected);
    let oldest = service.get("/v1/events?order=asc&limit=2").await.is(200).json();
    assert_eq!(ids(&oldest["events"]), ["e0", "e1"]);
    service.get("/v1/events?limit=1001").await.problem(400, "bad-parameter");
    service.get("/v1/events?after=abc").await.problem(400, "bad-parameter");
    service.get("/v1/events?from=2024-02-01T00:00:00Z&to=2024-01-01T00:00:00Z").await.problem(422, "invalid");
    service.get("/v1/events?where=data.x%20%3E").await.problem(400, "bad-parameter");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_alternatives_within_and_bounds_between() {
    let service = with_events(9).await;
    let found =
        service.get("/v1/events?userId=u0&userId=u1&eventId=e0&eventId=e1&eventId=e2").await.is(200).json();
    assert_eq!(ids(&found["events"]), ["e1", "e0"]);
    let found = service.get("/v1/events?entity=user%3Du2&limit=1").await.is(200).json();
    assert_eq!(ids(&found["events"]), ["e8"]);
    let found = service.get("/v1/events?correlationId=c-u0&order=asc").await.is(200).json();
    assert_eq!(ids(&found["events"]), ["e0", "e3", "e6"]);
    let found = service
        .get("/v1/events?where=data.email%20%3D%3D%20%27u1%40example.com%27&order=asc")
        .await
        .is(200)
        .json();
    assert_eq!(ids(&found["events"]), ["e1", "e4", "e7"]);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_have_no_limit() {
    let service = with_events(2500).await;
    let asked = |path: &str| {
        Request::get(service.url(path)).header("accept", "application/x-ndjson").body(Body::empty()).unwrap()
    };
    let all = service.send(asked("/v1/events?order=asc")).await.is(200).lines();
    assert_eq!(all.len(), 2500);
    assert_eq!((&all[0]["event"]["id"], &all[2499]["event"]["id"]), (&json!("e0"), &json!("e2499")));
    let some = service.send(asked("/v1/events?limit=3")).await.is(200).lines();
    assert_eq!(some.len(), 3);
    let groups = service.send(asked("/v1/groups")).await.is(200);
    assert_eq!(groups.text(), "");
    service.stop().await;
}

/// Reads server-sent events until `number` events have arrived.
async fn read_events(service: &Service, request: Request<Body>, number: usize) -> Vec<(String, String)> {
    let answer = service.client.request(request).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let mut body = answer.into_body();
    let mut text = String::new();
    let read = async {
        loop {
            let events: Vec<(String, String)> = text.split("\n\n").filter_map(of_frame).collect();
            if events.len() >= number {
                return events;
            }
            let frame = body.frame().await.unwrap().unwrap();
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
        }
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.unwrap()
}

/// Returns the id of a frame, and the id of its event.
fn of_frame(frame: &str) -> Option<(String, String)> {
    let member = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
    let data: serde_json::Value = serde_json::from_str(member("data: ")?).ok()?;
    Some((member("id: ")?.to_owned(), data["event"]["id"].as_str()?.to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_gives_what_comes_and_goes_on_where_it_was_cut() {
    let service = with_events(3).await;
    let start = {
        // The end of the first page in log order, as a cursor. It is the place after the oldest event.
        let page = service.get("/v1/events?order=asc&limit=1").await.is(200).json();
        page["nextCursor"].as_str().unwrap().to_owned()
    };
    let request =
        Request::get(service.url(&format!("/v1/events/stream?after={start}"))).body(Body::empty()).unwrap();
    let seen = read_events(&service, request, 2).await;
    assert_eq!(seen.iter().map(|(_, event)| event.as_str()).collect::<Vec<_>>(), ["e1", "e2"]);
    // No event is lost between the id of the first event and later events.
    let request = || {
        let request = Request::get(service.url("/v1/events/stream?userId=u2&userId=u9"));
        request.header("last-event-id", &seen[0].0).body(Body::empty()).unwrap()
    };
    let publishing = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        service.publish(&[registered("x1", "u1"), registered("x2", "u9")]).await.is(201);
    };
    let (again, ()) = tokio::join!(read_events(&service, request(), 2), publishing);
    assert_eq!(again.iter().map(|(_, event)| event.as_str()).collect::<Vec<_>>(), ["e2", "x2"]);
    let bad = Request::get(service.url("/v1/events/stream"))
        .header("last-event-id", "abc")
        .body(Body::empty())
        .unwrap();
    service.send(bad).await.problem(400, "bad-parameter");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_another_store_is_refused() {
    let service = with_events(2).await;
    let other = with_events(2).await;
    let page = other.get("/v1/events?limit=1").await.is(200).json();
    let cursor = page["nextCursor"].as_str().unwrap();
    for path in ["/v1/events", "/v1/events/stream"] {
        service.get(&format!("{path}?after={cursor}")).await.problem(400, "bad-parameter");
    }
    other.stop().await;
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_are_made_moved_and_deleted() {
    let service = with_events(4).await;
    let made = service
        .post_json("/v1/groups", json!({"name": "mail", "type": "user.*", "at": "start"}))
        .await
        .is(201);
    assert_eq!(
        made.json(),
        json!({"name": "mail", "created": true, "types": ["user.*"], "key": "event", "segments": 16, "at": ["0:0"]})
    );
    let again = service
        .post_json("/v1/groups", json!({"name": "mail", "type": ["user.*", "x"]}))
        .await
        .is(200)
        .json();
    assert_eq!((&again["created"], &again["types"]), (&json!(false), &json!(["user.*", "x"])));
    service.post_json("/v1/groups", json!({"name": "mail", "segments": 3})).await.problem(409, "conflict");
    service.post_json("/v1/groups", json!({"name": ""})).await.problem(400, "bad-parameter");
    service.post_json("/v1/groups", json!({"name": "x", "at": "nowhere"})).await.problem(422, "invalid");
    let shown = service.get("/v1/groups/mail").await.is(200).json();
    assert_eq!((&shown["lag"], &shown["pending"]), (&json!(4), &json!(4)), "{shown:#}");
    let rows = service.get("/v1/groups").await.is(200).json();
    assert_eq!(rows.as_array().map(Vec::len), Some(1));
    let would = service
        .post_json("/v1/groups/mail/resets", json!({"at": "head", "dryRun": true}))
        .await
        .is(200)
        .json();
    assert_eq!((&would["dryRun"], &would["to"], &would["lag"]), (&json!(true), &json!(["0:4"]), &json!(0)));
    assert_eq!(service.get("/v1/groups/mail").await.json()["lag"], 4);
    service.post_json("/v1/groups/mail/resets", json!({"at": "head"})).await.is(200);
    assert_eq!(service.get("/v1/groups/mail").await.json()["lag"], 0);
    service.post_json("/v1/groups/mail/resets", json!({})).await.problem(400, "bad-parameter");
    let problem = service.get("/v1/groups/mial").await.problem(404, "not-found");
    assert_eq!(problem["hint"], "there are: mail");
    assert_eq!(service.delete("/v1/groups/mail").await.is(200).json(), json!({"deleted": "mail"}));
    service.delete("/v1/groups/mail").await.problem(404, "not-found");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_made_compared_and_deleted() {
    let service = with_events(4).await;
    service
        .post_json("/v1/checkpoints", json!({"name": "a", "eventId": "e1", "metadata": {"why": "test"}}))
        .await
        .is(201);
    service.post_json("/v1/checkpoints", json!({"name": "b", "hold": true})).await.is(201);
    service.post_json("/v1/checkpoints", json!({"name": "a"})).await.problem(409, "conflict");
    service
        .post_json("/v1/checkpoints", json!({"name": "c", "eventId": "nothing"}))
        .await
        .problem(404, "not-found");
    let list = service.get("/v1/checkpoints").await.is(200).json();
    assert_eq!((&list[0]["name"], &list[1]["name"]), (&json!("a"), &json!("b")));
    assert_eq!(service.get("/v1/checkpoints/a").await.is(200).json()["metadata"], json!({"why": "test"}));
    let diff = service.get("/v1/checkpoints/a/diff?to=b").await.is(200).json();
    assert_eq!(diff["totalEvents"], 2, "{diff:#}");
    service.get("/v1/checkpoints/a/diff").await.problem(400, "bad-parameter");
    service.delete("/v1/checkpoints/a").await.is(200);
    service.get("/v1/checkpoints/a").await.problem(404, "not-found");
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_counted_and_checked() {
    let service = with_events(4).await;
    let stats = service.get("/v1/stats?userId=u0").await.is(200).json();
    assert_eq!(
        (&stats["events"], &stats["byType"]),
        (&json!(2), &json!({"user.registered": 2})),
        "{stats:#}"
    );
    let health = service.get("/v1/health").await;
    assert!([200, 503].contains(&health.status.as_u16()));
    assert_eq!(health.json()["checks"][0]["name"], "store");
    let schemas = service.get("/v1/schemas").await.is(200).json();
    assert!(
        schemas.as_array().unwrap().iter().any(|schema| schema["eventType"] == "user.registered"),
        "{schemas:#}"
    );
    for path in ["/v1/replays", "/v1/scheduled", "/v1/dead-letters", "/v1/dead-letters/groups"] {
        service.get(path).await.is(200);
    }
    service.get("/v1/dead-letters?group=nothing").await.problem(422, "invalid");
    service.get("/v1/dead-letters/nothing").await.problem(404, "not-found");
    service.get("/v1/replays/nothing").await.problem(404, "not-found");
    service.get("/v1/schemas/nothing").await.problem(404, "not-found");
    service.stop().await;
}
