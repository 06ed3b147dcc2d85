//! What trims must keep for checkpoints, replays and consumer groups; and what groups lost where nothing held it.

use std::{collections::HashSet, time::Duration};

use domain::{
    Cursor, StorageFailure,
    group::{BlockedKey, Gap, Key},
    ports::{EventStoreError, GroupHolds},
};
use jiff::Timestamp;

use crate::{
    checkpoints,
    group_rows::{Held, HeldSegment, groups_key, seen_key},
    keys::{CHUNK, chunk_of},
    remove::Going,
    rows::range,
    state::{PARTITION, State, from_micros, micros},
    store::RedisStore,
    write::Write,
};

/// Gaps that a group keeps apart; beyond, the two oldest become one.
const MAX_GAPS: usize = 100;

/// Everything after a sequence stays, and for whom.
pub(crate) type Hold = (u64, String);

/// What holds, at one moment.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// The lowest of those that hold whatever comes after their mark.
    firm: Option<Hold>,
    /// The lowest of consumer groups'.
    group: Option<Hold>,
    /// Groups hold nothing that was stored before this, in microseconds.
    released_before: i64,
    /// Groups that no consumer has visited for so long that they hold nothing.
    forgotten: Vec<(String, i64)>,
    groups: Vec<GroupHeld>,
}

/// A group with what it has not passed, and its gaps as they are now.
#[derive(Debug)]
struct GroupHeld {
    held: Held,
    /// What its ledger and its lanes name.
    named: HashSet<u64>,
    gaps: Vec<Gap>,
    /// The text of its record.
    text: Vec<u8>,
}

/// Gaps that a removal is about to note.
#[derive(Debug)]
pub(crate) struct Noted(Vec<(usize, Vec<Gap>, Vec<u8>)>);

/// What holds now: what the caller holds, the store's own checkpoints and replays, and its groups.
pub(crate) async fn all(
    store: &RedisStore,
    state: &State,
    callers: Option<Hold>,
    of_groups: GroupHolds,
    now: i64,
) -> Result<Holds, EventStoreError> {
    let mut firm = callers;
    let mut own = checkpoints::holding(store).await?;
    own.extend(store.replay_holds().await?);
    for (mark, holder) in own {
        let mark = sequence_of(state, &mark, &holder)?;
        // Of equal marks the first is named.
        if firm.as_ref().is_none_or(|(lowest, _)| mark < *lowest) {
            firm = Some((mark, holder));
        }
    }
    let released_before = of_groups.max_hold.map_or(i64::MIN, |most| earlier(now, most));
    let mut holds = Holds { firm, released_before, ..Holds::default() };
    let forgotten_before = earlier(now, of_groups.forgotten_after);
    for held in store.held_by_groups().await? {
        let (mark, name) = (held.mark(), held.group.name().to_owned());
        if held.group.seen < forgotten_before {
            holds.forgotten.push((name, held.group.seen));
        } else if holds.group.as_ref().is_none_or(|(lowest, _)| mark < *lowest) {
            holds.group = Some((mark, format!("group {name}")));
        }
        holds.groups.push(GroupHeld::of(held));
    }
    Ok(holds)
}

/// The sequence that a hold of the store's own marks. Where a part of the log was lost, it marks the end of what is left.
fn sequence_of(state: &State, mark: &Cursor, holder: &str) -> Result<u64, EventStoreError> {
    match state.sequence_of(mark) {
        Err(EventStoreError::LostCursor(why)) => {
            match state.ends.iter().find(|(epoch, _)| *epoch == mark.epoch) {
                Some((_, end)) => Ok(*end),
                None => Err(EventStoreError::LostCursor(format!("{holder}: {why}"))),
            }
        }
        other => other,
    }
}

/// An instant so much earlier, both in microseconds.
pub(crate) fn earlier(now: i64, by: Duration) -> i64 {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    now.saturating_sub(by).max(micros(Timestamp::MIN))
}

impl Holds {
    /// Who holds an event, if anyone does.
    pub(crate) fn holder(&self, sequence: u64, stored_at: i64) -> Option<&str> {
        let group = self.group.as_ref().filter(|_| stored_at >= self.released_before);
        // Of equal marks the firm one is named.
        [self.firm.as_ref(), group]
            .into_iter()
            .flatten()
            .filter(|(mark, _)| sequence > *mark)
            .min_by_key(|(mark, _)| *mark)
            .map(|(_, holder)| holder.as_str())
    }

    /// Adds to a removal that it notes in every group what of these events, which rise, it has not passed; and that no
    /// group which was forgotten is visited meanwhile.
    pub(crate) async fn note_gaps(
        &self,
        store: &RedisStore,
        going: &[Going],
        now: i64,
        also: &mut Write,
    ) -> Result<Noted, StorageFailure> {
        let (groups, seen) = (groups_key(store.keys()), seen_key(store.keys()));
        for (name, at) in &self.forgotten {
            also.if_is(&seen, name, at.to_string());
        }
        let mut noted = Vec::new();
        for (index, group) in self.groups.iter().enumerate() {
            let mut lost = going.iter().filter(|one| group.has_not_passed(one)).map(|one| one.sequence);
            let Some(from) = lost.next() else { continue };
            let to = lost.next_back().unwrap_or(from);
            let mut gaps = group.gaps.clone();
            note(store, &mut gaps, Gap { partition: PARTITION, from, to, at: from_micros(now) }).await?;
            let text = group.held.group.with_gaps(gaps.clone())?;
            also.if_is(&groups, group.held.group.name(), &group.text);
            also.hset(&groups, group.held.group.name(), &text);
            noted.push((index, gaps, text));
        }
        Ok(Noted(noted))
    }

    /// Keeps what was noted, now that the removal is done.
    pub(crate) fn noted(&mut self, noted: Noted) {
        for (index, gaps, text) in noted.0 {
            if let Some(group) = self.groups.get_mut(index) {
                group.gaps = gaps;
                group.text = text;
            }
        }
    }
}

impl GroupHeld {
    fn of(held: Held) -> Self {
        let named = |segment: &HeldSegment| {
            let blocked: Vec<u64> = segment.blocked.iter().map(|row| row.position).collect();
            blocked.into_iter().chain(segment.lane.clone())
        };
        Self {
            named: held.segments.iter().flat_map(named).collect(),
            gaps: held.group.row.gaps.clone(),
            text: held.group.text.clone(),
            held,
        }
    }

    /// Whether an event is still to come to some segment, as far as the cursors say; or waits in a ledger or in a lane.
    fn has_not_passed(&self, going: &Going) -> bool {
        let sequence = going.sequence;
        let segments = &self.held.segments;
        if segments.iter().any(|segment| sequence > segment.cursor) || self.named.contains(&sequence) {
            return true;
        }
        // A later event of a key that is blocked is named by nothing but its key.
        let in_reach = |row: &&BlockedKey| (row.position..=row.through).contains(&sequence);
        let mut waiting = segments.iter().flat_map(|segment| &segment.blocked).filter(in_reach).peekable();
        let Some(event) = going.event.as_ref().filter(|_| waiting.peek().is_some()) else { return false };
        let key = Key::from(self.held.group.row.spec.key.of(event));
        waiting.any(|row| row.key == key)
    }
}

/// Adds a gap. One that nothing parts from the last is part of it: trims go in small steps.
async fn note(store: &RedisStore, gaps: &mut Vec<Gap>, gap: Gap) -> Result<(), StorageFailure> {
    if let Some(last) = gaps.last_mut()
        && nothing_between(store, last.to, gap.from).await?
    {
        last.to = last.to.max(gap.to);
        last.at = gap.at;
        return Ok(());
    }
    gaps.push(gap);
    if gaps.len() > MAX_GAPS {
        let oldest = gaps.remove(0);
        if let Some(next) = gaps.first_mut() {
            next.from = oldest.from;
        }
    }
    Ok(())
}

/// Whether the log has no event between two sequences.
async fn nothing_between(store: &RedisStore, from: u64, to: u64) -> Result<bool, StorageFailure> {
    if from + 1 >= to {
        return Ok(true);
    }
    let chunks = store.chunks().await?;
    let mut pipeline = redis::Pipeline::new();
    for chunk in chunks.into_iter().filter(|chunk| (chunk_of(from)..=chunk_of(to)).contains(chunk)) {
        let low = (from + 1).max(chunk * CHUNK);
        let mut command = range(&store.keys().log(chunk), low, to - 1);
        command.arg("COUNT").arg(1);
        pipeline.add_command(command);
    }
    let answers = store.link().read_all(&pipeline).await?;
    Ok(answers.iter().all(|answer| matches!(answer, redis::Value::Array(found) if found.is_empty())))
}
