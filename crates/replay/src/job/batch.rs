//! A batch of a replay in the groups: its parts, and the outcome of each event.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{
    Cursor, Position,
    group::{LaneOrigin, LaneResult, NewLaneBatch, REMOVED},
};

use crate::record::TargetGroup;

/// The data of a planned event that a batch keeps.
#[derive(Debug)]
pub(crate) struct Reference {
    pub(crate) position: Position,
    pub(crate) id: Box<str>,
    pub(crate) event_type: Box<str>,
    /// For each group, the segment of the event. None means that the group does not take the event's type.
    pub(crate) segments: Box<[Option<u16>]>,
}

/// One segment of one group. The first number is the index of the group in the plan.
pub(crate) type Lane = (usize, u16);

/// The state of a part of a batch.
#[derive(Debug)]
pub(crate) enum Part {
    /// The part must still be put into its lane.
    Unsent,
    /// The part is in its lane, or its result has not been read.
    Waiting,
    /// The group has finished the part.
    Answered(GroupResult),
    /// The group was deleted.
    Deleted,
    /// The part was removed from its lane, or was never in it.
    Withdrawn,
}

/// The result of a group for its part. An event that is neither failed nor skipped was handled.
#[derive(Debug)]
pub(crate) struct GroupResult {
    handled: u64,
    failed: HashMap<u64, String>,
    skipped: HashSet<u64>,
}

/// The results for events that were erased meanwhile. The log can no longer name these events.
#[derive(Debug, Default)]
pub(crate) struct Erased {
    /// For each group, the numbers of handled, failed and skipped events.
    pub(crate) of_groups: Vec<(u64, u64, u64)>,
    /// Events that at least one group handled, and no group failed.
    pub(crate) handled: u64,
    /// The error of each event that a group gave up on, with the index of the group.
    pub(crate) failed: Vec<(usize, String)>,
    /// Events that every group with the event skipped.
    pub(crate) skipped: u64,
}

impl Erased {
    /// Returns the number of events.
    pub(crate) fn events(&self) -> u64 {
        self.handled + self.failed.len() as u64 + self.skipped
    }
}

/// The outcome of an event in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome<'a> {
    Handled,
    Failed(&'a str),
    /// The event was erased or trimmed before the group received it.
    Removed,
    Declined,
    /// The replay was cancelled before the group received the event.
    Withheld,
}

/// A batch of a replay.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) number: u64,
    /// The cursor at the end of the batch.
    pub(crate) through: Cursor,
    pub(crate) events: Vec<Reference>,
    /// The number of damaged events in the range of the batch.
    pub(crate) corrupt: u64,
    parts: BTreeMap<Lane, Part>,
    /// Whether another runner put the batch into its lanes, and its results were not read yet. If all of its events
    /// were erased meanwhile, only the results show their outcomes.
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

    /// Returns the parts that must still be put into lanes, as references.
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

    /// Sets the state of a part, if the batch has the part.
    pub(crate) fn set(&mut self, lane: Lane, part: Part) {
        if let Some(place) = self.parts.get_mut(&lane) {
            *place = part;
        }
    }

    /// Records the result of a group. Returns whether the result was new.
    pub(crate) fn answer(&mut self, group: usize, result: LaneResult) -> bool {
        // If all events of a part were erased, only its result shows that the part existed.
        let part = self.parts.entry((group, result.segment)).or_insert(Part::Waiting);
        if !matches!(part, Part::Waiting | Part::Unsent) {
            return false;
        }
        let failed = result.failed.into_iter().collect();
        let skipped = result.skipped.into_iter().collect();
        *part = Part::Answered(GroupResult { handled: result.handled, failed, skipped });
        true
    }

    /// Returns the results for events that the log no longer has.
    pub(crate) fn erased(&self, groups: usize) -> Erased {
        let mut known: HashMap<Lane, HashSet<u64>> = HashMap::new();
        for event in &self.events {
            for lane in lanes(event) {
                known.entry(lane).or_default().insert(event.position.sequence);
            }
        }
        let mut erased = Erased { of_groups: vec![(0, 0, 0); groups], ..Erased::default() };
        // If a group has segments in several partitions, equal sequences belong to different events.
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
        // An event that one group handled and another failed counts as failed. Only the number of handled events is
        // known, so their overlap with failed events is subtracted.
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

    /// Returns the parts without a result.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = Lane> {
        let open = |part: &Part| matches!(part, Part::Waiting | Part::Unsent);
        self.parts.iter().filter(move |(_, part)| open(part)).map(|(lane, _)| *lane)
    }

    /// Returns the number of events that are with groups, as far as this runner knows.
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

    /// Returns whether a part of the batch never reached its group.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.parts.values().any(|part| matches!(part, Part::Withdrawn))
    }

    /// Returns whether an event was erased or trimmed before any group received it.
    pub(crate) fn is_removed(&self, event: &Reference) -> bool {
        let mut outcomes = self.outcomes(event).filter(|outcome| *outcome != Outcome::Declined).peekable();
        outcomes.peek().is_some() && outcomes.all(|outcome| outcome == Outcome::Removed)
    }

    /// Returns the outcome of an event in each group, in the order of the groups.
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
