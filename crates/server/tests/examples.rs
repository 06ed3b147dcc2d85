//! The clients in `examples/http` work as documented. A killed client delays its deliveries only until their deadline.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail, what did not run is named"
)]

mod common;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use common::{Service, registered};
use event_replay_server::ServeOptions;
use serde_json::json;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
};

const EVENTS: usize = 120;
const USERS: usize = 7;

/// The clients, each with the program that runs it.
const CLIENTS: [(&str, &str); 3] = [("python3", "consume.py"), ("node", "consume.mjs"), ("sh", "consume.sh")];

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/http").join(file)
}

/// Whether a program is installed. A missing program is reported.
fn is_there(program: &str) -> bool {
    let found = std::process::Command::new(program).arg("-c").arg("").stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("NOT RUN: the client for {program}, which is not installed");
    }
    found
}

fn start(service: &Service, program: &str, file: &str, flags: &[&str]) -> Child {
    Command::new(program)
        .arg(example(file))
        .arg("mail")
        .args(flags)
        .env("EVENT_REPLAY_URL", service.url(""))
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn with_events(number: usize) -> Service {
    let folder = tempfile::tempdir().unwrap();
    let set = |settings: &mut event_replay::Settings| settings.handler_timeout = Duration::from_secs(2);
    let service = Service::set(folder, ServeOptions::default(), set).await;
    service.post_json("/v1/groups", json!({"name": "mail", "at": "start"})).await.is(201);
    let events: Vec<String> =
        (0..number).map(|n| registered(&format!("e{n}"), &format!("u{}", n % USERS))).collect();
    service.publish(&events).await.is(201);
    service
}

/// Checks that each event was handled, and that the events of each user were handled in order. Duplicates are allowed.
fn check(handled: &[String], number: usize) {
    let mut by_user: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for id in handled {
        let event: usize = id.strip_prefix('e').unwrap().parse().unwrap();
        let events = by_user.entry(event % USERS).or_default();
        let last = events.last().copied();
        // The event is the next event of the user, or repeats the last one.
        let next = last.map_or(event % USERS, |last| last + USERS);
        assert!(event == next || Some(event) == last, "e{event} came after {last:?}");
        if event == next {
            events.push(event);
        }
    }
    let events: usize = by_user.values().map(Vec::len).sum();
    assert_eq!(events, number);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_handles_each_event_once_and_each_user_in_order() {
    for (program, file) in CLIENTS {
        if !is_there(program) {
            continue;
        }
        let service = with_events(EVENTS).await;
        let output = start(&service, program, file, &["--until-empty"]).wait_with_output().await.unwrap();
        assert!(output.status.success(), "{file}: {output:?}");
        let handled: Vec<String> =
            String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(handled.len(), EVENTS, "{file}");
        check(&handled, EVENTS);
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_clients_lose_nothing_and_break_no_order() {
    if !is_there("python3") {
        return;
    }
    const KILLS: usize = 5;
    let service = with_events(EVENTS).await;
    let mut handled: Vec<String> = vec![];
    for round in 0..KILLS {
        let mut client = start(&service, "python3", "consume.py", &[]);
        let mut lines = BufReader::new(client.stdout.take().unwrap()).lines();
        // The client is killed after its first events, while it holds other deliveries.
        for _ in 0..=round * 3 {
            match tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap() {
                Some(line) => handled.push(line),
                None => break,
            }
        }
        client.kill().await.unwrap();
        // The client handled each event whose id it printed before the kill.
        while let Some(line) = lines.next_line().await.unwrap() {
            handled.push(line);
        }
    }
    let output =
        start(&service, "python3", "consume.py", &["--until-empty"]).wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    handled.extend(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned));
    check(&handled, EVENTS);
    let letters = service.get("/v1/dead-letters").await.is(200).json();
    assert_eq!(letters["deadLetters"], json!([]), "a client that is killed a few times makes no dead letter");
    service.stop().await;
}
