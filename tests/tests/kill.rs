//! Killed and concurrent processes: acknowledged events stay, and no batch is torn.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{
    collections::HashSet,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{
    Filter,
    ports::{EventStore, ReadRequest},
};
use serde_json::Value;
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;

fn start_writer(store: &Path, name: &str, batches: u64) -> Child {
    Command::new(env!("CARGO_BIN_EXE_test-writer"))
        .arg(store)
        .args([name, &batches.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Returns all ids of the store, in log order. Panics for a damaged event, a repeated id, or positions out of order.
async fn ids(store: &Store) -> Vec<String> {
    let mut request = ReadRequest::new(Filter::default(), 5000);
    let (mut ids, mut last) = (Vec::new(), 0);
    loop {
        let page = store.read(&request).await.unwrap();
        assert_eq!(page.corrupt, []);
        for stored in page.events {
            assert!(stored.position.sequence > last, "positions rise");
            last = stored.position.sequence;
            ids.push(stored.event.id().to_owned());
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "an id is stored once");
    ids
}

async fn check_sound(store: &Store) {
    let report = store.verify(None).await.unwrap();
    assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
}

/// A process that appends is killed at a random moment. Its acknowledged events are stored, with all their index
/// entries.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_writer_loses_nothing_it_acknowledged() {
    let mut random = fastrand::Rng::with_seed(support::seed());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    for round in 0..support::rounds(10) {
        let name = format!("round{round}");
        let mut writer = start_writer(&path, &name, u64::MAX);
        let patience = Duration::from_millis(random.u64(5..400));
        let out = writer.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            BufReader::new(out)
                .lines()
                .map_while(Result::ok)
                .filter_map(|line| line.parse::<u64>().ok())
                .last()
        });
        std::thread::sleep(patience);
        writer.kill().unwrap();
        writer.wait().unwrap();
        let acknowledged = reader.join().unwrap().unwrap_or(0);

        let engine = SqliteEngine::create(SqliteOptions::new(&path)).await.unwrap();
        let store = Store::new(engine.clone());
        let filter = Filter { sources: [name.clone()].into(), ..Filter::default() };
        let mut request = ReadRequest::new(filter, 5000);
        let mut stored = 0;
        loop {
            let page = store.read(&request).await.unwrap();
            for event in &page.events {
                assert_eq!(event.event.id(), format!("{name}-{stored}"), "round {round}: no gap, in order");
                stored += 1;
            }
            match page.next {
                Some(next) => request.after = Some(next),
                None => break,
            }
        }
        assert!(stored >= acknowledged, "round {round}: {acknowledged} acknowledged, {stored} stored");
        check_sound(&store).await;
        engine.close().await;
    }
}

/// An import is killed at a random moment. The store contains a valid beginning of the file, and a second import adds
/// the rest.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_import_is_completed_by_a_second_one() {
    let mut random = fastrand::Rng::with_seed(support::seed());
    let input = support::demo_events(20_000);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("events.ndjson");
    std::fs::write(&file, input.join("\n")).unwrap();
    let expected: Vec<String> = input
        .iter()
        .map(|json| serde_json::from_str::<Value>(json).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    let mut cut_short = 0;
    for round in 0..support::rounds(10) {
        let path = folder.path().join(format!("round{round}.db"));
        let mut import = support::event_replay(&path);
        let mut import =
            import.arg("import").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(random.u64(5..600)));
        import.kill().unwrap();
        import.wait().unwrap();
        let before = match SqliteEngine::open(SqliteOptions::new(&path)).await {
            Ok(engine) => {
                let store = Store::new(engine.clone());
                let stored = ids(&store).await;
                assert_eq!(stored, expected[..stored.len()], "round {round}: a beginning of the file");
                check_sound(&store).await;
                engine.close().await;
                stored.len()
            }
            // The import was killed before it created the file.
            Err(_) => 0,
        };
        cut_short += usize::from(before > 0 && before < expected.len());

        let output = support::run(support::event_replay(&path).args(["import", "--output=json"]).arg(&file));
        assert_eq!(output.status.code(), Some(0), "{}", support::text(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["alreadyStored"], before, "round {round}");
        assert_eq!(report["stored"], expected.len() - before, "round {round}");
        let engine = SqliteEngine::open(SqliteOptions::new(&path)).await.unwrap();
        let store = Store::new(engine.clone());
        assert_eq!(ids(&store).await, expected, "round {round}");
        check_sound(&store).await;
        engine.close().await;
        std::fs::remove_file(&path).unwrap();
    }
    println!("{cut_short} imports were killed half-way");
    assert!(cut_short > 0, "no import was killed half-way: the test proved nothing");
}

/// The checkers above must detect the loss of an acknowledged event, which this test deletes directly from the file.
#[tokio::test(flavor = "multi_thread")]
async fn the_checkers_catch_a_lost_event() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let writer = start_writer(&path, "w", 20).wait_with_output().unwrap();
    assert!(writer.status.success());
    let sqlite = rusqlite::Connection::open(&path).unwrap();
    assert_eq!(sqlite.execute("DELETE FROM event WHERE seq = 3", []).unwrap(), 1);
    drop(sqlite);
    let store = SqliteEngine::open(SqliteOptions::new(&path)).await.map(Store::new).unwrap();
    assert!(!ids(&store).await.contains(&"w-2".to_owned()));
    let report = store.verify(None).await.unwrap();
    assert!(report.total_findings > 0, "{report:?}");
}

/// Two processes append without pause, and a third process reads the same file. No process gets an error, and no event
/// is lost.
#[tokio::test(flavor = "multi_thread")]
async fn two_processes_write_while_a_third_reads() {
    let seconds = std::env::var("EVENT_REPLAY_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let store = SqliteEngine::create(SqliteOptions::new(&path)).await.map(Store::new).unwrap();
    let mut writers: Vec<_> =
        ["left", "right"].map(|name| (name, start_writer(&path, name, u64::MAX))).into();
    let readers: Vec<_> = writers
        .iter_mut()
        .map(|(_, writer)| {
            let out = writer.stdout.take().unwrap();
            std::thread::spawn(move || {
                BufReader::new(out)
                    .lines()
                    .map_while(Result::ok)
                    .filter_map(|line| line.parse::<u64>().ok())
                    .last()
            })
        })
        .collect();

    let until = Instant::now() + Duration::from_secs(seconds);
    let mut request = ReadRequest::new(Filter::default(), 1000);
    let (mut seen, mut head) = (0_u64, store.head().await.unwrap());
    while Instant::now() < until {
        let page = store.read(&request).await.unwrap();
        seen += page.events.len() as u64;
        if let Some(last) = page.events.last() {
            let read = domain::Cursor::new(head.store, head.epoch, vec![last.position.sequence]);
            request.after = Some(read);
        }
        if page.next.is_none() {
            head = store.changed(&head, Duration::from_millis(200)).await.unwrap();
        }
        for (name, writer) in &mut writers {
            assert!(writer.try_wait().unwrap().is_none(), "{name} ended: it met an error");
        }
    }
    for (_, writer) in &mut writers {
        writer.kill().unwrap();
        writer.wait().unwrap();
    }
    let acknowledged: Vec<u64> =
        readers.into_iter().map(|reader| reader.join().unwrap().unwrap_or(0)).collect();
    let all: HashSet<String> = ids(&store).await.into_iter().collect();
    for ((name, _), count) in writers.iter().zip(&acknowledged) {
        assert!(*count > 0, "{name} never got its turn");
        for n in 0..*count {
            assert!(all.contains(&format!("{name}-{n}")), "{name}-{n} was acknowledged and is gone");
        }
    }
    check_sound(&store).await;
    let total = store.count(&Arc::new(Filter::default()), None).await.unwrap();
    assert_eq!(total, all.len() as u64);
    println!("{seconds} s: acknowledged {acknowledged:?}, read meanwhile {seen}, {total} in the store");
}
