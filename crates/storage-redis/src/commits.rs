//! Commits to segments: everything of one, or nothing, and nothing under a lease that is not the newest.
//!
//! Commits that make no dead letters go in one call of a function for all segments. One that does is decided on what was
//! read, and goes alone, with the letters as a guarded write in the same step.

use std::collections::HashMap;

use domain::{
    StorageFailure,
    group::{LaneBatch, LaneOrigin, LaneProgress},
    ports::{CommitOutcome, SegmentCommit},
};
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    failure::shape,
    group_rows::{self as rows, GroupKeys},
    lanes::Names,
    partition::Partition,
    replay_rows,
    tries::Tries,
    write::{Write, text},
};

/// Most commits of one call, and about how many bytes of them.
const MOST_AT_ONCE: (usize, usize) = (128, 1024 * 1024);

/// A batch that is done, as its lane has it.
struct DoneBatch {
    batch: LaneBatch,
    /// The line of its text that says where it came from, by which it is told from another one at its place.
    origin: Vec<u8>,
}

/// Batches that are done, by group, segment and place.
type Done<'a> = HashMap<(&'a str, u16, u64), DoneBatch>;

/// What became of a call of the function.
enum Answer {
    Done(Vec<CommitOutcome>),
    /// The dead letters are not as they were read; nothing was done.
    Refused,
}

impl Partition {
    pub(crate) async fn commit_segments(
        &self,
        commits: &[SegmentCommit],
    ) -> Result<Vec<CommitOutcome>, StorageFailure> {
        let done = self.done_batches(commits).await?;
        let mut outcomes = Vec::with_capacity(commits.len());
        let mut rest = commits;
        while let [first, others @ ..] = rest {
            if has_letters(first) {
                outcomes.push(self.commit_with_letters(first, &done).await?);
                rest = others;
                continue;
            }
            let (some, later) = rest.split_at(fitting(rest));
            match self.call_commit("commit", some, &done, None).await? {
                Answer::Done(answers) => outcomes.extend(answers),
                Answer::Refused => return Err(shape("a commit")),
            }
            rest = later;
        }
        Ok(outcomes)
    }

    /// Forgets what was remembered of batches that are done.
    fn forget_done(&self, commits: &[SegmentCommit], outcomes: &[CommitOutcome]) {
        let kept = commits.iter().zip(outcomes).filter(|(_, outcome)| **outcome != CommitOutcome::Fenced);
        for (commit, _) in kept {
            for (seq, _) in &commit.lane_done {
                self.lane_texts().forget(&commit.lease.group, commit.lease.segment, *seq);
            }
        }
    }

    /// Decides what becomes of the dead letters, and commits if they are still as they were read.
    async fn commit_with_letters(
        &self,
        commit: &SegmentCommit,
        done: &Done<'_>,
    ) -> Result<CommitOutcome, StorageFailure> {
        let mut tries = Tries::new();
        loop {
            let write = self.letters_of_commit(commit).await?;
            match self.call_commit("report", std::slice::from_ref(commit), done, Some(&write)).await? {
                Answer::Done(answers) => {
                    return answers.into_iter().next().ok_or_else(|| shape("a commit"));
                }
                Answer::Refused => tries.again().await?,
            }
        }
    }

    /// The batches that these commits say are done: as they were read last, or as their lanes still have them.
    async fn done_batches<'a>(&self, commits: &'a [SegmentCommit]) -> Result<Done<'a>, StorageFailure> {
        let (mut done, mut unknown) = (HashMap::new(), Vec::new());
        for commit in commits {
            let (group, segment) = (commit.lease.group.as_str(), commit.lease.segment);
            for (seq, _) in &commit.lane_done {
                let place = (group, segment, *seq);
                match self.lane_texts().of(group, segment, *seq) {
                    Some(text) => {
                        done.insert(place, done_batch(segment, *seq, &text)?);
                    }
                    None => unknown.push(place),
                }
            }
        }
        let mut pipeline = Pipeline::with_capacity(unknown.len());
        for (group, segment, seq) in &unknown {
            pipeline.cmd("HGET").arg(GroupKeys::new(self.keys(), group).lane(*segment)).arg(*seq);
        }
        for (place, answer) in unknown.into_iter().zip(self.link().read_all(&pipeline).await?) {
            let text: Option<Vec<u8>> =
                FromRedisValue::from_redis_value(answer).map_err(|_| shape("a lane"))?;
            if let Some(text) = text {
                done.insert(place, done_batch(place.1, place.2, &text)?);
            }
        }
        Ok(done)
    }

    async fn call_commit(
        &self,
        function: &str,
        commits: &[SegmentCommit],
        done: &Done<'_>,
        also: Option<&Write>,
    ) -> Result<Answer, StorageFailure> {
        let mut names = Names::new(self.keys().meta());
        let mut args = vec![number(&commits.len())];
        for commit in commits {
            self.put_commit(commit, done, &mut names, &mut args)?;
        }
        let command = names.command(function, args, also);
        let answer = read_answer(self.link().call_command(&command).await?)?;
        if let Answer::Done(outcomes) = &answer {
            self.forget_done(commits, outcomes);
        }
        Ok(answer)
    }

    /// Adds a commit to the arguments of a call, in the order in which the function reads them.
    fn put_commit(
        &self,
        commit: &SegmentCommit,
        done: &Done<'_>,
        names: &mut Names,
        args: &mut Vec<Vec<u8>>,
    ) -> Result<(), StorageFailure> {
        let lease = &commit.lease;
        let keys = GroupKeys::new(self.keys(), &lease.group);
        let has_rows = !commit.blocked.is_empty() || !commit.unblocked.is_empty();
        let has_lane = !commit.lane.is_empty() || !commit.lane_done.is_empty();
        let mut place = |needed: bool, key: String| if needed { names.place(key) } else { b"0".to_vec() };
        args.push(place(true, keys.segments()));
        args.push(place(true, keys.owners()));
        args.push(place(has_rows, keys.ledger(lease.segment)));
        args.push(place(has_lane, keys.lanes()));
        args.push(place(has_lane, keys.lane(lease.segment)));
        args.push(place(has_lane, keys.places(lease.segment)));
        args.push(number(&lease.segment));
        args.push(format!("{}:{}:", lease.epoch, lease.token).into());
        args.push(number(&(lease.epoch >> 32)));
        args.push(number(&commit.cursor));
        args.push(number(&commit.claimed_to));
        let lowest = commit.blocked.iter().map(|row| row.position).min();
        args.push(lowest.map(|lowest| number(&lowest)).unwrap_or_default());
        args.push(number(&u8::from(commit.release)));
        args.push(number(&commit.blocked.len()));
        for row in &commit.blocked {
            args.extend([rows::ledger_field(&row.key).into(), rows::to_json(row)?]);
        }
        args.push(number(&commit.unblocked.len()));
        args.extend(commit.unblocked.iter().map(|key| rows::ledger_field(key).into()));
        args.push(number(&commit.lane.len()));
        for (seq, progress) in &commit.lane {
            args.extend([number(seq), rows::to_json(progress)?]);
        }
        self.put_done(commit, done, names, args)
    }

    fn put_done(
        &self,
        commit: &SegmentCommit,
        done: &Done<'_>,
        names: &mut Names,
        args: &mut Vec<Vec<u8>>,
    ) -> Result<(), StorageFailure> {
        let lease = &commit.lease;
        let count_at = args.len();
        args.push(Vec::new());
        let mut count = 0;
        for (seq, progress) in &commit.lane_done {
            // Whoever commits a second time after a lost answer has done it already.
            let found = done.get(&(lease.group.as_str(), lease.segment, *seq));
            let Some(DoneBatch { batch, origin }) = found else { continue };
            count += 1;
            args.extend([number(seq), number(&batch.positions.len()), origin.clone()]);
            match result(batch, progress, &lease.group)? {
                Some(left) => {
                    args.push(names.place(rows::queued_key(self.keys(), &left.replay_id)));
                    args.push(names.place(replay_rows::results_key(self.keys(), &left.replay_id)));
                    args.extend([left.field, left.result]);
                }
                None => args.extend([number(&0), number(&0), Vec::new(), Vec::new()]),
            }
        }
        if let Some(at) = args.get_mut(count_at) {
            *at = number(&count);
        }
        Ok(())
    }
}

fn done_batch(segment: u16, seq: u64, text: &[u8]) -> Result<DoneBatch, StorageFailure> {
    let origin = text.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
    Ok(DoneBatch { batch: rows::batch(segment, seq, text, None)?, origin: origin.to_owned() })
}

/// What a batch that is done leaves for the replay that sent it.
struct Left {
    replay_id: String,
    field: Vec<u8>,
    result: Vec<u8>,
}

fn result(batch: &LaneBatch, progress: &LaneProgress, group: &str) -> Result<Option<Left>, StorageFailure> {
    let LaneOrigin::Replay { replay_id, batch: nth } = &batch.origin else { return Ok(None) };
    let ended = LaneBatch { progress: progress.clone(), ..batch.clone() };
    let Some(result) = ended.result(group) else { return Ok(None) };
    let field = replay_rows::result_field(*nth, batch.segment, group).into();
    Ok(Some(Left { replay_id: replay_id.clone(), field, result: rows::to_json(&result)? }))
}

fn has_letters(commit: &SegmentCommit) -> bool {
    !commit.dead_letters.is_empty() || !commit.handled_dead_letters.is_empty()
}

/// How many commits from the start go in one call.
fn fitting(commits: &[SegmentCommit]) -> usize {
    let mut bytes = 0;
    let fits = |commit: &&SegmentCommit| {
        let rows: usize = commit.blocked.iter().map(|row| row.size_bytes() + 256).sum();
        bytes += 512 + rows + 1024 * (commit.lane.len() + commit.lane_done.len());
        bytes <= MOST_AT_ONCE.1 && !has_letters(commit)
    };
    commits.iter().take(MOST_AT_ONCE.0).take_while(fits).count().max(1).min(commits.len())
}

fn number(number: &impl ToString) -> Vec<u8> {
    number.to_string().into_bytes()
}

fn read_answer(answer: Value) -> Result<Answer, StorageFailure> {
    let Value::Array(parts) = answer else { return Err(shape("a commit")) };
    let mut parts = parts.into_iter();
    match parts.next().as_ref().and_then(text) {
        Some("ok") => {}
        Some("refused") => return Ok(Answer::Refused),
        _ => return Err(shape("a commit")),
    }
    let outcome = |part: Value| match part {
        Value::Array(withdrawn) if withdrawn.is_empty() => Ok(CommitOutcome::Committed),
        Value::Array(withdrawn) => {
            let places = withdrawn.iter().map(|place| text(place)?.parse().ok());
            let places = places.collect::<Option<Vec<u64>>>().ok_or_else(|| shape("a commit"))?;
            Ok(CommitOutcome::CommittedWithout(places))
        }
        part if text(&part) == Some("fenced") => Ok(CommitOutcome::Fenced),
        _ => Err(shape("a commit")),
    };
    parts.map(outcome).collect::<Result<_, _>>().map(Answer::Done)
}
