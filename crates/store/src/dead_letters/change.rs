//! Redrives, discards, edits and restores dead letters.

use std::collections::HashMap;

use domain::{
    DeadLetter, DeadLetterState, StorageFailure,
    dead_letter::LetterEdit,
    group::{LaneOrigin, segment_of},
    ports::{
        DeadLetterChange,
        engine::{Guard, SpaceKind, Transaction},
    },
};
use jiff::Timestamp;

use super::rows::{PAGE, put_letter};
use crate::{
    Store,
    divided::Divided,
    groups::{
        enqueue::LaneEnd,
        record::{Group, LaneRow},
    },
    partition::{Decision, Partition},
    rows::{named, redrives},
};

/// The requested change to dead letters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request<'a> {
    Redrive,
    /// Discards, with this reason.
    Discard(&'a str),
    /// Sets the edit, or removes it.
    Edit(Option<&'a LetterEdit>),
    /// Reopens discarded dead letters.
    Restore,
}

impl Request<'_> {
    /// Returns the dead letter after the change.
    fn applied(self, letter: &DeadLetter, now: Timestamp) -> DeadLetter {
        let mut after = letter.clone();
        after.updated_at = now;
        match self {
            Self::Redrive => after.state = DeadLetterState::Redriving,
            Self::Discard(reason) => {
                after.state = DeadLetterState::Discarded;
                after.reason = Some(reason.to_owned());
            }
            Self::Edit(edit) => after.edit = edit.cloned(),
            Self::Restore => {
                after.state = DeadLetterState::Open;
                after.reason = None;
                after.parked = false;
            }
        }
        after
    }

    /// Returns the state that a dead letter must have for this change.
    fn of(self) -> DeadLetterState {
        match self {
            Self::Redrive | Self::Discard(_) | Self::Edit(_) => DeadLetterState::Open,
            Self::Restore => DeadLetterState::Discarded,
        }
    }

    /// Returns the origin of the lane batch that notifies the consumer of the dead letter's key. Returns none if the
    /// consumer needs no notification.
    fn origin(self, letter: &DeadLetter) -> Option<LaneOrigin> {
        let dead_letter = letter.id.clone();
        match self {
            Self::Redrive => Some(LaneOrigin::Redrive { dead_letter }),
            Self::Discard(_) if letter.parked => Some(LaneOrigin::Discarded { dead_letter }),
            Self::Discard(_) | Self::Edit(_) | Self::Restore => None,
        }
    }
}

impl Store {
    /// Sends each change to the partition that has the dead letter.
    pub(super) async fn change_letters(
        &self,
        ids: &[String],
        request: Request<'_>,
    ) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        let mut changes = Vec::with_capacity(ids.len());
        for ids in ids.chunks(PAGE) {
            let holders: Vec<u16> = match self.is_single() {
                true => vec![0; ids.len()],
                false => {
                    let parts = self.in_all(|partition| partition.letter_rows(ids)).await?;
                    let has = |at: usize| {
                        let holder = parts.iter().position(|part| matches!(part.get(at), Some(Some(_))));
                        // If no partition has the dead letter, partition 0 answers that it is unknown.
                        holder.unwrap_or(0) as u16
                    };
                    (0..ids.len()).map(has).collect()
                }
            };
            let divided = Divided::new(self, holders.into_iter().zip(ids.iter().map(String::as_str)));
            let asked = divided.ask(DeadLetterChange::Unknown, |(partition, ids)| {
                partition.change_some(ids, request, self.partition_count())
            });
            changes.extend(asked.await?);
        }
        Ok(changes)
    }
}

impl Partition<'_> {
    /// Changes dead letters, each in its own transaction. A dead letter that changed since the read is decided again.
    pub(super) async fn change_some(
        self,
        ids: &[&str],
        request: Request<'_>,
        partitions: u16,
    ) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.decide_each(ids, |ids| self.decide_letters(ids, request, partitions)).await
    }

    async fn decide_letters(
        self,
        ids: Vec<&str>,
        request: Request<'_>,
        partitions: u16,
    ) -> Result<Vec<Decision<DeadLetterChange>>, StorageFailure> {
        let letters = self.letters(&ids).await?;
        let mut groups: HashMap<String, Option<Group>> = HashMap::new();
        for stored in letters.iter().flatten() {
            let name = &stored.letter.group;
            if !groups.contains_key(name) {
                groups.insert(name.clone(), self.group(name).await?);
            }
        }
        let lane_of = |letter: &DeadLetter| -> Option<(String, u16)> {
            let spec = &groups.get(&letter.group)?.as_ref()?.row.spec;
            let key = spec.key.of(&letter.event);
            let segment = segment_of(&key, letter.position.partition, partitions, spec.segments);
            Some((letter.group.clone(), segment))
        };
        let lanes: Vec<(String, u16)> =
            letters.iter().flatten().filter_map(|stored| lane_of(&stored.letter)).collect();
        let known = self.lane_ends(&lanes).await?;
        let mut ends: HashMap<(String, u16), LaneEnd> = lanes.into_iter().zip(known).collect();
        let now = self.now().await?;
        let mut changed: HashMap<String, DeadLetterState> = HashMap::new();
        let mut decisions = Vec::with_capacity(ids.len());
        for stored in letters {
            let Some(stored) = stored else {
                decisions.push(Decision::Settled(DeadLetterChange::Unknown));
                continue;
            };
            let letter = &stored.letter;
            let state = changed.get(&letter.id).copied().unwrap_or(letter.state);
            if state != request.of() {
                decisions.push(Decision::Settled(DeadLetterChange::Unchanged(state)));
                continue;
            }
            let group = groups.get(&letter.group).and_then(Option::as_ref);
            if matches!(request, Request::Redrive) && group.is_none() {
                decisions.push(Decision::Settled(DeadLetterChange::NoGroup));
                continue;
            }
            let after = request.applied(letter, now);
            let mut transaction = Transaction::durable();
            put_letter(&mut transaction, &stored, &after)?;
            if let Some(origin) = request.origin(letter) {
                match (group, lane_of(letter)) {
                    (Some(group), Some(lane)) => {
                        let row = LaneRow {
                            origin,
                            incarnation: group.row.incarnation.clone(),
                            positions: vec![letter.position.sequence],
                        };
                        let place = (lane.0.as_str(), lane.1);
                        ends.entry(lane.clone()).or_default().push(&mut transaction, place, &row)?;
                        // The deletion of the group must reopen this dead letter first.
                        transaction.add(redrives(&letter.group), 1);
                    }
                    // The group's parked keys were deleted with the group. The guard detects that the group was created
                    // again.
                    _ => drop(transaction.guard(Guard::Absent(named(SpaceKind::Group, &letter.group)))),
                }
            }
            changed.insert(after.id, after.state);
            decisions.push(Decision::Change(DeadLetterChange::Done, transaction));
        }
        Ok(decisions)
    }
}
