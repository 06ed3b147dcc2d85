#![allow(clippy::all, clippy::unwrap_used, clippy::panic, unused, missing_docs)]
use domain::{ports::*, *};
use rusqlite::Connection;
use std::{
    collections::*,
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn restore_race() {
    let f = tempfile::tempdir().unwrap();
    let s = store(&f).await;
    for c in (0..30000)
        .map(|n| event(&format!("b{n}"), &format!("u{n}"), &"x".repeat(2000)))
        .collect::<Vec<_>>()
        .chunks(1000)
    {
        s.append(c, Atomicity::Each).await.unwrap();
    }
    let bk = f.path().join("backup");
    s.backup_to(&bk).await.unwrap();
    for c in (0..5000)
        .map(|n| event(&format!("c{n}"), &format!("v{n}"), &"y".repeat(1000)))
        .collect::<Vec<_>>()
        .chunks(1000)
    {
        s.append(c, Atomicity::Each).await.unwrap();
    }
    s.trim(&TrimRequest {
        rule: RetentionRule { max_events: Some(30000), ..Default::default() },
        holds: vec![],
        limit: 100000,
        dry_run: false,
    })
    .await
    .unwrap();
    s.close().await;
    let o = opts(&f);
    let restoring = tokio::spawn(async move { SqliteStore::restore(o, &bk, true).await });
    let part = f.path().join(format!("events.db.{}.part", std::process::id()));
    while !part.exists() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // another process begins to publish while the copy is under way
    let other = SqliteStore::open(opts(&f)).await.unwrap();
    let late: Vec<Event> = (0..50).map(|n| event(&format!("late{n}"), "late", "late")).collect();
    let answer = other.append(&late, Atomicity::Each).await;
    let stored = answer.as_ref().is_ok_and(|a| matches!(a[0], AppendOutcome::Stored(_)));
    let r = restoring.await.unwrap();
    eprintln!("restore {r:?}");
    let again = other.append(&[event("after", "late", "late")], Atomicity::Each).await;
    let s = SqliteStore::open(opts(&f)).await;
    let info = match &s {
        Ok(s) => format!("{:?}", s.info().await),
        Err(e) => format!("{e:?}"),
    };
    let there = match &s {
        Ok(s) => s.get(&["late0".into(), "after".into()]).await.map(|t| t.len()),
        Err(e) => Err(EventStoreError::Storage(e.clone())),
    };
    let v = match &s {
        Ok(s) => format!(
            "{:?}",
            s.verify(None).await.map(|v| (
                v.events,
                v.total_findings,
                v.findings.into_iter().take(3).collect::<Vec<_>>()
            ))
        ),
        Err(e) => String::new(),
    };
    assert!(
        there == Ok(2) || r.is_err() || !stored,
        "answered {stored} / after {again:?} / there {there:?} / {info} / verify {v}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_does_not_stop_appends_while_an_erasure_waits_for_it() {
    let f = tempfile::tempdir().unwrap();
    let s = store(&f).await;
    s.append(&many(50), Atomicity::Each).await.unwrap();
    let reader = Connection::open(f.path().join("events.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    let _: i64 = reader.query_row("SELECT count(*) FROM event", [], |r| r.get(0)).unwrap();
    let (a, b) = (s.clone(), store(&f).await);
    let erasing = tokio::spawn(async move { a.erase(&Entity::new("user", "user-1")).await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    let other = b.append(&[event("other", "u", "n")], Atomicity::Each).await;
    let took = begun.elapsed();
    let e = erasing.await.unwrap();
    assert!(took < Duration::from_secs(5), "another handle's append took {took:?}: {other:?}; erase {e:?}");
}

#[tokio::test]
async fn a_locked_file_is_busy_and_never_read_without_its_lock() {
    let f = tempfile::tempdir().unwrap();
    let s = store(&f).await;
    s.append(&many(50), Atomicity::Each).await.unwrap();
    s.close().await;
    let other = Connection::open(f.path().join("events.db")).unwrap();
    other.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE; DELETE FROM event; UPDATE state SET head = 999").unwrap();
    let begun = Instant::now();
    let r = SqliteStore::open_read_only(opts(&f)).await;
    let took = begun.elapsed();
    let Ok(s) = r else { return };
    other.execute_batch("COMMIT").unwrap();
    let seen = s.info().await.unwrap();
    panic!("opened after {took:?} in spite of the lock; after the commit it sees head {:?}", seen.head);
}

#[tokio::test]
async fn counts_and_trims_agree_about_damaged_events() {
    let f = tempfile::tempdir().unwrap();
    let s = SqliteStore::create(SqliteOptions { tail_events: 1, ..opts(&f) }).await.unwrap();
    s.append(&many(10), Atomicity::Each).await.unwrap();
    Connection::open(f.path().join("events.db"))
        .unwrap()
        .execute("UPDATE event SET json = replace(json, 'notes', 'notez') WHERE seq <= 3", [])
        .unwrap();
    let mut wrong = vec![];
    for filter in
        [Filter::default(), Filter { types: vec![TypePattern::new("note.made")], ..Default::default() }]
    {
        let read = s.read(&ReadRequest::new(filter.clone(), 100)).await.unwrap();
        let count = s.count(&Arc::new(filter), None).await.unwrap();
        if count != read.events.len() as u64 {
            wrong.push(format!(
                "count {count}, read {} and {} corrupt",
                read.events.len(),
                read.corrupt.len()
            ));
        }
    }
    let total = s.info().await.unwrap().bytes;
    let mut req = TrimRequest {
        rule: RetentionRule { max_bytes: Some(total - 100), ..Default::default() },
        holds: vec![],
        limit: 100,
        dry_run: true,
    };
    let dry = s.trim(&req).await.unwrap();
    req.dry_run = false;
    let wet = s.trim(&req).await.unwrap();
    wrong.push(format!("dry {dry:?} wet {wet:?} of {total}"));
    assert!(wrong.len() == 1 && dry == wet && wet.events == 1, "{wrong:#?}");
}

struct Rng(u64);
impl Rng {
    fn n(&mut self, m: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % m
    }
}
const TYPES: &[&str] = &[
    "a",
    "a*",
    "*",
    "a*b",
    "1",
    "01",
    "1.0",
    "a.b",
    "A",
    "user.x",
    "\u{1F600}",
    "%",
    "_",
    "'; DROP TABLE event; --",
];
const SOURCES: &[&str] = &["1", "1.0", "1e0", "s", "S", " s", "s ", "x'41'", "NULL"];
const KINDS: &[&str] = &["user", "User", "", "1", "type", "a b", "use", "u\\u0000r", "'", "\\u00e9"];
const TIMES: &[&str] = &[
    "1969-12-31T23:59:59.5Z",
    "1969-12-31T23:00:00Z",
    "1969-12-31T22:59:59.999999999Z",
    "1970-01-01T00:00:00Z",
    "1970-01-01T00:00:00.000000001Z",
    "0001-01-01T00:00:00Z",
    "9999-12-30T22:00:00Z",
    "2024-01-15T10:00:00Z",
    "2024-01-15T10:59:59.999999999Z",
    "2024-01-15T10:59:59.9999995Z",
    "2024-01-15T11:00:00Z",
    "1969-12-31T23:59:59.999999999Z",
    "1969-12-31T23:59:59.9999999991Z",
];
fn times() -> Vec<jiff::Timestamp> {
    TIMES.iter().filter_map(|t| domain::event::parse_timestamp(t).ok()).collect()
}
fn rand_event(r: &mut Rng, id: usize) -> Event {
    let mut m = serde_json::Map::new();
    m.insert("id".into(), format!("{id}").into());
    m.insert("type".into(), TYPES[r.n(TYPES.len())].into());
    m.insert("version".into(), "1".into());
    m.insert("source".into(), SOURCES[r.n(SOURCES.len())].into());
    m.insert("timestamp".into(), TIMES[r.n(TIMES.len() - 1)].into());
    m.insert("metadata".into(), serde_json::json!({}));
    if r.n(2) == 0 {
        m.insert("correlationId".into(), format!("{}", r.n(4)).into());
    }
    for k in KINDS {
        if r.n(3) == 0 {
            let k: String = serde_json::from_str(&format!("\"{k}\"")).unwrap();
            m.insert(format!("{k}Id"), format!("{}", r.n(4)).into());
        }
    }
    let json = serde_json::Value::Object(m).to_string();
    Document::parse(json.as_bytes(), &Limits::default())
        .unwrap()
        .into_event()
        .unwrap_or_else(|v| panic!("{v:?} {json}"))
}
fn rand_filter(r: &mut Rng) -> Filter {
    let mut f = Filter::default();
    let t = times();
    if r.n(3) == 0 {
        for _ in 0..r.n(3) {
            f.types.push(TypePattern::new(TYPES[r.n(TYPES.len())]));
        }
    }
    if r.n(4) == 0 {
        for _ in 0..r.n(3) {
            f.sources.insert(SOURCES[r.n(SOURCES.len())].into());
        }
    }
    if r.n(40) == 0 {
        for n in 0..2500 {
            f.sources.insert(format!("{n}"));
        }
    }
    if r.n(4) == 0 {
        for _ in 0..r.n(3) {
            f.correlation_ids.insert(format!("{}", r.n(5)));
        }
    }
    if r.n(2) == 0 {
        for _ in 0..r.n(3) {
            let k: String = serde_json::from_str(&format!("\"{}\"", KINDS[r.n(KINDS.len())])).unwrap();
            f.entities.entry(k.clone()).or_default();
            for _ in 0..r.n(3) {
                f.add_entity(Entity::new(k.clone(), format!("{}", r.n(5))));
            }
        }
    }
    if r.n(6) == 0 {
        for _ in 0..r.n(20) {
            f.event_ids.insert(format!("{}", r.n(400)));
        }
    }
    if r.n(40) == 0 {
        for n in 0..2100 {
            f.event_ids.insert(format!("{}", n * 3));
        }
    }
    if r.n(4) == 0 {
        f.from = Some(t[r.n(t.len())]);
    }
    if r.n(4) == 0 {
        f.to = Some(t[r.n(t.len())]);
    }
    f
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differential() {
    let seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(20261123);
    let until = Instant::now()
        + Duration::from_secs(std::env::var("SECS").ok().and_then(|s| s.parse().ok()).unwrap_or(60));
    let mut round = 0;
    while Instant::now() < until {
        round += 1;
        let mut r = Rng(seed.wrapping_mul(round * 2 + 1).max(1));
        let f = tempfile::tempdir().unwrap();
        let mut handles = vec![];
        for tail in [1 + r.n(8) as u64, 1 + r.n(60) as u64] {
            handles.push(SqliteStore::create(SqliteOptions { tail_events: tail, ..opts(&f) }).await.unwrap());
        }
        let mut model: Vec<(u64, Event)> = vec![];
        let mut gone: HashSet<String> = HashSet::new();
        let mut next = 0;
        for step in 0..60 {
            let h = handles[r.n(2)].clone();
            match r.n(12) {
                0..=4 => {
                    let n = 1 + r.n(30);
                    let mut batch: Vec<Event> = (0..n)
                        .map(|_| {
                            next += 1;
                            rand_event(&mut r, next)
                        })
                        .collect();
                    for (e, o) in batch.iter().zip(h.append(&batch, Atomicity::Each).await.unwrap()) {
                        match o {
                            AppendOutcome::Stored(p) => model.push((p.sequence, e.clone())),
                            o => panic!("{o:?}"),
                        }
                    }
                }
                5 => {
                    let keep = r.n(model.len() + 1);
                    let types: Vec<TypePattern> =
                        if r.n(2) == 0 { vec![] } else { vec![TypePattern::new(TYPES[r.n(TYPES.len())])] };
                    if r.n(3) > 0 {
                        let fil = Filter { types: types.clone(), ..Default::default() };
                        let total = model.iter().filter(|(_, e)| fil.matches(e)).count();
                        let keep = if total == 0 { 0 } else { total - r.n(total.min(5)) };
                        let req = TrimRequest {
                            rule: RetentionRule {
                                types,
                                max_events: Some(keep as u64),
                                ..Default::default()
                            },
                            holds: vec![],
                            limit: 1 + r.n(10),
                            dry_run: false,
                        };
                        loop {
                            let t = h.trim(&req).await.unwrap();
                            if !t.more {
                                break;
                            }
                        }
                        let mut drop = total - keep;
                        model.retain(|(_, e)| {
                            if drop > 0 && fil.matches(e) {
                                drop -= 1;
                                false
                            } else {
                                true
                            }
                        });
                    }
                }
                6 if r.n(6) == 0 => {
                    let k: String =
                        serde_json::from_str(&format!("\"{}\"", KINDS[r.n(KINDS.len())])).unwrap();
                    let who = Entity::new(k, "1");
                    h.erase(&who).await.unwrap();
                    model.retain(|(_, e)| {
                        if e.names(&who) {
                            gone.insert(e.id().to_owned());
                            false
                        } else {
                            true
                        }
                    });
                }
                7 if r.n(10) == 0 => {
                    let bk = f.path().join(format!("bk{step}"));
                    h.backup_to(&bk).await.unwrap();
                    drop(h);
                    for h in handles.drain(..) {
                        h.close().await;
                    }
                    SqliteStore::restore(opts(&f), &bk, true).await.unwrap().head;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    for tail in [1 + r.n(8) as u64, 1 + r.n(60) as u64] {
                        handles.push(
                            SqliteStore::create(SqliteOptions { tail_events: tail, ..opts(&f) })
                                .await
                                .unwrap(),
                        );
                    }
                }
                _ => {
                    let fil = Arc::new(rand_filter(&mut r));
                    let head = h.head().await.unwrap();
                    let until = match r.n(3) {
                        0 if !model.is_empty() => {
                            let mut c = head.clone();
                            c.sequences[0] = model[r.n(model.len())].0;
                            Some(c)
                        }
                        1 => Some(head),
                        _ => None,
                    };
                    let want: Vec<u64> = model
                        .iter()
                        .filter(|(s, e)| fil.matches(e) && until.as_ref().is_none_or(|u| *s <= u.sequence(0)))
                        .map(|(s, _)| *s)
                        .collect();
                    let count = h.count(&fil, until.as_ref()).await.unwrap();
                    assert_eq!(
                        count,
                        want.len() as u64,
                        "count seed {seed} round {round} step {step} {fil:?} {until:?}"
                    );
                    for order in [Order::OldestFirst, Order::NewestFirst] {
                        let mut req = ReadRequest {
                            filter: fil.clone(),
                            order,
                            after: None,
                            until: until.clone(),
                            limit: 1 + r.n(9),
                        };
                        let mut got = vec![];
                        loop {
                            let p = h.read(&req).await.unwrap();
                            assert!(p.events.len() <= req.limit && p.corrupt.is_empty());
                            got.extend(p.events.iter().map(|e| e.position.sequence));
                            match p.next {
                                Some(n) => req.after = Some(n),
                                None => break,
                            }
                        }
                        if order == Order::NewestFirst {
                            got.reverse();
                        }
                        assert_eq!(
                            got, want,
                            "seed {seed} round {round} step {step} {order:?} {fil:?} {until:?}"
                        );
                    }
                }
            }
        }
        let v = handles[0].verify(None).await.unwrap();
        assert!(v.total_findings == 0, "{v:?}");
        for h in handles {
            h.close().await;
        }
        let left: Vec<_> = std::fs::read_dir(f.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .filter(|n| !n.to_string_lossy().starts_with("bk") && n != "events.db")
            .collect();
        if !left.is_empty() {
            eprintln!("round {round} left {left:?}");
        }
    }
    eprintln!("{round} rounds");
}

#[tokio::test]
async fn leftovers() {
    for ro in [false, true] {
        for first_writer in [true, false] {
            let f = tempfile::tempdir().unwrap();
            let a = store(&f).await;
            a.append(&many(5), Atomicity::Each).await.unwrap();
            let b = if ro {
                SqliteStore::open_read_only(opts(&f)).await.unwrap()
            } else {
                SqliteStore::open(opts(&f)).await.unwrap()
            };
            b.info().await.unwrap();
            a.info().await.unwrap();
            if first_writer {
                a.close().await;
                b.close().await;
            } else {
                b.close().await;
                a.close().await;
            }
            let left: Vec<_> = std::fs::read_dir(f.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
            eprintln!("read only {ro}, writer closed first {first_writer}: {left:?}");
        }
    }
}
