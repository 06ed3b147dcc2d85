//! Interleaves workflows into one stream of events.
//!
//! # Design
//! Event `k` of `n` has a timestamp near `start + span * k / n`. Each turn draws one of a few dozen open workflows and
//! writes its next event, or begins another workflow.
//!
//! A workflow begins only if there is room for all its events before the end. So a run leaves no workflow open, and
//! memory grows with workflows and users, not with events.
//!
//! An invalid event stands for a publisher's failed first try, with a separate id. The workflow continues as if the
//! event did not exist.

use jiff::Timestamp;

use crate::{
    dice::Dice,
    encode::encode,
    expectation::Expectation,
    fact::Fact,
    fault::Fault,
    ident::Ident,
    script::{self, LANDMARKS, Landmark, Script, Step},
    settings::Settings,
    vocabulary as words,
    workflow::{Cast, Last, Workflow},
};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;
/// The range of years that RFC 3339 can express: 0001-01-01 to 9999-12-01.
const EARLIEST_MS: i64 = -62_135_596_800_000;
const LATEST_MS: i64 = 253_399_622_400_000;
const MOST_OPEN: u64 = 48;
const MAX_JITTER_MS: u64 = 3_000;
/// The user `user-123` of the documentation.
const KNOWN_USER: u32 = 123 - words::FIRST_USER;
const FIRST_COURSES: u32 = 12;
const MOST_COURSES: u32 = 2_000;
const FIRST_LABS: u32 = 20;
const MOST_LABS: u32 = 2_000;
const FIRST_PATHS: u32 = 6;
const MOST_PATHS: u32 = 500;

/// One generated event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The event as one compact line of JSON, without a line feed.
    pub json: String,
    /// Whether the event is valid.
    pub validity: Validity,
}

/// The result that a validator must give for an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Validity {
    /// The event has no violation.
    Valid,
    /// The event has one violation.
    Invalid {
        /// JSON pointer to the wrong member, or to the place of a missing one. Empty for the whole event.
        pointer: String,
        /// The broken rule:
        /// - `required`: a member is missing or null.
        /// - `type`: a member has another JSON type.
        /// - `schema`: the event type is unknown.
        /// - `date-time`: the timestamp is not valid.
        /// - `limit`: the id is empty or too long.
        /// - `json`: the line is not JSON, or has a member twice.
        rule: &'static str,
    },
}

/// The stream of events that [`Settings`] describe.
///
/// ```
/// use event_replay_generator::{Generator, Settings};
/// let lines: Vec<String> = Generator::new(Settings::demo(1000)).map(|event| event.json).collect();
/// assert_eq!(lines.len(), 1000);
/// assert!(lines.iter().any(|line| line.starts_with(r#"{"id":"event-456789","#)));
/// ```
#[derive(Debug, Clone)]
pub struct Generator {
    dice: Dice,
    events: u64,
    invalid_per_mille: u64,
    start_ms: i64,
    span_ms: i64,
    /// The part of the span for one event, in milliseconds.
    pace_ms: u64,

    made: u64,
    invalid: u64,
    begun: u64,
    landmarks: &'static [Landmark],
    open: Vec<Workflow>,
    /// Events that the open workflows have left.
    promised: u64,
    last_ms: i64,

    /// The number of registered users. Users with lower numbers may act, and the others register later.
    known_users: u32,
    users: u32,
    courses: u32,
    labs: u32,
    paths: u32,
    expectation: Expectation,
}

impl Generator {
    /// Creates a generator at its first event.
    pub fn new(settings: Settings) -> Self {
        let start_ms = settings.start.as_millisecond().clamp(EARLIEST_MS, LATEST_MS);
        let span_ms = i64::try_from(settings.span.as_millis()).unwrap_or(i64::MAX).min(LATEST_MS - start_ms);
        let users = settings.users.max(Settings::MIN_USERS);
        Self {
            dice: Dice::new(settings.seed),
            events: settings.events,
            invalid_per_mille: u64::from(settings.invalid_per_thousand).min(500),
            start_ms,
            span_ms,
            pace_ms: span_ms as u64 / settings.events.max(1),
            made: 0,
            invalid: 0,
            begun: 0,
            landmarks: &LANDMARKS,
            open: Vec::new(),
            promised: 0,
            last_ms: start_ms,
            known_users: users / 2,
            users,
            courses: FIRST_COURSES,
            labs: FIRST_LABS,
            paths: FIRST_PATHS,
            expectation: Expectation::default(),
        }
    }

    /// The read model that must result from the valid events up to now.
    pub fn expectation(&self) -> &Expectation {
        &self.expectation
    }

    /// The number of invalid events up to now.
    pub fn invalid_events(&self) -> u64 {
        self.invalid
    }

    /// The number of open workflows. The memory of a generator grows with this number and with its users.
    pub fn open_workflows(&self) -> usize {
        self.open.len()
    }

    /// The timestamp of the last valid event.
    pub fn last_timestamp(&self) -> Timestamp {
        Timestamp::from_millisecond(self.last_ms).unwrap_or_default()
    }

    /// Returns the number of events that fit beyond the events of the open workflows.
    fn room(&self) -> u64 {
        self.events.saturating_sub(self.made + self.promised)
    }

    /// Returns the index of the open workflow whose turn it is. Begins a workflow first if one is due.
    fn turn(&mut self) -> usize {
        if let Some((mark, rest)) = self.landmarks.split_first()
            && self.made * 1000 >= self.events * mark.per_mille
            && self.room() > 0
        {
            self.landmarks = rest;
            return self.begin_landmark(mark);
        }
        let most_open = (self.events / 20).clamp(4, MOST_OPEN);
        let may_begin = self.room() > 0 && (self.open.len() as u64) < most_open;
        if self.open.is_empty() || (may_begin && self.dice.one_in(3)) {
            return self.begin_drawn();
        }
        self.dice.below(self.open.len() as u64) as usize
    }

    fn begin_landmark(&mut self, mark: &Landmark) -> usize {
        let correlation = mark.correlation.map_or_else(|| Ident::random(&mut self.dice), Ident::Named);
        let mut cast = self.cast(mark.script);
        cast.user = KNOWN_USER;
        self.begin(mark.script, correlation, cast, mark.first_id.map(Ident::Named))
    }

    fn begin_drawn(&mut self) -> usize {
        let mut script = script::draw(self.begun, &mut self.dice);
        self.begun += 1;
        if script.contains(&Step::Registered) && self.known_users >= self.users {
            script = script::NOBODY_LEFT;
        }
        let correlation = Ident::random(&mut self.dice);
        let cast = self.cast(script);
        self.begin(script, correlation, cast, None)
    }

    fn begin(&mut self, script: Script, correlation: Ident, cast: Cast, first_id: Option<Ident>) -> usize {
        let mut workflow = Workflow::new(script, self.room(), correlation, cast);
        workflow.next_id = first_id;
        self.promised += workflow.left();
        self.open.push(workflow);
        self.open.len() - 1
    }

    /// Draws the entities of a workflow. Users that register and entities that are created in the workflow are new.
    fn cast(&mut self, script: Script) -> Cast {
        let creates = |step: Step| script.contains(&step);
        let dice = &mut self.dice;
        let mut among = |count: &mut u32, most: u32, new: bool| {
            if new {
                *count = count.saturating_add(1);
                *count - 1
            } else {
                dice.skewed((*count).min(most).into()) as u32
            }
        };
        let registers = creates(Step::Registered) && self.known_users < self.users;
        Cast {
            user: among(&mut self.known_users, u32::MAX, registers),
            course: among(&mut self.courses, MOST_COURSES, creates(Step::CourseCreated)),
            lab: among(&mut self.labs, MOST_LABS, creates(Step::LabCreated)),
            path: among(&mut self.paths, MOST_PATHS, creates(Step::PathCreated)),
            instructor: self.dice.below(40) as u32 + 1,
            admin: self.dice.below(5) as u32 + 1,
            plan: self.dice.below(words::PLANS.len() as u64) as usize,
            subscription: self.dice.bits(),
            session: self.dice.bits(),
        }
    }

    /// Returns the timestamp of a workflow's next event, in milliseconds of the Unix epoch.
    fn time(&mut self, before: Option<i64>) -> i64 {
        let passed = i128::from(self.span_ms) * i128::from(self.made) / i128::from(self.events.max(1));
        let nominal = self.start_ms + passed as i64;
        let late = before.is_none() && self.dice.per_mille(4);
        let at = if late {
            let days_late = DAY_MS + self.dice.below(4 * DAY_MS as u64) as i64;
            nominal - days_late.min(passed as i64 / 2)
        } else if self.dice.per_mille(20) {
            self.last_ms
        } else {
            nominal + self.dice.below((self.pace_ms * 2).clamp(1, MAX_JITTER_MS)) as i64
        };
        let earliest = before.map_or(self.start_ms, |before| before + 1);
        at.max(earliest).min(self.start_ms + self.span_ms)
    }

    /// Decides the next event of an open workflow, without advancing the workflow.
    fn fact(&mut self, at: usize, named: bool) -> Option<Fact> {
        let last = self.open.get(at)?.last;
        let at_ms = self.time(last.map(|last| last.at_ms));
        let workflow = self.open.get_mut(at)?;
        let detail = workflow.next_detail(&mut self.dice)?;
        let id = workflow.next_id.filter(|_| named).unwrap_or_else(|| Ident::timed(at_ms, &mut self.dice));
        Some(Fact { id, at_ms, correlation: workflow.correlation, cause: last.map(|last| last.id), detail })
    }

    fn make_invalid(&mut self, at: usize) -> Option<Generated> {
        let fact = self.fact(at, false)?;
        let fault = Fault::of(self.invalid);
        self.invalid += 1;
        self.made += 1;
        Some(encode(&fact, Some(fault), &mut self.dice))
    }

    fn make_valid(&mut self, at: usize) -> Option<Generated> {
        let fact = self.fact(at, true)?;
        let workflow = self.open.get_mut(at)?;
        workflow.advance(Last { id: fact.id, at_ms: fact.at_ms, kind: fact.detail.kind() });
        if workflow.left() == 0 {
            self.open.swap_remove(at);
        }
        self.promised -= 1;
        self.made += 1;
        self.last_ms = fact.at_ms;
        self.expectation.note(&fact);
        Some(encode(&fact, None, &mut self.dice))
    }
}

impl Iterator for Generator {
    type Item = Generated;

    fn next(&mut self) -> Option<Generated> {
        if self.made >= self.events {
            return None;
        }
        let at = self.turn();
        if self.room() > 0 && self.dice.per_mille(self.invalid_per_mille) {
            self.make_invalid(at)
        } else {
            self.make_valid(at)
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.events - self.made);
        (left.unwrap_or(usize::MAX), left.ok())
    }
}
