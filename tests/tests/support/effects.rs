//! The effects of the consumers of a group, checked against the published events: the laws of delivery. The check reads
//! an effects file, and shares no code with the bus. It knows only the number of each process, and whether it was
//! killed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

/// Maximum number of open deliveries of one process: in handlers, or handled and not committed.
const OPEN: u32 = 100;
/// Number of concurrent handlers of a process.
const HANDLERS: u32 = 8;

/// The action of a handler for an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Does {
    Works,
    FailsOnce,
    Fails,
    Aborts,
}

/// An event of the test: event number `n` of its key.
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

/// Returns events of many keys in the order in which they are published.
pub(crate) fn workload(rng: &mut fastrand::Rng, events: usize, keys: usize) -> Vec<Planned> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    (0..events)
        .map(|at| {
            // One key has more events than the others, as in production.
            let key = if rng.u32(..50) == 0 { "hot".to_owned() } else { format!("k{}", rng.usize(..keys)) };
            let n = counts.entry(key.clone()).or_default();
            *n += 1;
            let does = match rng.u32(..1000) {
                0 => Does::Fails,
                1..=10 => Does::FailsOnce,
                // There is at least one event of each kind, even in a small workload.
                _ if at == 10 => Does::Fails,
                _ if at == 20 => Does::FailsOnce,
                _ => Does::Works,
            };
            // The time is long enough that every process has deliveries in flight when it is killed.
            let takes_ms = match rng.u32(..10) {
                0..2 => 0,
                2..9 => rng.u64(1..50),
                _ => rng.u64(50..80),
            };
            Planned { key, n: *n - 1, does, takes_ms }
        })
        .collect()
}

/// A line of the effects file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) process: u32,
    pub(crate) what: String,
    pub(crate) id: String,
    pub(crate) attempt: u32,
    pub(crate) origin: String,
    pub(crate) late: bool,
}

/// Returns all lines. A last line without a line end is omitted, because a process still writes it.
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

/// The findings of the checker.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<String>,
    pub(crate) repeats: u32,
    pub(crate) late: u32,
    pub(crate) lapses: u32,
}

impl Verdict {
    /// Panics if a law was violated, and shows the first violations.
    pub(crate) fn expect_none(&self) {
        let few: Vec<&String> = self.violations.iter().take(20).collect();
        assert!(self.violations.is_empty(), "{} violations: {few:#?}", self.violations.len());
    }
}

/// The progress of a key.
#[derive(Default)]
struct Progress {
    /// The last event that reached a handler, and whether it is finished.
    at: Option<usize>,
    over: bool,
    /// The number of attempts of each event, and the process that handled it last.
    tried: HashMap<usize, u32>,
    handled: BTreeMap<usize, u32>,
}

/// Checks effects against the published events. `killed` contains the processes that ended during their work.
pub(crate) fn check(
    planned: &[Planned],
    lines: &[Line],
    killed: &BTreeSet<u32>,
    dead: &BTreeSet<String>,
) -> Verdict {
    check_without(planned, &BTreeSet::new(), lines, killed, dead)
}

/// Checks effects if some events are no longer in the log. Their earlier handling is not checked.
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
    // Replayed events are mixed with live events, and have their own order.
    for line in lines.iter().filter(|line| line.origin != "replay") {
        if line.id.is_empty() {
            // All segments that are lost with an expired lease count as one end.
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
    // Commits were lost together with events. Consumers keep up with publishers, so about as many commits were lost as
    // events.
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
    /// Applies a line. Returns the process that handled the event before, if there is one.
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
        // An event that always fails is finished when the group gives up on it. No handler sees that moment.
        self.over = handled || event.does == Does::Fails;
        Ok(if handled { self.handled.insert(event.n, line.process) } else { None })
    }
}
