//! A batch of a replay on its way through the groups: which parts it has, and what came of each event.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{
    Cursor, Position,
    group::{LaneOrigin, LaneResult, NewLaneBatch, REMOVED},
};

use crate::record::TargetGroup;

/// An event of the plan, as much of it as a batch needs to remember.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) position: Position,
    pub(crate) id: Box<str>,
    pub(crate) event_type: Box<str>,
    /// For each group the segment that the event falls to; none where the group does not take its type.
    pub(crate) segments: Box<[Option<u16>]>,
}

/// One segment of one group, by the group's place among the plan's groups.
pub(crate) type Lane = (usize, u16);

/// What became of a part of a batch.
#[derive(Debug)]
pub(crate) enum Part {
    /// It is still to go into its lane.
    Unsent,
    /// It is in its lane, or its result has not been seen.
    Waiting,
    /// Its group is through with it.
    Answered(GroupResult),
    /// Its group was deleted.
    Deleted,
    /// It was taken out of its lane again, or was never in it.
    Withdrawn,
}

/// What a group made of its part: what is named neither here nor there was handled.
#[derive(Debug)]
pub(crate) struct GroupResult {
    handled: u64,
    failed: HashMap<u64, String>,
    skipped: HashSet<u64>,
}

/// What groups made of events that were erased since: the log does not say any more which they were.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    /// For each group how many it handled, failed and declined.
    pub(crate) of_groups: Vec<(u64, u64, u64)>,
    /// Events that some group handled, and none failed.
    pub(crate) handled: u64,
    /// What was said of each event that a group gave up on.
    pub(crate) failed: Vec<(usize, String)>,
    /// Events that every group declined that had them.
    pub(crate) skipped: u64,
}

impl Erased {
    /// How many events they are.
    pub(crate) fn events(&self) -> u64 {
        self.handled + self.failed.len() as u64 + self.skipped
    }
}

/// What a group made of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    Handled,
    Failed(&'a str),
    /// The event was erased or trimmed before the group had it.
    Removed,
    Declined,
    /// The replay was cancelled before the group had it.
    Withheld,
}

/// A batch.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) number: u64,
    /// Where it ends.
    pub(crate) through: Cursor,
    pub(crate) events: Vec<Reference>,
    /// Damaged events that were met on the way to its end.
    pub(crate) corrupt: u64,
    parts: BTreeMap<Lane, Part>,
    /// Whether another runner put it into its lanes, and its results were not asked for yet: where all of its events were erased
    /// since, nothing else tells what came of them.
    pub(crate) is_to_poll: bool,
}

impl Batch {
    pub(crate) fn new(number: u64, through: Cursor, events: Vec<Reference>, corrupt: u64) -> Self {
        let mut parts = BTreeMap::new();
        for event in &events {
            for lane in lanes(event) {
                parts.insert(lane, Part::Unsent);
            }
        }
        Self { number, through, events, corrupt, parts, is_to_poll: false }
    }

    /// The parts that are still to go into lanes, as references.
    pub(crate) fn unsent(&self, replay_id: &str, groups: &[TargetGroup]) -> Vec<(Lane, NewLaneBatch)> {
        let unsent = self.parts.iter().filter(|(_, part)| matches!(part, Part::Unsent));
        let mut batches: BTreeMap<Lane, NewLaneBatch> = unsent
            .filter_map(|(&(group, segment), _)| {
                let (replay_id, batch) = (replay_id.to_owned(), self.number);
                let new = NewLaneBatch {
                    group: groups.get(group)?.spec.name.clone(),
                    segment,
                    origin: LaneOrigin::Replay { replay_id, batch },
                    positions: Vec::new(),
                };
                Some(((group, segment), new))
            })
            .collect();
        for event in &self.events {
            for lane in lanes(event) {
                if let Some(new) = batches.get_mut(&lane) {
                    new.positions.push(event.position.sequence);
                }
            }
        }
        batches.into_iter().collect()
    }

    /// What became of a part, if there is such a part.
    pub(crate) fn set(&mut self, lane: Lane, part: Part) {
        if let Some(place) = self.parts.get_mut(&lane) {
            *place = part;
        }
    }

    /// Takes a group's answer in; whether it was news.
    pub(crate) fn answer(&mut self, group: usize, result: LaneResult) -> bool {
        // Where all events of a part were erased since, its result alone says that there was one.
        let part = self.parts.entry((group, result.segment)).or_insert(Part::Waiting);
        if !matches!(part, Part::Waiting | Part::Unsent) {
            return false;
        }
        let failed = result.failed.into_iter().collect();
        let skipped = result.skipped.into_iter().collect();
        *part = Part::Answered(GroupResult { handled: result.handled, failed, skipped });
        true
    }

    /// What groups made of events that the log does not have any more.
    pub(crate) fn erased(&self, groups: usize) -> Erased {
        let mut known: HashMap<Lane, HashSet<u64>> = HashMap::new();
        for event in &self.events {
            for lane in lanes(event) {
                known.entry(lane).or_default().insert(event.position.sequence);
            }
        }
        let mut erased = Erased { of_groups: vec![(0, 0, 0); groups], ..Erased::default() };
        // Of a group of segments in several partitions equal sequences are of different events.
        let (mut failed, mut skipped) = (BTreeMap::new(), HashSet::new());
        let nothing = HashSet::new();
        for ((group, segment), part) in &self.parts {
            let (Part::Answered(answer), Some(of_group)) = (part, erased.of_groups.get_mut(*group)) else {
                continue;
            };
            let known = known.get(&(*group, *segment)).unwrap_or(&nothing);
            let is_known = |sequence: &&u64| known.contains(*sequence);
            let answered = answer.failed.keys().chain(&answer.skipped).filter(is_known).count();
            of_group.0 += answer.handled.saturating_sub((known.len() - answered) as u64);
            let others =
                answer.failed.iter().filter(|(sequence, error)| !is_known(sequence) && *error != REMOVED);
            for (sequence, error) in others {
                of_group.1 += 1;
                failed.entry(*sequence).or_insert_with(|| (*group, error.clone()));
            }
            for sequence in answer.skipped.iter().filter(|sequence| !is_known(sequence)) {
                of_group.2 += 1;
                skipped.insert(*sequence);
            }
        }
        // What one group handled and another failed has failed; which events were handled is not known, only how many.
        let handled_of = |(group, (handled, ..)): (usize, &(u64, u64, u64))| {
            let elsewhere = failed.values().filter(|(other, _)| *other != group).count() as u64;
            handled.saturating_sub(elsewhere)
        };
        erased.handled = erased.of_groups.iter().enumerate().map(handled_of).max().unwrap_or(0);
        erased.skipped = skipped.iter().filter(|sequence| !failed.contains_key(*sequence)).count() as u64;
        erased.failed = failed.into_values().collect();
        erased
    }

    /// Applies a decision to every part without a result.
    pub(crate) fn decide(&mut self, decide: impl Fn(Lane) -> Option<Part>) {
        for (lane, part) in &mut self.parts {
            if matches!(part, Part::Waiting | Part::Unsent)
                && let Some(decided) = decide(*lane)
            {
                *part = decided;
            }
        }
    }

    /// The parts without a result.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Lane> {
        let open = |part: &Part| matches!(part, Part::Waiting | Part::Unsent);
        self.parts.iter().filter(move |(_, part)| open(part)).map(|(lane, _)| *lane)
    }

    /// Events that are with groups, as far as is known.
    pub(crate) fn with_groups(&self) -> u64 {
        let is_waiting = |lane: Lane| matches!(self.parts.get(&lane), Some(Part::Waiting));
        self.events.iter().filter(|event| lanes(event).any(is_waiting)).count() as u64
    }

    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.parts.values().any(|part| matches!(part, Part::Unsent))
    }

    /// Whether some part of it never reached its group.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.parts.values().any(|part| matches!(part, Part::Withdrawn))
    }

    /// Whether an event was erased or trimmed before any group had it.
    pub(crate) fn is_removed(&self, event: &Reference) -> bool {
        let mut outcomes = self.outcomes(event).filter(|outcome| *outcome != Outcome::Declined).peekable();
        outcomes.peek().is_some() && outcomes.all(|outcome| outcome == Outcome::Removed)
    }

    /// What each group made of an event, in the order of the groups.
    pub(crate) fn outcomes<'a>(&'a self, event: &'a Reference) -> impl Iterator<Item = Outcome<'a>> + 'a {
        let sequence = event.position.sequence;
        event.segments.iter().enumerate().map(move |(group, segment)| {
            let Some(segment) = segment else { return Outcome::Declined };
            match self.parts.get(&(group, *segment)) {
                Some(Part::Answered(answer)) => match answer.failed.get(&sequence) {
                    Some(error) if error == REMOVED => Outcome::Removed,
                    Some(error) => Outcome::Failed(error),
                    None if answer.skipped.contains(&sequence) => Outcome::Declined,
                    None => Outcome::Handled,
                },
                Some(Part::Deleted) | None => Outcome::Declined,
                Some(Part::Withdrawn | Part::Waiting | Part::Unsent) => Outcome::Withheld,
            }
        })
    }
}

fn lanes(event: &Reference) -> impl Iterator<Item = Lane> {
    event.segments.iter().enumerate().filter_map(|(group, segment)| Some((group, (*segment)?)))
}
