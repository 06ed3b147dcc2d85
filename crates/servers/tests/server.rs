//! A server follows its configuration and the commands of a test, and ends when it is no longer used.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use event_replay_servers::{Aof, Binary, Config, Error, MaxMemory, Server};
use support::{LONG, connect, get, ping, set};
use tokio::time::{sleep, timeout};

/// Time after which a missing response counts as lost.
const SILENCE: Duration = Duration::from_millis(300);

/// Starts a server of the default program with `config`.
async fn start(config: Config) -> Server {
    Server::start(&Binary::default(), &config).await.unwrap()
}

#[tokio::test]
async fn every_installed_program_starts_and_answers() {
    let binaries = Binary::all().unwrap();
    assert!(!binaries.is_empty());
    for binary in binaries {
        let server = Server::start(&binary, &Config::default()).await.unwrap();
        let mut connection = connect(&server.url()).await.unwrap();
        assert_eq!(ping(&mut connection).await.unwrap(), "PONG");
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut connection).await.unwrap();
        let version = format!("{}_version:{}\r\n", binary.name, binary.version);
        assert!(info.contains(&version), "{version} in {info}");
        println!("{binary} answers");
    }
}

#[tokio::test]
async fn programs_know_their_version() {
    assert!(Binary::default().major() >= 7, "{}", Binary::default());
    let none = Binary::at("/bin/true").unwrap_err();
    assert!(matches!(none, Error::NotInstalled(_)), "{none}");
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill_when_the_file_is_always_synced() {
    for binary in Binary::all().unwrap() {
        let config = Config { aof: Aof::Always, ..Config::default() };
        let mut server = Server::start(&binary, &config).await.unwrap();
        let port = server.port();
        for round in 0..5 {
            let mut connection = connect(&server.url()).await.unwrap();
            for earlier in 0..round {
                let value = get(&mut connection, &format!("key-{earlier}")).await.unwrap();
                assert_eq!(value.as_deref(), Some("kept"), "{binary}, round {round}");
            }
            set(&mut connection, &format!("key-{round}"), "kept").await.unwrap();
            server.kill().await.unwrap();
            assert!(connect(&server.url()).await.is_err(), "a killed server does not answer");
            server.restart().await.unwrap();
            assert_eq!(server.port(), port);
        }
    }
}

#[tokio::test]
async fn a_server_without_a_file_comes_back_empty() {
    let mut server = start(Config::default()).await;
    set(&mut connect(&server.url()).await.unwrap(), "key", "lost").await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(get(&mut connect(&server.url()).await.unwrap(), "key").await.unwrap(), None);
}

#[tokio::test]
async fn a_server_is_back_only_when_it_has_loaded_its_data() {
    // The load takes half a second. During that time the server answers that it is loading.
    let lines =
        vec!["key-load-delay 500".to_owned(), "loading-process-events-interval-bytes 1024".to_owned()];
    let mut server = start(Config { lines, ..Config::default() }).await;
    let mut connection = connect(&server.url()).await.unwrap();
    for key in 0..1000 {
        set(&mut connection, &format!("key-{key}"), "kept").await.unwrap();
    }
    let () = redis::cmd("SAVE").query_async(&mut connection).await.unwrap();
    server.kill().await.unwrap();
    let since = Instant::now();
    server.restart().await.unwrap();
    assert!(since.elapsed() > Duration::from_millis(400), "nothing was to be waited for");
    let mut connection = connect(&server.url()).await.unwrap();
    assert_eq!(get(&mut connection, "key-999").await.unwrap().as_deref(), Some("kept"));
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_writes_what_is_to_be_written() {
    let config = Config { aof: Aof::EverySecond, ..Config::default() };
    let mut server = start(config).await;
    set(&mut connect(&server.url()).await.unwrap(), "key", "kept").await.unwrap();
    server.stop().await.unwrap();
    assert_eq!(server.process_id(), None);
    assert!(server.log().await.contains("ready to exit"), "{}", server.log().await);
    server.restart().await.unwrap();
    assert_eq!(
        get(&mut connect(&server.url()).await.unwrap(), "key").await.unwrap().as_deref(),
        Some("kept")
    );
}

#[tokio::test]
async fn a_paused_server_is_silent_and_answers_when_it_goes_on() {
    let server = start(Config::default()).await;
    let mut connection = connect(&server.url()).await.unwrap();
    server.pause().await.unwrap();
    let mut asked = Box::pin(ping(&mut connection));
    assert!(timeout(SILENCE, &mut asked).await.is_err(), "a paused server answers");
    server.resume().unwrap();
    assert_eq!(timeout(LONG, asked).await.unwrap().unwrap(), "PONG");
}

#[tokio::test]
async fn a_paused_server_can_be_killed_and_a_dead_one_cannot_be_paused() {
    let mut server = start(Config::default()).await;
    server.pause().await.unwrap();
    server.kill().await.unwrap();
    let refused = server.pause().await.unwrap_err();
    assert!(matches!(refused, Error::NotRunning(port) if port == server.port()), "{refused}");
    server.restart().await.unwrap();
    assert_eq!(ping(&mut connect(&server.url()).await.unwrap()).await.unwrap(), "PONG");
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let password = "p@ss:/word?#%é";
    let server = start(Config { password: Some(password.to_owned()), ..Config::default() }).await;
    assert_eq!(ping(&mut connect(&server.url()).await.unwrap()).await.unwrap(), "PONG");
    let wrong = connect(&server.url_with("default", "wrong")).await.map(drop).unwrap_err();
    assert!(
        wrong.to_string().contains("WRONGPASS") || wrong.to_string().contains("uthentication"),
        "{wrong}"
    );
    let bare = format!("redis://127.0.0.1:{}", server.port());
    let refused = match connect(&bare).await {
        Ok(mut connection) => ping(&mut connection).await.unwrap_err(),
        Err(error) => error,
    };
    assert_eq!(refused.code(), Some("NOAUTH"), "{refused}");
}

#[tokio::test]
async fn users_have_the_rights_they_were_given() {
    let users = vec!["reader on >secret ~* +@read +@connection".to_owned(), "default off".to_owned()];
    let server = start(Config { users, ..Config::default() }).await;
    let mut reader = connect(&server.url_with("reader", "secret")).await.unwrap();
    assert_eq!(get(&mut reader, "key").await.unwrap(), None);
    let refused = set(&mut reader, "key", "value").await.unwrap_err();
    assert_eq!(refused.code(), Some("NOPERM"), "{refused}");
}

#[tokio::test]
async fn memory_is_limited() {
    let max_memory = Some(MaxMemory { bytes: 4 << 20, policy: "noeviction".to_owned() });
    let server = start(Config { max_memory, ..Config::default() }).await;
    let mut connection = connect(&server.url()).await.unwrap();
    let value = "x".repeat(1 << 20);
    let mut written = 0;
    let full = loop {
        match set(&mut connection, &format!("key-{written}"), &value).await {
            Ok(()) if written < 100 => written += 1,
            Ok(()) => panic!("{written} MiB in a server of 4 MiB"),
            Err(full) => break full,
        }
    };
    assert_eq!(full.code(), Some("OOM"), "{full}");
}

#[tokio::test]
async fn lines_of_the_tests_own_win() {
    let lines = vec!["appendonly yes".to_owned(), "hash-max-listpack-entries 7".to_owned()];
    let server = start(Config { lines, ..Config::default() }).await;
    let mut connection = connect(&server.url()).await.unwrap();
    let mut asked = redis::cmd("CONFIG");
    asked.arg("GET").arg("appendonly").arg("hash-max-listpack-entries");
    let said: std::collections::BTreeMap<String, String> = asked.query_async(&mut connection).await.unwrap();
    assert_eq!(said["appendonly"], "yes");
    assert_eq!(said["hash-max-listpack-entries"], "7");
    assert!(server.folder().join("appendonlydir").is_dir());
}

#[tokio::test]
async fn a_server_that_does_not_start_shows_its_log() {
    let config = Config { lines: vec!["no-such-setting 1".to_owned()], ..Config::default() };
    let since = Instant::now();
    let refused = Server::start(&Binary::default(), &config).await.unwrap_err();
    assert!(refused.to_string().contains("no-such-setting"), "{refused}");
    assert!(since.elapsed() < Config::default().start_within, "an end is noticed, not waited out");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let binary = Binary { path: "/nowhere/redis-server".into(), ..Binary::default() };
    let refused = Server::start(&binary, &Config::default()).await.unwrap_err();
    assert!(matches!(refused, Error::CannotRun { .. }), "{refused}");
    assert!(refused.to_string().contains("/nowhere/redis-server"), "{refused}");
}

#[tokio::test]
async fn many_servers_run_beside_each_other() {
    let starts = (0..8).map(|_| tokio::spawn(start(Config::default())));
    let mut servers = Vec::new();
    for started in starts.collect::<Vec<_>>() {
        servers.push(started.await.unwrap());
    }
    let ports: std::collections::BTreeSet<u16> = servers.iter().map(Server::port).collect();
    assert_eq!(ports.len(), servers.len());
    // The lowest port that the operating system assigns to outgoing connections.
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let lowest: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
    assert!(ports.iter().all(|&port| port < lowest), "{ports:?} below {lowest}");
}

#[tokio::test]
async fn a_dropped_server_leaves_nothing() {
    let server = start(Config { aof: Aof::Always, ..Config::default() }).await;
    let (process, folder) = (server.process_id().unwrap(), server.folder().to_owned());
    assert!(folder.is_dir());
    drop(server);
    assert!(!is_alive(process));
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_server_ends_with_the_killed_process_that_started_it() {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "starts_a_server_and_waits_to_be_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(owner.stdout.take().unwrap()).lines();
    let line =
        lines.map(Result::unwrap).find_map(|line| line.split_once("SERVER ").map(|it| it.1.to_owned()));
    let line = line.unwrap();
    let (process, folder) = line.split_once(' ').unwrap();
    let process = process.parse().unwrap();
    assert!(is_alive(process) && Path::new(folder).is_dir());

    owner.kill().unwrap();
    owner.wait().unwrap();
    let since = Instant::now();
    while is_alive(process) || Path::new(folder).exists() {
        assert!(since.elapsed() < LONG, "server {process} in {folder} outlives its owner");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
#[ignore = "started, and killed, by the test before"]
async fn starts_a_server_and_waits_to_be_killed() {
    let server = start(Config::default()).await;
    println!("SERVER {} {}", server.process_id().unwrap(), server.folder().display());
    sleep(LONG * 2).await;
}

/// Whether a process exists and is not a zombie.
fn is_alive(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
