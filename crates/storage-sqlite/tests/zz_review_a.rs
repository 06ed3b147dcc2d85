#![allow(clippy::all, clippy::unwrap_used, clippy::panic, unused)]
use domain::{ports::*, *};
use rusqlite::Connection;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use storage_sqlite::{SqliteOptions, SqliteStore};
use tempfile::TempDir;

fn event(id: &str, user: &str, note: &str) -> Event {
    let json = format!(
        r#"{{"id":"{id}","type":"note.made","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"notes","userId":"{user}","metadata":{{}},"data":{{"note":"{note}"}}}}"#
    );
    Document::parse(json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
}
fn opts(f: &TempDir) -> SqliteOptions {
    SqliteOptions::new(f.path().join("events.db"))
}
async fn store(f: &TempDir) -> SqliteStore {
    SqliteStore::create(opts(f)).await.unwrap()
}
fn many(n: usize) -> Vec<Event> {
    (0..n).map(|n| event(&format!("e{n}"), &format!("user-{}", n % 7), "hello")).collect()
}
fn cpu_ticks() -> u64 {
    let s = std::fs::read_to_string("/proc/self/stat").unwrap();
    let r: Vec<&str> = s.rsplit(')').next().unwrap().split_whitespace().collect();
    r[11].parse::<u64>().unwrap() + r[12].parse::<u64>().unwrap()
}

#[tokio::test]
async fn waiting_without_having_written_is_idle() {
    let f = tempfile::tempdir().unwrap();
    store(&f).await.close().await;
    let s = SqliteStore::open_read_only(opts(&f)).await.unwrap();
    let head = s.head().await.unwrap();
    let before = cpu_ticks();
    s.changed(&head, Duration::from_secs(3)).await.unwrap();
    let ticks = cpu_ticks() - before;
    eprintln!("ticks {ticks} of 300");
    assert!(ticks < 30, "{ticks}");
}

#[tokio::test]
async fn waiting_for_ever_is_allowed() {
    let f = tempfile::tempdir().unwrap();
    let s = store(&f).await;
    let head = s.head().await.unwrap();
    s.append(&many(1), Atomicity::Each).await.unwrap();
    s.changed(&head, Duration::MAX).await.unwrap();
}

#[tokio::test]
async fn a_trim_takes_any_limit() {
    let f = tempfile::tempdir().unwrap();
    let s = store(&f).await;
    s.append(&many(10), Atomicity::Each).await.unwrap();
    let r = s
        .trim(&TrimRequest {
            rule: RetentionRule { max_events: Some(5), ..Default::default() },
            holds: vec![],
            limit: usize::MAX,
            dry_run: false,
        })
        .await;
    let again = s.append(&many(1), Atomicity::Each).await;
    assert!(r.is_ok() && again.is_ok(), "{r:?} then {again:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn trims_at_the_same_time_keep_what_the_rule_keeps() {
    for round in 0..20 {
        let f = tempfile::tempdir().unwrap();
        let a = store(&f).await;
        let b = store(&f).await;
        a.append(&many(1000), Atomicity::Each).await.unwrap();
        let req = TrimRequest {
            rule: RetentionRule { max_events: Some(600), ..Default::default() },
            holds: vec![],
            limit: 2000,
            dry_run: false,
        };
        let (x, y) = tokio::join!(a.trim(&req), b.trim(&req));
        let left = a.info().await.unwrap().events;
        assert_eq!(left, 600, "round {round}: {x:?} {y:?}");
    }
}

#[tokio::test]
async fn erasing_again_finishes_what_a_reader_kept() {
    let f = tempfile::tempdir().unwrap();
    let s = store(&f).await;
    s.append(&many(50), Atomicity::Each).await.unwrap();
    s.append(&[event("secret", "victim", "SECRETSECRET")], Atomicity::Each).await.unwrap();
    let reader = Connection::open(f.path().join("events.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM event", [], |r| r.get(0)).unwrap();
    let who = Entity::new("user", "victim");
    let first = s.erase(&who).await.unwrap();
    eprintln!("{first:?}");
    reader.execute_batch("COMMIT").unwrap();
    let second = s.erase(&who).await.unwrap();
    eprintln!("{second:?}");
    for name in ["events.db", "events.db-wal"] {
        let bytes = std::fs::read(f.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(12).any(|w| w == b"SECRETSECRET"), "the secret is still in {name}");
    }
}

#[tokio::test]
async fn erasing_takes_a_damaged_event_too_or_says_so() {
    let f = tempfile::tempdir().unwrap();
    let mut o = opts(&f);
    o.tail_events = 1;
    let s = SqliteStore::create(o).await.unwrap();
    s.append(&[event("secret", "victim", "SECRETSECRET")], Atomicity::Each).await.unwrap();
    Connection::open(f.path().join("events.db"))
        .unwrap()
        .execute("UPDATE event SET json = replace(json, 'notes', 'notez')", [])
        .unwrap();
    let r = s.erase(&Entity::new("user", "victim")).await;
    let left: i64 = Connection::open(f.path().join("events.db"))
        .unwrap()
        .query_row("SELECT count(*) FROM event", [], |r| r.get(0))
        .unwrap();
    assert!(
        left == 0 || r.as_ref().is_ok_and(|r| !r.remains.is_empty()) || r.is_err(),
        "{left} left, silently: {r:?}"
    );
}

#[tokio::test]
async fn restoring_beside_a_left_over_log_gives_the_backup() {
    let f = tempfile::tempdir().unwrap();
    let path = f.path().join("events.db");
    let s = store(&f).await;
    s.append(&many(100), Atomicity::Each).await.unwrap();
    let bk = f.path().join("backup");
    s.backup_to(&bk).await.unwrap();
    let more: Vec<Event> = (0..3000).map(|n| event(&format!("x{n}"), &format!("z{n}"), "later")).collect();
    for c in more.chunks(100) {
        s.append(c, Atomicity::Each).await.unwrap();
    }
    // a crash: the file is lost, its log is left
    let wal = std::fs::read(f.path().join("events.db-wal")).unwrap();
    s.close().await;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(f.path().join("events.db-wal"), &wal).unwrap();
    let info = SqliteStore::restore(opts(&f), &bk, false).await;
    eprintln!("{info:?}");
    let s = SqliteStore::open(opts(&f)).await;
    let report = match &s {
        Ok(s) => format!("{:?} {:?}", s.verify(None).await, s.info().await.map(|i| i.events)),
        Err(e) => format!("{e:?}"),
    };
    assert!(info.as_ref().is_ok_and(|i| i.events == 100), "{info:?} {report}");
}

#[tokio::test]
async fn a_damaged_store_can_be_replaced_by_its_backup() {
    let f = tempfile::tempdir().unwrap();
    let path = f.path().join("events.db");
    let s = store(&f).await;
    s.append(&many(100), Atomicity::Each).await.unwrap();
    let bk = f.path().join("backup");
    s.backup_to(&bk).await.unwrap();
    s.close().await;
    let sound = std::fs::read(&path).unwrap();
    let mut failures = vec![];
    for (name, len, from) in [("header", 100, 0), ("first page", 4096, 0), ("page 2 to 4", 12288, 4096)] {
        let mut bytes = sound.clone();
        bytes[from..from + len].fill(0xaa);
        std::fs::write(&path, &bytes).unwrap();
        let r = SqliteStore::restore(opts(&f), &bk, true).await;
        if r.is_err() {
            failures.push((name, r));
        }
    }
    std::fs::write(&path, &sound[..sound.len() / 2 / 4096 * 4096]).unwrap();
    let r = SqliteStore::restore(opts(&f), &bk, true).await;
    if r.is_err() {
        failures.push(("cut", r));
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_appended_while_a_restore_replaces_the_file_is_refused_or_kept() {
    let f = tempfile::tempdir().unwrap();
    let s = store(&f).await;
    for c in (0..20000)
        .map(|n| event(&format!("b{n}"), &format!("u{n}"), &"x".repeat(2000)))
        .collect::<Vec<_>>()
        .chunks(1000)
    {
        s.append(c, Atomicity::Each).await.unwrap();
    }
    let bk = f.path().join("backup");
    s.backup_to(&bk).await.unwrap();
    s.close().await;
    let o = opts(&f);
    let restoring = tokio::spawn(async move { SqliteStore::restore(o, &bk, true).await });
    let mut acked = vec![];
    let mut n = 0;
    while !restoring.is_finished() {
        if let Ok(s) = SqliteStore::open(opts(&f)).await {
            let id = format!("late{n}");
            n += 1;
            if let Ok(r) = s.append(&[event(&id, "late", "late")], Atomicity::Each).await {
                if matches!(r[0], AppendOutcome::Stored(_)) {
                    acked.push(id);
                }
            }
            if n % 2 == 0 {
                s.close().await;
            } else {
                std::mem::forget(s);
            }
        }
    }
    let r = restoring.await.unwrap();
    eprintln!("restore {r:?}, acked {}", acked.len());
    let s = SqliteStore::open(opts(&f)).await.unwrap();
    let there = s.get(&acked).await;
    let v = s.verify(None).await;
    assert!(
        there.as_ref().is_ok_and(|t| t.len() == acked.len()),
        "acked {} there {:?} verify {v:?}",
        acked.len(),
        there.map(|t| t.len())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_may_create_at_once() {
    for _ in 0..30 {
        let f = tempfile::tempdir().unwrap();
        let mut set = tokio::task::JoinSet::new();
        for n in 0..8 {
            let o = opts(&f);
            set.spawn(async move {
                let s = SqliteStore::create(o).await?;
                s.append(&[event(&format!("e{n}"), "u", "n")], Atomicity::Each)
                    .await
                    .map_err(|e| StorageFailure::Other(format!("{e:?}")))?;
                Ok::<_, StorageFailure>(())
            });
        }
        while let Some(r) = set.join_next().await {
            r.unwrap().unwrap();
        }
        assert_eq!(store(&f).await.info().await.unwrap().events, 8);
    }
}
