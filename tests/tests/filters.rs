//! Random filters over real and generated events: every store, and the program, must agree with an oracle that reads
//! the input alone.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use domain::{
    Document, Entity, Filter, Limits, TypePattern,
    ports::{Atomicity, CheckpointStore, EventStore, Order, ReadRequest, ReplayStore, SystemClock},
};
use jiff::Timestamp;
use replay::{PlanRequest, ReplayManager};
use serde_json::Value;
use storage_memory::MemoryStore;
use storage_sqlite::{SqliteOptions, SqliteStore};

/// A filter in the test's own words.
#[derive(Debug, Clone, Default)]
struct Wanted {
    types: Vec<String>,
    sources: Vec<String>,
    correlations: Vec<String>,
    entities: Vec<(String, String)>,
    ids: Vec<String>,
    from: Option<String>,
    to: Option<String>,
    condition: Option<Question>,
    limit: Option<usize>,
}

/// A condition, and what it means.
#[derive(Debug, Clone, Copy)]
struct Question {
    text: &'static str,
    answer: fn(&Value) -> bool,
}

const QUESTIONS: &[Question] = &[
    Question {
        text: "data.amount > 100.0",
        answer: |event| event["data"]["amount"].as_f64().is_some_and(|n| n > 100.0),
    },
    Question {
        text: "data.status == 'active' || data.action == 'created'",
        answer: |event| event["data"]["status"] == "active" || event["data"]["action"] == "created",
    },
    Question { text: "has(data.sender)", answer: |event| event["data"].get("sender").is_some() },
    Question {
        text: "source.endsWith('-service')",
        answer: |event| event["source"].as_str().unwrap().ends_with("-service"),
    },
];

/// The oracle's event: what the input says, and when that was.
struct Line {
    id: String,
    event: Value,
    at: Timestamp,
}

impl Wanted {
    fn draw(random: &mut fastrand::Rng, lines: &[Line]) -> Self {
        let mut wanted = Self::default();
        let text = |line: &Line, member: &str| line.event[member].as_str().map(str::to_owned);
        let some = |random: &mut fastrand::Rng| random.u8(..10) < 3;
        let mut line = {
            let mut random = random.fork();
            move || random.choice(lines).unwrap()
        };
        if some(random) {
            for _ in 0..random.usize(1..4) {
                let event_type = text(line(), "type").unwrap();
                let (first, _) = event_type.split_once('.').unwrap_or((&event_type, ""));
                let last = event_type.rsplit('.').next().unwrap();
                wanted.types.push(match random.u8(..5) {
                    0 => format!("{first}.*"),
                    1 => format!("*.{last}"),
                    2 => "no.such.type".to_owned(),
                    _ => event_type.clone(),
                });
            }
        }
        if some(random) {
            wanted.sources.extend((0..random.usize(1..3)).filter_map(|_| text(line(), "source")));
        }
        if some(random) {
            wanted
                .correlations
                .extend((0..random.usize(1..30)).filter_map(|_| text(line(), "correlationId")));
        }
        if some(random) {
            for _ in 0..random.usize(1..4) {
                wanted.entities.extend(entities(&line().event).choose_some(random));
            }
        }
        if random.u8(..10) == 0 {
            wanted.ids.extend((0..random.usize(1..200)).map(|_| line().id.clone()));
        }
        if some(random) {
            wanted.from = text(line(), "timestamp");
        }
        if some(random) {
            wanted.to = text(line(), "timestamp");
        }
        if let (Some(from), Some(to)) = (&wanted.from, &wanted.to)
            && from.parse::<Timestamp>().unwrap() > to.parse().unwrap()
        {
            std::mem::swap(&mut wanted.from, &mut wanted.to);
        }
        if random.u8(..10) < 2 {
            wanted.condition = random.choice(QUESTIONS).copied();
        }
        if random.bool() {
            wanted.limit = Some(random.usize(1..500));
        }
        wanted
    }

    /// The definition, on parsed JSON.
    fn accepts(&self, line: &Line) -> bool {
        let one_of = |allowed: &[String], member: &str| {
            allowed.is_empty()
                || line.event[member].as_str().is_some_and(|text| allowed.iter().any(|one| one == text))
        };
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (kind, id) in &self.entities {
            kinds.entry(kind).or_default().push(id);
        }
        let bound = |text: &Option<String>| text.as_ref().map(|text| text.parse::<Timestamp>().unwrap());
        let event_type: Vec<char> = line.event["type"].as_str().unwrap().chars().collect();
        (self.types.is_empty()
            || self.types.iter().any(|pattern| glob(&pattern.chars().collect::<Vec<_>>(), &event_type)))
            && one_of(&self.sources, "source")
            && one_of(&self.correlations, "correlationId")
            && one_of(&self.ids, "id")
            && kinds.iter().all(|(kind, ids)| {
                line.event[format!("{kind}Id")].as_str().is_some_and(|id| ids.contains(&id))
            })
            && bound(&self.from).is_none_or(|from| line.at >= from)
            && bound(&self.to).is_none_or(|to| line.at <= to)
            && self.condition.is_none_or(|question| (question.answer)(&line.event))
    }

    fn filter(&self) -> Arc<Filter> {
        let bound = |text: &Option<String>| text.as_ref().map(|text| text.parse().unwrap());
        let mut filter = Filter {
            types: self.types.iter().map(TypePattern::new).collect(),
            sources: self.sources.iter().cloned().collect(),
            correlation_ids: self.correlations.iter().cloned().collect(),
            event_ids: self.ids.iter().cloned().collect(),
            from: bound(&self.from),
            to: bound(&self.to),
            condition: self.condition.map(|question| conditions::compile(question.text).unwrap()),
            ..Filter::default()
        };
        for (kind, id) in &self.entities {
            filter.add_entity(Entity::new(kind, id));
        }
        Arc::new(filter)
    }

    /// The same filter as flags of the program.
    fn flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: &str| flags.push(format!("{flag}={value}"));
        self.types.iter().for_each(|one| add("--type", one));
        self.sources.iter().for_each(|one| add("--source", one));
        self.correlations.iter().for_each(|one| add("--correlation-id", one));
        for (kind, id) in &self.entities {
            match kind.as_str() {
                "user" | "course" | "lab" => add(&format!("--{kind}-id"), id),
                _ => add("--entity", &format!("{kind}={id}")),
            }
        }
        self.ids.iter().for_each(|one| add("--event-id", one));
        self.from.iter().for_each(|one| add("--from", one));
        self.to.iter().for_each(|one| add("--to", one));
        self.condition.iter().for_each(|question| add("--where", question.text));
        flags
    }
}

/// Entities by the rule of the event format: top-level members that end in `Id` and hold text.
fn entities(event: &Value) -> Vec<(String, String)> {
    let members = event.as_object().unwrap().iter();
    members
        .filter(|(name, _)| !["correlationId", "causationId"].contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.strip_suffix("Id")?.to_owned(), value.as_str()?.to_owned())))
        .collect()
}

trait ChooseSome {
    fn choose_some(self, random: &mut fastrand::Rng) -> Vec<(String, String)>;
}

impl ChooseSome for Vec<(String, String)> {
    fn choose_some(mut self, random: &mut fastrand::Rng) -> Vec<(String, String)> {
        if self.is_empty() { self } else { vec![self.swap_remove(random.usize(..self.len()))] }
    }
}

fn glob(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', rest @ ..] => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        [one, rest @ ..] => text.first() == Some(one) && glob(rest, &text[1..]),
    }
}

fn lines(input: &[String]) -> Vec<Line> {
    input
        .iter()
        .map(|json| {
            let event: Value = serde_json::from_str(json).unwrap();
            let at = event["timestamp"].as_str().unwrap().parse().unwrap();
            Line { id: event["id"].as_str().unwrap().to_owned(), event, at }
        })
        .collect()
}

async fn fill(store: &impl EventStore, input: &[String]) {
    let limits = Limits::default();
    let events: Vec<_> = input
        .iter()
        .map(|json| Document::parse(json.as_bytes(), &limits).unwrap().into_event().unwrap())
        .collect();
    // Uneven batches, so that the index is folded at uneven places.
    for batch in events.chunks(317) {
        store.append(batch, Atomicity::Each).await.unwrap();
    }
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

async fn check_store<S>(name: &str, store: &S, wanted: &Wanted, expected: &[&Line], page: usize)
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
}

fn count_by(lines: &[&Line], member: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts.entry(line.event[member].as_str().unwrap().to_owned()).or_insert(0) += 1;
    }
    counts
}

/// The program on the same file: `list` and a dry run.
fn check_program(store: &Path, wanted: &Wanted, expected: &[&Line]) {
    let limit = wanted.limit.unwrap_or(1_000_000).to_string();
    let mut command = support::event_replay(store);
    command.args(["list", "--output=ndjson", "--order=asc", "--limit", &limit]).args(wanted.flags());
    let output = support::run(&mut command);
    assert_eq!(output.status.code(), Some(0), "{command:?}: {}", support::text(&output.stderr));
    let listed: Vec<String> = support::text(&output.stdout)
        .lines()
        .map(|line| {
            let stored: Value = serde_json::from_str(line).unwrap();
            stored["event"]["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let oldest: Vec<&str> =
        expected.iter().take(wanted.limit.unwrap_or(usize::MAX)).map(|line| line.id.as_str()).collect();
    assert_eq!(listed, oldest, "{command:?}");

    let mut command = support::event_replay(store);
    command
        .args(["replay", "--dry-run", "--output=json", "--target=stdout", "--limit", &limit])
        .args(wanted.flags());
    if wanted.flags().is_empty() {
        command.arg("--all");
    }
    let output = support::run(&mut command);
    assert_eq!(output.status.code(), Some(0), "{command:?}: {}", support::text(&output.stderr));
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(plan["totalEvents"], oldest.len(), "{command:?}");
    let planned = &expected[..oldest.len()];
    assert_eq!(plan["byType"], serde_json::to_value(count_by(planned, "type")).unwrap(), "{command:?}");
}

async fn compare(input: &[String], rounds: usize) {
    let mut random = fastrand::Rng::with_seed(support::seed());
    let lines = lines(input);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.db");
    let memory = MemoryStore::default();
    let sqlite = SqliteStore::create(SqliteOptions::new(&path)).await.unwrap();
    fill(&memory, input).await;
    fill(&sqlite, input).await;
    let mut matched = 0;
    for _ in 0..rounds {
        let wanted = Wanted::draw(&mut random, &lines);
        let expected: Vec<&Line> = lines.iter().filter(|line| wanted.accepts(line)).collect();
        matched += usize::from(!expected.is_empty());
        let page =
            *random.choice(&[1, 2, 3, 7, 100, 1000, 5000][usize::from(input.len() > 1000) * 4..]).unwrap();
        check_store("memory", &memory, &wanted, &expected, page).await;
        check_store("sqlite", &sqlite, &wanted, &expected, page).await;
        check_program(&path, &wanted, &expected);
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
