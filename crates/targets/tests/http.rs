//! An endpoint gets one request for each delivery, and its answer decides the result. Secrets do not leak.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use domain::{
    delivery::{Delivery, DeliveryOrigin, Verdict},
    ports::{DeliveryOutcome, EventHandler, ReplayTarget, TargetError},
};
use event_replay_targets::{Endpoint, HttpHandler, HttpTarget};
use support::{
    batch, delivery,
    server::{Asked, Server, answer},
};
use tokio::{net::TcpListener, sync::Barrier};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(300);

fn handler(url: &str) -> HttpHandler {
    HttpHandler::new(Endpoint::parse(url).unwrap()).unwrap()
}

fn target(url: &str) -> HttpTarget {
    HttpTarget::new(Endpoint::parse(url).unwrap()).unwrap().with_retry_pause(Duration::from_millis(1))
}

async fn fine(_: Asked) -> Option<Vec<u8>> {
    answer("200 OK", "", "thanks")
}

/// A port without a listener.
async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

#[tokio::test]
async fn a_delivery_is_posted_with_what_a_receiver_needs() {
    let server = Server::start(fine).await;
    let origin = DeliveryOrigin::Replay { replay_id: "r 1".to_owned() };
    let live = Delivery { attempt: 2, group: "gr\u{fc}\r\nx: y".to_owned(), ..delivery("e%1", LONG) };
    let handler = handler(&format!("{}?a=b", server.url()));
    assert_eq!(handler.handle(&live).await, Ok(()));
    assert_eq!(handler.handle(&Delivery { origin, ..delivery("e2", LONG) }).await, Ok(()));
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked[0].line, "POST /events?a=b HTTP/1.1");
    let expected = [
        ("content-type", "application/json"),
        ("event-id", "e%251"),
        ("event-type", "user.registered"),
        ("event-position", "0:17"),
        ("delivery-attempt", "2"),
        ("delivery-group", "gr%C3%BC%0D%0Ax:%20y"),
    ];
    for (name, value) in expected {
        assert_eq!(asked[0].headers[name], value, "{name}");
    }
    assert!(!asked[0].headers.contains_key("replay-id") && !asked[0].headers.contains_key("authorization"));
    assert_eq!(asked[0].body["event"]["id"], "e%1");
    assert_eq!(asked[0].body["delivery"]["attempt"], 2);
    assert_eq!(asked[1].headers["replay-id"], "r%201");
    assert_eq!(asked[1].body["replay"]["replayId"], "r 1");
}

#[tokio::test]
async fn one_connection_carries_many_deliveries_whatever_their_answers() {
    let server = Server::start(|asked| async move {
        match asked.id().ends_with('0') {
            true => answer("503 Service Unavailable", "", "busy"),
            false => answer("200 OK", "", ""),
        }
    })
    .await;
    let handler = handler(&server.url());
    for n in 0..100 {
        let answer = handler.handle(&delivery(&format!("e{n}"), LONG)).await;
        assert_eq!(answer.is_ok(), n % 10 != 0);
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn the_answer_decides_what_becomes_of_the_delivery() {
    let server = Server::start(|asked| async move {
        match asked.id() {
            "busy" => answer("429 Too Many Requests", "Retry-After: 7\r\n", "slow\ndown"),
            "down" => answer("502 Bad Gateway", "", ""),
            "moved" => answer("307 Temporary Redirect", "Location: /elsewhere\r\n", ""),
            _ => answer("404 Not Found", "", "nobody here"),
        }
    })
    .await;
    let handler = handler(&server.url());
    let expected = [
        ("busy", Verdict::RetryAfter(Duration::from_secs(7)), "429 Too Many Requests: slow\\ndown"),
        ("down", Verdict::Retry, "502 Bad Gateway"),
        ("moved", Verdict::GiveUp, "307 Temporary Redirect: redirects are not followed"),
        ("gone", Verdict::GiveUp, "404 Not Found: nobody here"),
    ];
    for (id, verdict, message) in expected {
        let error = handler.handle(&delivery(id, LONG)).await.unwrap_err();
        assert_eq!((error.verdict, error.message()), (verdict, &*format!("the endpoint answered {message}")));
    }
    assert_eq!(
        server.ids(),
        ["busy", "down", "moved", "gone"],
        "no redirect was followed, and nothing was sent twice"
    );
}

#[tokio::test]
async fn what_cannot_be_reached_or_breaks_or_is_silent_is_tried_again() {
    let refused = handler(&closed_port().await).handle(&delivery("e", LONG)).await.unwrap_err();
    assert!(
        refused.verdict == Verdict::Retry && refused.message().ends_with("cannot be reached"),
        "{refused}"
    );
    assert!(refused.to_string().contains("refused"), "{refused}");

    let breaks = Server::start(|_| async { None }).await;
    let broken = handler(&breaks.url()).handle(&delivery("e", LONG)).await.unwrap_err();
    assert!(broken.verdict == Verdict::Retry && broken.message().ends_with("did not answer"), "{broken}");

    let silent = Server::start(|_| std::future::pending()).await;
    let late = handler(&silent.url()).handle(&delivery("e", SHORT)).await.unwrap_err();
    assert!(late.verdict == Verdict::Retry && late.message().contains("did not answer within"), "{late}");
    let endpoint = Endpoint::parse(&silent.url()).unwrap().with_timeout(SHORT);
    let late = HttpHandler::new(endpoint).unwrap().handle(&delivery("e", LONG)).await.unwrap_err();
    assert!(late.message().ends_with("did not answer within 300ms"), "{late}");
}

#[tokio::test]
async fn a_body_without_end_changes_nothing() {
    let server = Server::start(|asked| async move {
        let status = if asked.id() == "good" { "200 OK" } else { "400 Bad Request" };
        let endless = "x".repeat(if asked.id() == "huge" { 1_000_000 } else { 1000 });
        Some(format!("HTTP/1.1 {status}\r\ncontent-length: 9999999999\r\n\r\n{endless}").into_bytes())
    })
    .await;
    let handler = handler(&server.url());
    assert_eq!(handler.handle(&delivery("good", LONG)).await, Ok(()));
    for id in ["bad", "huge"] {
        let error = handler.handle(&delivery(id, LONG)).await.unwrap_err();
        assert!(error.message().ends_with(&format!("Request: {}…", "x".repeat(500))), "{error}");
    }
}

#[tokio::test]
async fn a_password_is_sent_and_never_shown() {
    let server = Server::start(fine).await;
    let url = |address| format!("http://me:hunter2@{address}/events?token=hunter3");
    let handler = handler(&url(server.address.to_string()));
    assert_eq!(handler.handle(&delivery("e", LONG)).await, Ok(()));
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!(asked[0].headers["authorization"], "Basic bWU6aHVudGVyMg==");
    assert_eq!(asked[0].line, "POST /events?token=hunter3 HTTP/1.1");
    assert_eq!(asked[0].headers["host"], server.address.to_string());

    let closed = closed_port().await;
    let refusing = self::handler(&url(closed.trim_start_matches("http://").trim_end_matches('/').to_owned()));
    let error = refusing.handle(&delivery("e", LONG)).await.unwrap_err();
    let shown = format!("{handler:?} {error:?} {error}");
    assert!(!shown.contains("hunter") && !shown.contains("bWU6"), "{shown}");
}

#[tokio::test]
async fn a_replay_is_posted_in_log_order_one_at_a_time() {
    let open = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let most = Arc::clone(&most);
        move |_| {
            let (open, most) = (Arc::clone(&open), Arc::clone(&most));
            async move {
                most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                open.fetch_sub(1, Ordering::SeqCst);
                answer("204 No Content", "", "")
            }
        }
    })
    .await;
    let ids: Vec<String> = (0..50).map(|n| format!("e{n}")).collect();
    let users: Vec<String> = (0..50).map(|n| format!("u{n}")).collect();
    let events = batch(ids.iter().map(String::as_str).zip(users.iter().map(String::as_str)));
    assert_eq!(target(&server.url()).deliver(&events).await, Ok(vec![DeliveryOutcome::Handled; 50]));
    assert_eq!(server.ids(), ids);
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let asked = server.asked.lock().unwrap().clone();
    assert_eq!((&*asked[0].headers["replay-id"], &*asked[0].headers["delivery-attempt"]), ("r1", "1"));
    assert_eq!(asked[0].body["replay"]["isReplay"], true);
}

#[tokio::test]
async fn keys_go_on_beside_each_other_and_each_stays_in_order() {
    // The server answers only when four requests are in flight.
    let barrier = Arc::new(Barrier::new(4));
    let server = Server::start(move |_| {
        let barrier = Arc::clone(&barrier);
        async move {
            barrier.wait().await;
            answer("200 OK", "", "")
        }
    })
    .await;
    let events: Vec<(String, String)> =
        (0..40).map(|n| (format!("e{n:02}"), format!("u{}", n % 4))).collect();
    let events = batch(events.iter().map(|(id, user)| (id.as_str(), user.as_str())));
    let mut target = target(&server.url()).with_concurrency(4);
    assert_eq!(target.deliver(&events).await, Ok(vec![DeliveryOutcome::Handled; 40]));
    for user in 0..4 {
        let of_user = |id: &&String| id[1..].parse::<usize>().unwrap() % 4 == user;
        let ids = server.ids();
        let came: Vec<&String> = ids.iter().filter(of_user).collect();
        assert!(came.len() == 10 && came.is_sorted(), "{came:?}");
    }
}

#[tokio::test]
async fn a_replay_tries_four_times_and_says_what_failed() {
    let server = Server::start(|asked| async move {
        match (asked.id(), &*asked.headers["delivery-attempt"]) {
            ("flaky", "1" | "2" | "3") | ("down", _) => answer("500 Internal Server Error", "", "oops"),
            ("bad", _) => answer("422 Unprocessable Entity", "", ""),
            _ => answer("200 OK", "", ""),
        }
    })
    .await;
    let events = batch([("flaky", "u"), ("down", "u"), ("bad", "u"), ("good", "u")]);
    let failed = |why: &str| DeliveryOutcome::Failed(format!("the endpoint answered {why}"));
    let expected = vec![
        DeliveryOutcome::Handled,
        failed("500 Internal Server Error: oops"),
        failed("422 Unprocessable Entity"),
        DeliveryOutcome::Handled,
    ];
    assert_eq!(target(&server.url()).deliver(&events).await, Ok(expected));
    assert_eq!(server.asked.lock().unwrap().len(), 4 + 4 + 1 + 1);
}

#[tokio::test]
async fn a_batch_that_comes_again_is_sent_from_where_it_stopped() {
    let rest = Arc::new(AtomicUsize::new(0));
    let server = Server::start({
        let rest = Arc::clone(&rest);
        move |asked| {
            let asks_for_rest = asked.id() == "c" && rest.fetch_add(1, Ordering::SeqCst) == 0;
            async move {
                match asks_for_rest {
                    true => answer("503 Service Unavailable", "Retry-After: 3600\r\n", ""),
                    false if asked.id() == "b" => answer("400 Bad Request", "", ""),
                    false => answer("200 OK", "", ""),
                }
            }
        }
    })
    .await;
    let mut target = target(&server.url());
    let events = batch([("a", "u"), ("b", "u"), ("c", "u"), ("d", "u")]);
    let away = target.deliver(&events).await;
    assert!(matches!(away, Err(TargetError::Unavailable(why)) if why.contains("503")));
    let outcomes = target.deliver(&events).await.unwrap();
    assert_eq!(outcomes[1], DeliveryOutcome::Failed("the endpoint answered 400 Bad Request".to_owned()));
    assert_eq!([&outcomes[0], &outcomes[2], &outcomes[3]], [&DeliveryOutcome::Handled; 3]);
    assert_eq!(server.ids(), ["a", "b", "c", "c", "d"]);

    let answer = self::target(&closed_port().await).deliver(&events).await;
    assert!(matches!(answer, Err(TargetError::Unavailable(why)) if why.contains("cannot be reached")));
}
