//! Clients that attack the server: ids that look like headers, idle connections, and headers that never end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail, what did not run is named"
)]

mod common;

use std::time::{Duration, Instant};

use common::Service;
use http::HeaderMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

/// Number of connections that send nothing.
const IDLE: usize = 10_000;
/// Open files of the test: both ends of each connection that the server accepts, the other clients, and a reserve.
const FILES: u64 = 16_000;

/// Sends a request on an open connection, and waits for the response.
async fn ask(stream: &mut TcpStream, patience: Duration) {
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let read = async {
        while !answer.ends_with(b"ok\n") {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "the connection was closed");
        }
    };
    tokio::time::timeout(patience, read).await.expect("no response in time");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

/// The number of files that this process may open, or 0 if it is unknown.
fn files() -> u64 {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// An id may have any characters except NUL. In a response header it stays one value.
#[tokio::test(flavor = "multi_thread")]
async fn an_id_adds_no_header_to_a_response() {
    const ID: &str = "a%0D%0Aset-cookie:%20x=1%0D%0A%0D%0AHTTP%2F1.1%20200%20OK";
    let service = Service::new().await;
    let events: Vec<String> = ["", "-2"]
        .iter()
        .map(|more| {
            format!(
                r#"{{"id":"a\r\nset-cookie: x=1\r\n\r\nHTTP/1.1 200 OK{more}","type":"a\r\nb","version":"1\r\n0","timestamp":"2024-01-15T10:30:00Z","source":"s\r\nx: y","correlationId":"c\r\nset-cookie: x=1","userId":"u\r\n","metadata":{{}}}}"#
            )
        })
        .collect();
    service.post("/v1/events?unknownTypes=accept", "application/x-ndjson", events.join("\n")).await.is(201);
    let is_clean = |headers: &HeaderMap| {
        let is_printable =
            |value: &http::HeaderValue| value.as_bytes().iter().all(|byte| (0x20..0x7f).contains(byte));
        !headers.contains_key("set-cookie")
            && !headers.contains_key("x")
            && headers.values().all(is_printable)
    };
    let mut links = 0;
    for path in [
        format!("/v1/events/{ID}"),
        format!("/v1/events/{ID}?cloudevent=binary"),
        format!("/v1/events/{ID}?cloudevent=structured"),
        format!("/v1/events/{ID}/deliveries"),
        "/v1/events?correlationId=c%0D%0Aset-cookie:%20x=1&limit=1".to_owned(),
        "/v1/correlations/c%0D%0Aset-cookie:%20x=1/trace".to_owned(),
    ] {
        let reply = service.get(&path).await;
        assert!(reply.status.is_success(), "{path}: {}", reply.text());
        assert!(is_clean(&reply.headers), "{path}: {:?}", reply.headers);
        links += usize::from(reply.headers.contains_key("link"));
        if path.ends_with("binary") {
            assert_eq!(reply.headers["ce-id"], "a%0D%0Aset-cookie:%20x=1%0D%0A%0D%0AHTTP/1.1%20200%20OK");
        }
    }
    assert_eq!(links, 1, "the page has an address of the next page");
    let missing = service.get(&format!("/v1/events/{ID}-3")).await;
    missing.problem(404, "not-found");
    assert!(is_clean(&missing.headers), "{:?}", missing.headers);
    service.stop().await;
}

/// The server accepts a limited number of connections, and closes idle ones. Clients with an open connection are
/// answered all the time. A new client is answered after idle connections are closed.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_do_not_stop_the_server() {
    if files() < FILES {
        println!("NOT RUN: {IDLE} idle connections need {FILES} open files, see ulimit -n");
        return;
    }
    let service = Service::new().await;
    let address = service.address;
    let mut known = TcpStream::connect(address).await.unwrap();
    ask(&mut known, Duration::from_secs(10)).await;
    let mut idle = JoinSet::new();
    for _ in 0..IDLE {
        idle.spawn(async move {
            let Ok(mut stream) = TcpStream::connect(address).await else { return };
            let _ = stream.read(&mut [0; 1]).await;
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let newcomer = tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        ask(&mut stream, Duration::from_secs(120)).await;
    });
    let answered = async {
        while !newcomer.is_finished() {
            ask(&mut known, Duration::from_secs(10)).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        newcomer.await.unwrap();
    };
    tokio::time::timeout(Duration::from_secs(120), answered).await.expect("the new client got no response");
    idle.shutdown().await;
    service.stop().await;
}

/// A client that sends its headers byte by byte is cut off. Other clients are answered meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_never_end_are_cut_off() {
    let service = Service::new().await;
    let slow = TcpStream::connect(service.address).await.unwrap();
    let begun = Instant::now();
    let (mut reading, mut writing) = slow.into_split();
    let sending = tokio::spawn(async move {
        let mut part: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-slow: ";
        while writing.write_all(part).await.is_ok() {
            part = b"a";
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    ask(&mut TcpStream::connect(service.address).await.unwrap(), Duration::from_secs(10)).await;
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(60), reading.read_to_end(&mut answer)).await;
    // The server closes the connection. It may send a refusal first, or reset the connection.
    let _ = closed.expect("the connection is still open");
    assert!(!answer.starts_with(b"HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    assert!(begun.elapsed() > Duration::from_secs(5), "a slow client has some time");
    sending.abort();
    // A connection of its own: the server closes the first one at about the same time, for it is idle.
    ask(&mut TcpStream::connect(service.address).await.unwrap(), Duration::from_secs(10)).await;
    service.stop().await;
}
