//! What consumers of a group did, held against what was published: the laws of delivery, read off a file of effects. It
//! shares no code with the bus, and knows of a process only its number and whether it was killed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

/// Deliveries that may be open in one process: with handlers, or answered and not committed.
const OPEN: u32 = 100;
/// Handlers of a process at once.
const HANDLERS: u32 = 8;

/// What a handler does with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    Works,
    FailsOnce,
    Fails,
    Aborts,
}

/// An event of the test: the `n`th of its key.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) key: String,
    pub(crate) n: usize,
    pub(crate) does: Does,
    pub(crate) takes_ms: u64,
}

impl Planned {
    pub(crate) fn id(&self) -> String {
        format!("{}-{}", self.key, self.n)
    }

    pub(crate) fn json(&self) -> String {
        let does = match self.does {
            Does::Works => "works",
            Does::FailsOnce => "failsOnce",
            Does::Fails => "fails",
            Does::Aborts => "aborts",
        };
        let (id, key, takes) = (self.id(), &self.key, self.takes_ms);
        format!(
            r#"{{"id":"{id}","type":"work.item","version":"1.0","timestamp":"2026-01-01T00:00:00Z","source":"test","userId":"{key}","metadata":{{}},"data":{{"does":"{does}","takesMs":{takes}}}}}"#
        )
    }
}

/// Events of many keys in the order in which they are published.
pub(crate) fn workload(rng: &mut fastrand::Rng, events: usize, keys: usize) -> Vec<Planned> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    (0..events)
        .map(|at| {
            // One key has more than its share, as in life.
            let key = if rng.u32(..50) == 0 { "hot".to_owned() } else { format!("k{}", rng.usize(..keys)) };
            let n = counts.entry(key.clone()).or_default();
            *n += 1;
            let does = match rng.u32(..1000) {
                0 => Does::Fails,
                1..=10 => Does::FailsOnce,
                // At least one of each, however few there are.
                _ if at == 10 => Does::Fails,
                _ if at == 20 => Does::FailsOnce,
                _ => Does::Works,
            };
            // Long enough that every process has some in hand whenever it is killed.
            let takes_ms = match rng.u32(..10) {
                0..2 => 0,
                2..9 => rng.u64(1..50),
                _ => rng.u64(50..80),
            };
            Planned { key, n: *n - 1, does, takes_ms }
        })
        .collect()
}

/// A line of the file of effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) process: u32,
    pub(crate) what: String,
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) origin: String,
    pub(crate) late: bool,
}

/// All lines so far; the last is left out as long as it is being written.
pub(crate) fn read(path: &Path) -> Vec<Line> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    whole.lines().map(|line| parse(line).unwrap_or_else(|| panic!("a torn line: {line:?}"))).collect()
}

fn parse(line: &str) -> Option<Line> {
    let words: Vec<&str> = line.split(' ').collect();
    let process = words[0].parse().ok()?;
    let line = |what: &str, id: &str| Line {
        process,
        what: what.to_owned(),
        id: id.to_owned(),
        attempt: 0,
        origin: String::new(),
        late: false,
    };
    match words.as_slice() {
        [_, what @ ("lapsed" | "lost")] => Some(line(what, "")),
        [_, what @ ("handled" | "failed"), id, attempt, origin, late @ ("0" | "1")] => Some(Line {
            attempt: attempt.parse().ok()?,
            origin: (*origin).to_owned(),
            late: *late == "1",
            ..line(what, id)
        }),
        _ => None,
    }
}

/// What the checker found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<String>,
    pub(crate) repeats: u32,
    pub(crate) late: u32,
    pub(crate) lapses: u32,
}

impl Verdict {
    /// Panics where a law was broken, with the first few that were.
    pub(crate) fn expect_none(&self) {
        let few: Vec<&String> = self.violations.iter().take(20).collect();
        assert!(self.violations.is_empty(), "{} violations: {few:#?}", self.violations.len());
    }
}

/// How far a key is.
#[derive(Default)]
struct Progress {
    /// The event that was last seen with a handler, and whether it is over.
    at: Option<usize>,
    over: bool,
    /// How often each event was tried, and who handled it last.
    tried: HashMap<usize, u32>,
    handled: BTreeMap<usize, u32>,
}

/// Holds effects against what was published. `killed`: processes that ended in the middle of things.
pub(crate) fn check(
    planned: &[Planned],
    lines: &[Line],
    killed: &BTreeSet<u32>,
    dead: &BTreeSet<String>,
) -> Verdict {
    check_without(planned, &BTreeSet::new(), lines, killed, dead)
}

/// The same where some events are in the log no more: whether they were handled before that is not checked.
pub(crate) fn check_without(
    planned: &[Planned],
    lost: &BTreeSet<String>,
    lines: &[Line],
    killed: &BTreeSet<u32>,
    dead: &BTreeSet<String>,
) -> Verdict {
    let by_id: HashMap<String, &Planned> = planned.iter().map(|event| (event.id(), event)).collect();
    let mut keys: HashMap<&str, Progress> = HashMap::new();
    let (mut verdict, mut blamed, mut lapses) = (Verdict::default(), BTreeMap::new(), BTreeMap::new());
    let mut late: BTreeMap<u32, u32> = BTreeMap::new();
    // What is replayed comes in between what is live, in an order of its own.
    for line in lines.iter().filter(|line| line.origin != "replay") {
        if line.id.is_empty() {
            // Where a lease ran out, what is lost with it is one end, however many segments that are.
            let ends = lapses.entry(line.process).or_insert(0_u32);
            *ends = if line.what == "lapsed" { *ends + 1 } else { (*ends).max(1) };
            continue;
        }
        let Some(event) = by_id.get(&line.id) else {
            verdict.violations.push(format!("{} was never published", line.id));
            continue;
        };
        if lost.contains(&line.id) {
            continue;
        }
        let progress = keys.entry(&event.key).or_default();
        match progress.take(event, line, lost) {
            Ok(repeated) => {
                if let Some(process) = repeated {
                    verdict.repeats += 1;
                    *blamed.entry(process).or_insert(0_u32) += 1;
                }
            }
            Err(_) if line.late => *late.entry(line.process).or_insert(0) += 1,
            Err(violation) => verdict.violations.push(violation),
        }
    }
    verdict.late = late.values().sum();
    verdict.lapses = lapses.values().sum();
    let allowed =
        |process: &u32| u32::from(killed.contains(process)) + lapses.get(process).copied().unwrap_or(0);
    // Commits were lost together with events. Consumers keep up with publishers, so they are of about as many.
    let committed_and_lost = lost.len() as u32;
    for (process, repeats) in blamed {
        if repeats > OPEN * allowed(&process) + committed_and_lost {
            let ends = allowed(&process);
            let what = format!("{repeats} events of process {process} came again, which ended {ends} times");
            verdict.violations.push(what);
        }
    }
    for (process, count) in late {
        if count > HANDLERS * allowed(&process) {
            verdict.violations.push(format!("process {process} did {count} things after its lease"));
        }
    }
    let must_die: BTreeSet<String> = planned
        .iter()
        .filter(|event| matches!(event.does, Does::Fails | Does::Aborts))
        .map(Planned::id)
        .filter(|id| !lost.contains(id))
        .collect();
    let dead: BTreeSet<String> = dead.difference(lost).cloned().collect();
    verdict.violations.extend(must_die.difference(&dead).map(|id| format!("{id} is not a dead letter")));
    verdict.violations.extend(dead.difference(&must_die).map(|id| format!("{id} is a dead letter")));
    for event in planned.iter().filter(|event| !lost.contains(&event.id())) {
        let times = keys.get(event.key.as_str()).and_then(|key| key.handled.get(&event.n));
        if times.is_none() != must_die.contains(&event.id()) {
            let what = if times.is_none() { "was lost" } else { "was handled, and must always fail" };
            verdict.violations.push(format!("{} {what}", event.id()));
        }
    }
    verdict
}

impl Progress {
    /// Takes a line in; who had handled the event before, if anyone had.
    fn take(&mut self, event: &Planned, line: &Line, lost: &BTreeSet<String>) -> Result<Option<u32>, String> {
        let is_lost = |n: &usize| lost.contains(&Planned { n: *n, ..event.clone() }.id());
        let mut next = self.at.map_or(0, |at| at + 1);
        while is_lost(&next) {
            next += 1;
        }
        let again = self.at == Some(event.n) && !self.over;
        let moves_on = event.n == next && (self.at.is_none() || self.over);
        if !again && !moves_on {
            let behind = next.saturating_sub(event.n) as u32;
            if event.n >= next {
                let at = self.at.map_or("nothing".to_owned(), |at| at.to_string());
                return Err(format!("{} came when {at} of its key was in hand", line.id));
            }
            if line.late || behind > OPEN {
                return Err(format!("{} came again {behind} events later", line.id));
            }
        }
        let tried = self.tried.entry(event.n).or_default();
        *tried += 1;
        self.at = Some(event.n);
        let handled = line.what == "handled";
        // An event that always fails is over when the group gives up on it, of which no handler is told.
        self.over = handled || event.does == Does::Fails;
        Ok(if handled { self.handled.insert(event.n, line.process) } else { None })
    }
}
