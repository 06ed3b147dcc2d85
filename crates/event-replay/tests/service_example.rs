//! The service example, on every kind of store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]
#![allow(dead_code, unreachable_pub, reason = "a test uses what an example has, not its `main`")]

use std::time::Duration;

use event_replay::{Filter, open, testing::TestService};
use servers::{Binary, Config, Server};

#[path = "../examples/service.rs"]
mod service;

use service::{OrderPlaced, PaymentCaptured, gateway::Gateway, shop};

fn order(user: &str, order: u32) -> OrderPlaced {
    OrderPlaced { user_id: user.to_owned(), order_id: format!("o-{order}"), cents: 500 }
}

/// Places orders, and lets the service charge them and send receipts. Then replays them into the groups again.
async fn works_on(location: &str) {
    let service = shop(open(location).await.unwrap(), Gateway::default()).start().await.unwrap();
    for n in 0..10 {
        service.emit(order(&format!("user-{}", n % 3), n)).correlation(format!("wf-{n}")).await.unwrap();
    }
    service.emit(order("user-without-card", 10)).await.unwrap();
    service.settle().await.unwrap();
    assert_eq!((service.state().charged(), service.state().receipts().len()), (5_000, 10));
    let letters = service.dead_letters("payments").list().await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(
        (letters[0].attempts, letters[0].last_failure().unwrap().errors[0].as_str()),
        (1, "the card was refused")
    );

    let workflow = Filter::correlation("wf-7");
    let events = service.store().count(&workflow.into(), None).await.unwrap();
    assert_eq!(events, 2, "what a handler emits belongs to the workflow of its cause");

    // The replay delivers every event again: nothing is charged, stored or sent twice.
    let before = service.store().info().await.unwrap().events;
    let report = service.replay(Filter::types(["order.placed"])).into("payments").run().await.unwrap();
    assert_eq!((report.successful_replays, report.failed_replays), (10, 1));
    let report = service.replay(Filter::types(["payment.captured"])).into("mailer").run().await.unwrap();
    assert_eq!((report.skipped_events, report.total_events), (10, 10));
    service.settle().await.unwrap();
    assert_eq!(service.store().info().await.unwrap().events, before);
    assert_eq!((service.state().charged(), service.state().receipts().len()), (5_000, 10));
    service.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_works_in_memory() {
    works_on("memory:").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_works_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    works_on(&format!("sqlite:{}", folder.path().join("events.db").display())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_works_on_a_server() {
    let server = Server::start(&Binary::default(), &Config::default()).await.unwrap();
    works_on(&server.url()).await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_does_not_answer_is_asked_five_times_more() {
    let service = TestService::start(|store| shop(store, Gateway::default())).await;
    service.emit(order("user-of-another-bank", 1)).await.unwrap();
    service.emit(order("user-1", 2)).await.unwrap();
    service.settle().await;
    let letters = service.dead_letters("payments").await;
    assert_eq!(letters.iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [6]);
    assert_eq!(service.published::<PaymentCaptured>().await.len(), 1);
    service.stop().await;
}

#[tokio::test]
async fn the_example_stops_on_its_signal() {
    let service = shop(open("memory:").await.unwrap(), Gateway::default()).start().await.unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(service.run_until(async move { drop(stopped.await) }));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!running.is_finished());
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
}

/// The size of the example, as the documentation states it: lines that are neither blank nor comments.
#[test]
fn the_example_has_forty_lines_at_most() {
    let text = include_str!("../examples/service.rs");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    assert!(lines.clone().count() <= 40, "{} lines", lines.count());
}
