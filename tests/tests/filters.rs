//! Random filters over real and generated events. Each store, and the program on a file and on servers, must agree with
//! an oracle that reads only the input, and with each other.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;
#[path = "support/wanted.rs"]
mod wanted;

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::Arc,
};

use domain::{
    Event, Filter,
    ports::{
        AppendOutcome, Atomicity, CheckpointStore, EventStore, Order, ReadRequest, ReplayStore, SystemClock,
    },
};
use replay::{PlanRequest, ReplayManager};
use serde_json::{Value, json};
use servers::Binary;
use storage_memory::MemoryEngine;
use storage_redis::{RedisEngine, RedisOptions};
use storage_sqlite::{SqliteEngine, SqliteOptions};
use store::Store;
use support::{
    admitted,
    consumers::{Keeper, Servers},
};
use wanted::{Line, Wanted};

async fn fill<S: EventStore + ReplayStore>(store: &S, input: &[String]) {
    let events: Vec<Event> = input.iter().map(|json| admitted(json)).collect();
    let mut positions = Vec::new();
    // Batches have an uneven size, so that the index is folded at uneven places. Each batch fits the limits of every
    // store.
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

/// Returns the ids that a store lists, page by page.
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

/// Checks the reads, the count and the plan of a store against the oracle. Returns the other members of the plan
/// without positions, to compare them with another store.
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

/// Runs the program on a store: `list`, a dry run and `export`. Returns its output without positions and stored times,
/// to compare it with another store.
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

/// A store on servers, with the events in the order of its log.
struct OnServers<'l> {
    name: String,
    /// The servers run while this value exists.
    _servers: Servers,
    store: Store,
    url: String,
    lines: Vec<&'l Line>,
}

/// Returns a store on one server. With real events or in a full run, also returns stores on sentinels and on a cluster.
async fn servers<'l>(lines: &'l [Line], input: &[String]) -> Vec<OnServers<'l>> {
    let binary = Binary::default();
    if binary.major() == 0 {
        println!("NOT RUN: filters on Redis, there is no redis-server");
        return Vec::new();
    }
    let mut keepers = vec![Keeper::Redis(binary.clone())];
    if support::is_full_run() || input.len() < 1_000 {
        keepers.extend([Keeper::Sentinel(binary.clone()), Keeper::Cluster(binary)]);
    }
    let mut all = Vec::new();
    for keeper in keepers {
        let servers = Servers::start(&keeper).await;
        let url = servers.url().unwrap();
        let store = RedisEngine::create(RedisOptions::new(&url)).await.map(Store::new).unwrap();
        fill(&store, input).await;
        let everything = Arc::new(Filter::default());
        let order = list(&store, &everything, Order::OldestFirst, 1_000, usize::MAX).await;
        let by_id: HashMap<&str, &Line> = lines.iter().map(|line| (line.id.as_str(), line)).collect();
        let in_order: Vec<&Line> = order.iter().map(|id| by_id[id.as_str()]).collect();
        assert_eq!(in_order.len(), lines.len(), "{keeper}");
        keys_keep_their_order(&keeper, &in_order, lines);
        all.push(OnServers { name: keeper.to_string(), _servers: servers, store, url, lines: in_order });
    }
    all
}

/// With one partition, the log has the order of the input. With several partitions, only the events of each key have an
/// order.
fn keys_keep_their_order(keeper: &Keeper, in_order: &[&Line], lines: &[Line]) {
    let by_key = |lines: &mut dyn Iterator<Item = &Line>| {
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for line in lines {
            let event = admitted(&line.json);
            keys.entry(event.ordering_key().to_string()).or_default().push(line.id.clone());
        }
        keys
    };
    assert_eq!(by_key(&mut in_order.iter().copied()), by_key(&mut lines.iter()), "{keeper}");
    if !matches!(keeper, Keeper::Cluster(_)) {
        assert!(in_order.iter().map(|line| &line.id).eq(lines.iter().map(|line| &line.id)), "{keeper}");
    }
}

async fn compare(input: &[String], rounds: usize) {
    let mut random = fastrand::Rng::with_seed(support::seed());
    let lines: Vec<Line> = input.iter().map(|json| Line::read(json)).collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let memory = Store::new(MemoryEngine::default());
    let sqlite = SqliteEngine::create(SqliteOptions::new(&path)).await.map(Store::new).unwrap();
    fill(&memory, input).await;
    fill(&sqlite, input).await;
    let servers = servers(&lines, input).await;
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
        for on in &servers {
            let expected: Vec<&Line> = on.lines.iter().copied().filter(|line| wanted.accepts(line)).collect();
            let on_server = check_store(&on.name, &on.store, &wanted, &expected, page).await;
            let said_of_it = check_program(folder.path(), &on.url, &wanted, &expected);
            if on.store.partition_count() == 1 {
                assert_eq!(on_server, plan, "{}: {wanted:?}", on.name);
                assert!(said_of_it == said, "the program says something else of {}: {wanted:?}", on.name);
            }
        }
    }
    // Filters without matches prove little.
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
    let events = if support::is_full_run() { 50_000 } else { 10_000 };
    compare(&support::demo_events(events), support::rounds(30)).await;
}
