//! Redriving and discarding dead letters.

use std::collections::{BTreeMap, HashMap};

use domain::{
    DeadLetter, DeadLetterState, StorageFailure,
    group::{LaneOrigin, segment_of},
    ports::{
        DeadLetterChange,
        engine::{Guard, SpaceKind, Transaction},
    },
};
use futures_util::future::{join_all, try_join_all};
use jiff::Timestamp;

use super::rows::{PAGE, Stored, put_letter};
use crate::{
    Store,
    groups::{
        lane::push,
        record::{Group, LaneRow},
    },
    partition::Partition,
    retry::OptimisticRetry,
    rows::{named, redrives},
    store::Divided,
};

/// The last place of a lane, and the value that says so.
type LaneEnd = (u64, Option<Vec<u8>>);

/// What is to become of open letters.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Request<'a> {
    Redrive,
    /// With this reason.
    Discard(&'a str),
}

impl Request<'_> {
    /// The letter afterwards.
    fn applied(self, letter: &DeadLetter, now: Timestamp) -> DeadLetter {
        let mut after = letter.clone();
        after.updated_at = now;
        match self {
            Self::Redrive => after.state = DeadLetterState::Redriving,
            Self::Discard(reason) => {
                after.state = DeadLetterState::Discarded;
                after.reason = Some(reason.to_owned());
            }
        }
        after
    }

    fn origin(self, dead_letter: String) -> LaneOrigin {
        match self {
            Self::Redrive => LaneOrigin::Redrive { dead_letter },
            Self::Discard(_) => LaneOrigin::Discarded { dead_letter },
        }
    }
}

impl Store {
    /// Asks the partition that has a letter to change it.
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
                    let parts = self.partitions().map(|partition| partition.letter_rows(ids));
                    let parts = try_join_all(parts).await?;
                    let has = |at: usize| {
                        let holder = parts.iter().position(|part| matches!(part.get(at), Some(Some(_))));
                        // Where none has it, the first says so.
                        holder.unwrap_or(0) as u16
                    };
                    (0..ids.len()).map(has).collect()
                }
            };
            let divided = Divided::new(self, holders.into_iter().zip(ids.iter().map(String::as_str)));
            let parts: Vec<_> = divided.parts().collect();
            let asked = parts.iter().map(|(number, ids)| {
                self.partition(*number).change_some(ids, request, self.partition_count())
            });
            let answers = join_all(asked).await.into_iter().collect::<Result<Vec<_>, _>>()?;
            changes.extend(divided.gather(DeadLetterChange::Unknown, answers));
        }
        Ok(changes)
    }
}

/// What one attempt decided of a letter: what became of it, or that a transaction changes it.
enum Decided {
    Settled(DeadLetterChange),
    Changed,
}

impl Partition<'_> {
    /// Changes letters, each in a transaction of its own; those that have changed since they were read are decided again.
    pub(super) async fn change_some(
        self,
        ids: &[&str],
        request: Request<'_>,
        partitions: u16,
    ) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        let mut changes: Vec<Option<DeadLetterChange>> = vec![None; ids.len()];
        let mut retry = OptimisticRetry::new();
        loop {
            let open: Vec<usize> = (0..ids.len()).filter(|at| changes.get(*at) == Some(&None)).collect();
            let asked: Vec<String> =
                open.iter().filter_map(|at| ids.get(*at)).map(|id| (*id).to_owned()).collect();
            let (decided, transactions) = self.decide_letters(&asked, request, partitions).await?;
            let mut answers = self.commit(&transactions).await?.into_iter();
            for (at, decided) in open.iter().zip(decided) {
                let change = match decided {
                    Decided::Settled(change) => Some(change),
                    Decided::Changed => {
                        let is_done = answers.next().is_some_and(|outcome| outcome.is_done());
                        is_done.then_some(DeadLetterChange::Done)
                    }
                };
                if let Some(own) = changes.get_mut(*at) {
                    *own = change;
                }
            }
            if changes.iter().all(Option::is_some) {
                return Ok(changes.into_iter().flatten().collect());
            }
            retry.again().await?;
        }
    }

    async fn decide_letters(
        self,
        ids: &[String],
        request: Request<'_>,
        partitions: u16,
    ) -> Result<(Vec<Decided>, Vec<Transaction>), StorageFailure> {
        let letters = self.letters(ids).await?;
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
        let mut ends: BTreeMap<(String, u16), LaneEnd> = lanes.into_iter().zip(known).collect();
        let now = self.get(&[]).await?.now;
        let mut changed: HashMap<String, DeadLetterState> = HashMap::new();
        let (mut decided, mut transactions) = (Vec::with_capacity(ids.len()), Vec::new());
        for stored in letters {
            let Some(Stored { letter, .. }) = &stored else {
                decided.push(Decided::Settled(DeadLetterChange::Unknown));
                continue;
            };
            let state = changed.get(&letter.id).copied().unwrap_or(letter.state);
            if state != DeadLetterState::Open {
                decided.push(Decided::Settled(DeadLetterChange::Unchanged(state)));
                continue;
            }
            let group = groups.get(&letter.group).and_then(Option::as_ref);
            if matches!(request, Request::Redrive) && group.is_none() {
                decided.push(Decided::Settled(DeadLetterChange::NoGroup));
                continue;
            }
            let after = request.applied(letter, now);
            let mut transaction = Transaction::durable();
            if let Some(stored) = &stored {
                put_letter(&mut transaction, stored, &after)?;
            }
            if matches!(request, Request::Redrive) || letter.parked {
                match (group, lane_of(letter)) {
                    (Some(group), Some(lane)) => {
                        let row = LaneRow {
                            origin: request.origin(letter.id.clone()),
                            incarnation: group.row.incarnation.clone(),
                            positions: vec![letter.position.sequence],
                        };
                        let end = ends.entry(lane.clone()).or_default();
                        push(&mut transaction, (&lane.0, lane.1), (end.0, end.1.as_deref()), &row)?;
                        end.0 += 1;
                        end.1 = Some(end.0.to_string().into_bytes());
                        // Whoever deletes the group must open this letter again first.
                        transaction.add(redrives(&letter.group), 1);
                    }
                    // Where the group is gone so is the key that waited; it may be made again meanwhile.
                    _ => {
                        transaction.guard(Guard::Absent(named(SpaceKind::Group, &letter.group)));
                    }
                }
            }
            changed.insert(after.id.clone(), after.state);
            decided.push(Decided::Changed);
            transactions.push(transaction);
        }
        Ok((decided, transactions))
    }
}
