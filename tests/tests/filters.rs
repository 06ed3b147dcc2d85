//! Random filters over real and generated events: every store, and the program on a file and on Redis, must agree with an
//! oracle that reads the input alone, and with each other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;
#[path = "support/wanted.rs"]
mod wanted;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use domain::{
    Document, Event, Filter, Limits,
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, EventStore, Order, ReadRequest, ReplayStore, SystemClock,
    },
};
use replay::{PlanRequest, ReplayManager};
use serde_json::{Value, json};
use storage_memory::MemoryStore;
use storage_redis::{RedisOptions, RedisStore};
use storage_sqlite::{SqliteOptions, SqliteStore};
use wanted::{Line, Wanted};

async fn fill<S: EventStore + ReplayStore>(store: &S, input: &[String]) {
    let limits = Limits::default();
    let events: Vec<_> = input
        .iter()
        .map(|json| Document::parse(json.as_bytes(), &limits).unwrap().into_event().unwrap())
        .collect();
    let mut positions = Vec::new();
    // Uneven batches, so that the index is folded at uneven places; as large as every store takes.
    let mut rest = events.as_slice();
    while !rest.is_empty() {
        let mut bytes = 0;
        let fits = |event: &&Event| {
            bytes += event.size_bytes();
            bytes <= 1_000_000
        };
        let (batch, after) = rest.split_at(rest.iter().take(193).take_while(fits).count());
        rest = after;
        for outcome in store.append(batch, Atomicity::Each).await.unwrap() {
            let AppendOutcome::Stored(position) = outcome else { panic!("{outcome:?}") };
            positions.push(position);
        }
    }
    let replayed: Vec<_> = positions.into_iter().step_by(7).collect();
    store.record_replayed(&replayed, "2024-03-01T00:00:00Z".parse().unwrap()).await.unwrap();
}

/// What a store lists, page by page.
async fn list(
    store: &dyn EventStore,
    filter: &Arc<Filter>,
    order: Order,
    page: usize,
    limit: usize,
) -> Vec<String> {
    let mut request = ReadRequest { order, ..ReadRequest::new(filter.clone(), page) };
    let mut ids = Vec::new();
    loop {
        let page = store.read(&request).await.unwrap();
        assert!(page.corrupt.is_empty());
        ids.extend(page.events.iter().map(|stored| stored.event.id().to_owned()));
        match page.next {
            Some(next) if ids.len() < limit => request.after = Some(next),
            _ => break,
        }
    }
    ids.truncate(limit);
    ids
}

/// Holds a store's reads, counts and plan against what the oracle says. What else the plan says is given back, for
/// comparing with that of another store: everything but what positions show in.
async fn check_store<S>(name: &str, store: &S, wanted: &Wanted, expected: &[&Line], page: usize) -> Value
where
    S: EventStore + ReplayStore + CheckpointStore + Clone + 'static,
{
    let filter = wanted.filter();
    let oldest: Vec<&str> = expected.iter().map(|line| line.id.as_str()).collect();
    assert_eq!(
        list(store, &filter, Order::OldestFirst, page, usize::MAX).await,
        oldest,
        "{name}: {wanted:?}"
    );
    let limit = wanted.limit.unwrap_or(usize::MAX);
    let newest: Vec<&str> = oldest.iter().rev().take(limit).copied().collect();
    assert_eq!(
        list(store, &filter, Order::NewestFirst, page, limit).await,
        newest,
        "{name}, newest first: {wanted:?}"
    );
    assert_eq!(store.count(&filter, None).await.unwrap(), oldest.len() as u64, "{name}, count: {wanted:?}");

    let shared = Arc::new(store.clone());
    let manager = ReplayManager::new(shared.clone(), shared.clone(), shared, None, Arc::new(SystemClock));
    let request = PlanRequest { limit: wanted.limit.map(|limit| limit as u64), ..PlanRequest::new(filter) };
    let plan = manager.plan(request, None).await.unwrap();
    let planned = &expected[..expected.len().min(limit)];
    assert_eq!(plan.total_events, planned.len() as u64, "{name}, plan: {wanted:?}");
    assert_eq!(plan.by_type, count_by(planned, "type"), "{name}, plan: {wanted:?}");
    assert_eq!(plan.by_source, count_by(planned, "source"), "{name}, plan: {wanted:?}");
    assert_eq!(plan.oldest, planned.iter().map(|line| line.at).min(), "{name}, plan: {wanted:?}");
    assert_eq!(plan.newest, planned.iter().map(|line| line.at).max(), "{name}, plan: {wanted:?}");
    let mut said = without(serde_json::to_value(plan.dry_run()).unwrap(), &["planHash", "mark"]);
    let pieces = plan.segments.iter().map(|segment| json!([segment.count, segment.hash]));
    said["segments"] = pieces.collect();
    said
}

fn count_by(lines: &[&Line], member: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.event[member].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    counts
}

fn without(mut value: Value, members: &[&str]) -> Value {
    for member in members {
        assert!(value.as_object_mut().unwrap().remove(*member).is_some(), "there is no {member}: {value}");
    }
    value
}

/// The program on a store: `list`, a dry run and `export`. What it says is given back, but for positions and times of
/// storing, for comparing with what it says of another store.
fn check_program(home: &Path, store: &str, wanted: &Wanted, expected: &[&Line]) -> Vec<Value> {
    let limit = wanted.limit.unwrap_or(1_000_000).to_string();
    let run = |args: &[&str]| {
        let mut command = support::event_replay_at(home);
        command.args(args).args(["--store", store, "--limit", &limit]).args(wanted.flags());
        let output = support::run(&mut command);
        assert_eq!(output.status.code(), Some(0), "{command:?}: {}", support::text(&output.stderr));
        (support::text(&output.stdout), format!("{command:?}"))
    };
    let expected = &expected[..expected.len().min(wanted.limit.unwrap_or(usize::MAX))];
    let oldest: Vec<&str> = expected.iter().map(|line| line.id.as_str()).collect();

    let (listed, command) = run(&["list", "--output=ndjson", "--order=asc"]);
    let listed: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let ids: Vec<&str> = listed.iter().map(|stored| stored["event"]["id"].as_str().unwrap()).collect();
    assert_eq!(ids, oldest, "{command}");

    let all: &[&str] = if wanted.flags().is_empty() { &["--all"] } else { &[] };
    let (plan, command) = run(&[&["replay", "--dry-run", "--output=json", "--target=stdout"], all].concat());
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["totalEvents"], oldest.len(), "{command}");
    assert_eq!(plan["byType"], serde_json::to_value(count_by(expected, "type")).unwrap(), "{command}");

    let (exported, command) = run(&["export"]);
    let published = expected.iter().map(|line| line.json.as_str());
    assert!(exported.lines().eq(published), "{command}: other lines than were published");

    let mut said: Vec<Value> =
        listed.into_iter().map(|stored| without(stored, &["position", "storedAt"])).collect();
    said.push(without(plan, &["planHash", "mark"]));
    said
}

async fn compare(input: &[String], rounds: usize) {
    let mut random = fastrand::Rng::with_seed(support::seed());
    let lines: Vec<Line> = input.iter().map(|json| Line::read(json)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let memory = MemoryStore::default();
    let sqlite = SqliteStore::create(SqliteOptions::new(&path)).await.unwrap();
    let server = support::redis_server("filters on Redis").await;
    let redis = match &server {
        Some(server) => Some(RedisStore::create(RedisOptions::new(server.url())).await.unwrap()),
        None => None,
    };
    fill(&memory, input).await;
    fill(&sqlite, input).await;
    if let Some(redis) = &redis {
        fill(redis, input).await;
    }
    let mut matched = 0;
    for _ in 0..rounds {
        let wanted = Wanted::draw(&mut random, &lines);
        let expected: Vec<&Line> = lines.iter().filter(|line| wanted.accepts(line)).collect();
        matched += usize::from(!expected.is_empty());
        let page =
            *random.choice(&[1, 2, 3, 7, 100, 1000, 5000][usize::from(input.len() > 1000) * 4..]).unwrap();
        let plan = check_store("memory", &memory, &wanted, &expected, page).await;
        let on_file = check_store("sqlite", &sqlite, &wanted, &expected, page).await;
        assert_eq!(on_file, plan, "sqlite: {wanted:?}");
        let said = check_program(folder.path(), &format!("sqlite:{}", path.display()), &wanted, &expected);
        if let (Some(redis), Some(server)) = (&redis, &server) {
            let on_redis = check_store("redis", redis, &wanted, &expected, page).await;
            assert_eq!(on_redis, plan, "redis: {wanted:?}");
            let on_redis = check_program(folder.path(), &server.url(), &wanted, &expected);
            assert!(on_redis == said, "the program says something else of Redis: {wanted:?}");
        }
    }
    // Filters that match nothing prove little.
    assert!(matched * 3 > rounds, "only {matched} of {rounds} filters matched anything");
    println!("{rounds} filters over {} events, {matched} of them with matches", lines.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn random_filters_over_real_events_agree_with_the_input() {
    if let Some(input) = support::real_events() {
        compare(&input, support::rounds(30)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_filters_over_generated_events_agree_with_the_input() {
    compare(&support::demo_events(50_000), support::rounds(30)).await;
}
