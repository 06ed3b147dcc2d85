//! A proxy loses exactly the bytes and connections that a test requests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::time::{Duration, Instant};

use event_replay_servers::{Binary, Config, Direction, Proxy, Server};
use redis::aio::MultiplexedConnection;
use support::{LONG, connect, get, ping, set};
use tokio::time::{sleep, timeout};

/// Time after which a missing response counts as lost.
const SILENCE: Duration = Duration::from_millis(300);

/// A server behind a proxy.
struct Net {
    server: Server,
    proxy: Proxy,
}

impl Net {
    async fn start() -> Self {
        let server = Server::start(&Binary::default(), &Config::default()).await.unwrap();
        let proxy = Proxy::start(server.port()).await.unwrap();
        Self { server, proxy }
    }

    async fn through(&self) -> MultiplexedConnection {
        connect(&self.url()).await.unwrap()
    }

    async fn around(&self) -> MultiplexedConnection {
        connect(&self.server.url()).await.unwrap()
    }

    fn url(&self) -> String {
        self.proxy.url(&self.server.url(), self.server.port())
    }
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < LONG, "never: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn everything_passes_at_first() {
    let net = Net::start().await;
    assert_ne!(net.url(), net.server.url());
    let mut connection = net.through().await;
    let value = "x".repeat(3 << 20);
    set(&mut connection, "key", &value).await.unwrap();
    assert_eq!(get(&mut connection, "key").await.unwrap().as_deref(), Some(value.as_str()));
    assert!(net.proxy.passed(Direction::ToServer) > 3 << 20);
    assert!(net.proxy.passed(Direction::ToClient) > 3 << 20);
    assert_eq!((net.proxy.swallowed(), net.proxy.connections()), (0, 1));
}

#[tokio::test]
async fn the_end_of_a_connection_passes_too() {
    let net = Net::start().await;
    let connection = net.through().await;
    assert_eq!(net.proxy.connections(), 1);
    drop(connection);
    until("the connection is gone", || net.proxy.connections() == 0).await;
}

#[tokio::test]
async fn a_cut_closes_what_is_open_and_new_connections_are_served() {
    let net = Net::start().await;
    let (mut first, mut second) = (net.through().await, net.through().await);
    net.proxy.cut();
    assert!(timeout(LONG, ping(&mut first)).await.unwrap().is_err());
    assert!(timeout(LONG, ping(&mut second)).await.unwrap().is_err());
    assert_eq!(ping(&mut net.through().await).await.unwrap(), "PONG");
}

#[tokio::test]
async fn refusing_hits_new_connections_alone_and_can_be_taken_back() {
    let net = Net::start().await;
    let mut open = net.through().await;
    net.proxy.refuse().await.unwrap();
    let refused = connect(&net.url()).await.map(drop).unwrap_err();
    assert!(refused.is_connection_refusal(), "{refused}");
    assert_eq!(ping(&mut open).await.unwrap(), "PONG");
    net.proxy.accept().await.unwrap();
    assert_eq!(ping(&mut net.through().await).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_swallowed_answer_belongs_to_a_request_that_was_carried_out() {
    let net = Net::start().await;
    let mut connection = net.through().await;
    net.proxy.swallow_answers();
    let mut request = Box::pin(set(&mut connection, "key", "value"));
    assert!(timeout(SILENCE, &mut request).await.is_err(), "the answer came through");
    until("an answer is swallowed", || net.proxy.swallowed() > 0).await;
    assert_eq!(get(&mut net.around().await, "key").await.unwrap().as_deref(), Some("value"));

    net.proxy.cut();
    assert!(timeout(LONG, request).await.unwrap().is_err(), "the client learns that the connection is gone");
    net.proxy.pass();
    assert_eq!(ping(&mut net.through().await).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_request_that_is_cut_in_the_middle_does_not_happen() {
    let net = Net::start().await;
    let mut connection = net.through().await;
    let before = net.proxy.passed(Direction::ToServer);
    net.proxy.cut_after(Direction::ToServer, 50_000);
    let cut = timeout(LONG, set(&mut connection, "key", &"x".repeat(100_000))).await.unwrap();
    assert!(cut.is_err());
    assert_eq!(net.proxy.passed(Direction::ToServer) - before, 50_000);
    assert_eq!(get(&mut net.around().await, "key").await.unwrap(), None);
    // After the cut, requests of any size work again.
    set(&mut net.through().await, "key", &"x".repeat(100_000)).await.unwrap();
}

#[tokio::test]
async fn an_answer_can_be_cut_in_the_middle() {
    let net = Net::start().await;
    let mut connection = net.through().await;
    set(&mut connection, "key", &"x".repeat(100_000)).await.unwrap();
    let before = net.proxy.passed(Direction::ToClient);
    net.proxy.cut_after(Direction::ToClient, 50_000);
    assert!(timeout(LONG, get(&mut connection, "key")).await.unwrap().is_err());
    assert_eq!(net.proxy.passed(Direction::ToClient) - before, 50_000);
    assert_eq!(get(&mut net.through().await, "key").await.unwrap().map(|value| value.len()), Some(100_000));
}

#[tokio::test]
async fn within_the_budget_nothing_is_cut() {
    let net = Net::start().await;
    let mut connection = net.through().await;
    net.proxy.cut_after(Direction::ToServer, 50_000);
    for _ in 0..100 {
        assert_eq!(ping(&mut connection).await.unwrap(), "PONG");
    }
}

#[tokio::test]
async fn half_open_connections_hang_and_go_on_where_they_were() {
    let net = Net::start().await;
    let mut connection = net.through().await;
    net.proxy.half_open();
    let mut request = Box::pin(set(&mut connection, "key", "value"));
    assert!(timeout(SILENCE, &mut request).await.is_err(), "a byte passed");
    assert!(timeout(SILENCE, net.through()).await.is_err(), "a new connection was served");
    assert_eq!(get(&mut net.around().await, "key").await.unwrap(), None);

    net.proxy.pass();
    timeout(LONG, request).await.unwrap().unwrap();
    assert_eq!(get(&mut net.around().await, "key").await.unwrap().as_deref(), Some("value"));
}

#[tokio::test]
async fn half_open_connections_do_not_say_that_the_other_side_is_gone() {
    let mut net = Net::start().await;
    let mut connection = net.through().await;
    net.proxy.half_open();
    net.server.kill().await.unwrap();
    assert!(timeout(SILENCE, ping(&mut connection)).await.is_err(), "the client noticed");
    assert_eq!(net.proxy.connections(), 1);
    net.proxy.pass();
    assert!(timeout(LONG, ping(&mut connection)).await.unwrap().is_err());
}

#[tokio::test]
async fn a_server_that_is_away_and_comes_back_is_reached_again() {
    let mut net = Net::start().await;
    net.server.kill().await.unwrap();
    assert!(timeout(LONG, connect(&net.url())).await.unwrap().is_err());
    net.server.restart().await.unwrap();
    assert_eq!(ping(&mut net.through().await).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_dropped_proxy_closes_everything() {
    let net = Net::start().await;
    let (mut connection, url) = (net.through().await, net.url());
    let Net { server: _server, proxy } = net;
    drop(proxy);
    assert!(timeout(LONG, ping(&mut connection)).await.unwrap().is_err());
    assert!(connect(&url).await.is_err());
}
