//! Replay lanes: batches of references on their way through a group's segments.

use std::collections::BTreeMap;

use domain::{
    StorageFailure,
    group::{LaneBatch, LaneOrigin, LaneProgress, MAX_LANE_REFERENCES, NewLaneBatch},
    ports::{EnqueueOutcome, GroupStoreError, ReplayLease},
};
use redis::{Cmd, FromRedisValue, Pipeline, Value};

use crate::{
    failure::shape,
    functions,
    group_rows::{self as rows, GroupKeys},
    partition::Partition,
    replay_rows,
    write::{Write, text},
};

/// Most batches of one call, and about how many bytes.
const MOST_AT_ONCE: (usize, usize) = (200, 1024 * 1024);
/// Most batches that one look at a lane fetches of a segment.
const MOST_FETCHED: usize = 1_000;

/// A batch on its way into a lane.
pub(crate) struct Push {
    group: String,
    segment: u16,
    references: usize,
    /// Whether the lane's bound applies.
    bounded: bool,
    /// The replay that sends it, and the number of the replay's batch.
    replay: Option<(String, u64)>,
    body: Vec<u8>,
}

impl Push {
    /// A batch that somebody sends, of which a segment takes no second and none beyond its bound.
    fn of(new: &NewLaneBatch) -> Result<Self, StorageFailure> {
        let replay = match &new.origin {
            LaneOrigin::Replay { replay_id, batch } => Some((replay_id.clone(), *batch)),
            LaneOrigin::Redrive { .. } | LaneOrigin::Discarded { .. } => None,
        };
        Ok(Self {
            group: new.group.clone(),
            segment: new.segment,
            references: new.positions.len(),
            bounded: true,
            replay,
            body: rows::batch_text(&new.origin, &new.positions)?,
        })
    }

    /// A reference that the lane's bound does not stop.
    pub(crate) fn one(
        group: &str,
        segment: u16,
        origin: &LaneOrigin,
        position: u64,
    ) -> Result<Self, StorageFailure> {
        let body = rows::batch_text(origin, &[position])?;
        Ok(Self { group: group.to_owned(), segment, references: 1, bounded: false, replay: None, body })
    }
}

/// What became of a call of the function.
#[derive(Debug)]
pub(crate) enum Pushed {
    /// What became of each batch, in order; the write that went with it is done.
    Done(Vec<EnqueueOutcome>),
    /// A guard did not hold, or the right to send is of another log epoch; nothing was done.
    Refused,
}

impl Partition {
    pub(crate) async fn enqueue_batches(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        let mut write = Write::new();
        let mut epoch = None;
        if let Some(runner) = runner {
            replay_rows::if_newest(&mut write, self.keys(), runner);
            // Lease epochs are made of partition 0's log epochs; the others note their own beside the stamp of a lease.
            match self.number() {
                0 => epoch = Some(runner.epoch >> 32),
                _ => replay_rows::if_stamped_in_this_epoch(&mut write, self.keys(), runner),
            }
        }
        let mut pushes = batches.iter().map(Push::of).collect::<Result<Vec<_>, _>>()?;
        let mut outcomes = Vec::with_capacity(batches.len());
        // Without batches the runner's right is asked for all the same.
        while !pushes.is_empty() || (outcomes.is_empty() && runner.is_some()) {
            let rest = pushes.split_off(fitting(&pushes));
            match self.push(epoch, &pushes, &write).await? {
                Pushed::Done(answers) => outcomes.extend(answers),
                Pushed::Refused => return Err(GroupStoreError::RunnerFenced),
            }
            if rest.is_empty() {
                break;
            }
            pushes = rest;
        }
        Ok(outcomes)
    }

    /// Puts batches into lanes and does a guarded write, all in one step.
    pub(crate) async fn push(
        &self,
        epoch: Option<u64>,
        pushes: &[Push],
        also: &Write,
    ) -> Result<Pushed, StorageFailure> {
        let mut names = Names::new(self.keys().meta());
        let mut args: Vec<Vec<u8>> = vec![
            epoch.map(|epoch| epoch.to_string()).unwrap_or_default().into(),
            MAX_LANE_REFERENCES.to_string().into(),
            pushes.len().to_string().into(),
        ];
        for push in pushes {
            let keys = GroupKeys::new(self.keys(), &push.group);
            for key in [keys.segments(), keys.lanes(), keys.lane(push.segment), keys.places(push.segment)] {
                args.push(names.place(key));
            }
            let queued = push.replay.as_ref().map(|(id, _)| rows::queued_key(self.keys(), id));
            args.push(queued.map_or_else(|| b"0".to_vec(), |key| names.place(key)));
            args.push(push.segment.to_string().into());
            args.push(push.references.to_string().into());
            args.push(if push.bounded { b"1".to_vec() } else { b"0".to_vec() });
            args.push(push.replay.as_ref().map(|(_, batch)| batch.to_string()).unwrap_or_default().into());
            args.push(push.body.clone());
        }
        let command = names.command("enqueue", args, Some(also));
        read_pushed(self.link().call_command(&command).await?)
    }

    pub(crate) async fn lane_batches(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, StorageFailure> {
        let keys = GroupKeys::new(self.keys(), group);
        let mut pipeline = Pipeline::with_capacity(after.len());
        for (segment, seq) in after {
            let command =
                pipeline.cmd("ZRANGE").arg(keys.places(*segment)).arg(format!("({seq}")).arg("+inf");
            command.arg("BYSCORE").arg("LIMIT").arg(0).arg(limit.clamp(1, MOST_FETCHED));
        }
        let answers = self.link().read_all(&pipeline).await?;
        let mut lanes = Vec::with_capacity(after.len());
        for ((segment, _), answer) in after.iter().zip(answers) {
            lanes.push((*segment, places(answer)?));
        }
        let chosen = choose(lanes, limit);
        let mut pipeline = Pipeline::with_capacity(chosen.len());
        for (segment, seqs) in &chosen {
            let fields: Vec<String> =
                seqs.iter().flat_map(|seq| [seq.to_string(), format!("p{seq}")]).collect();
            pipeline.cmd("HMGET").arg(keys.lane(*segment)).arg(fields);
        }
        let answers = self.link().read_all(&pipeline).await?;
        let mut batches = Vec::new();
        for ((segment, seqs), answer) in chosen.into_iter().zip(answers) {
            let texts: Vec<Option<Vec<u8>>> =
                FromRedisValue::from_redis_value(answer).map_err(|_| shape("a lane"))?;
            for (seq, pair) in seqs.into_iter().zip(texts.chunks_exact(2)) {
                // What left the lane since its place was read is passed over.
                if let [Some(batch), progress] = pair {
                    self.lane_texts().note(group, segment, seq, batch);
                    batches.push(rows::batch(segment, seq, batch, progress.as_deref())?);
                }
            }
        }
        Ok(batches)
    }

    pub(crate) async fn withdraw_batches(&self, replay_id: &str) -> Result<u64, StorageFailure> {
        let groups = self.all_groups().await?;
        let mut went = 0;
        for (group, segments) in groups.iter().zip(self.busy_lanes(&groups).await?) {
            for segment in segments {
                went += self.withdraw_from(group.name(), segment, replay_id).await?;
            }
        }
        Ok(went)
    }

    /// Takes the batches of a replay of which nothing was handed over out of one lane; how many references went.
    async fn withdraw_from(&self, group: &str, segment: u16, replay_id: &str) -> Result<u64, StorageFailure> {
        let keys = GroupKeys::new(self.keys(), group);
        let mut command = redis::cmd("HGETALL");
        command.arg(keys.lane(segment));
        let batches = rows::lane_with_progress(segment, self.link().read(&command).await?)?;
        let untouched = batches.iter().filter(|(batch, _)| {
            matches!(&batch.origin, LaneOrigin::Replay { replay_id: id, .. } if id == replay_id)
                && is_untouched(&batch.progress)
        });
        let untouched: Vec<_> = untouched.collect();
        let mut went = 0;
        for some in untouched.chunks(MOST_AT_ONCE.0) {
            let names = [self.keys().meta(), keys.lanes(), keys.lane(segment), keys.places(segment)];
            let mut args = vec![segment.to_string().into_bytes()];
            for (batch, progress) in some {
                args.extend([batch.seq.to_string().into(), batch.positions.len().to_string().into()]);
                args.push(progress.clone());
            }
            let [_, Value::Int(references)] =
                rows::answers(array(self.link().call("withdraw", &names, &args).await?)?)?
            else {
                return Err(shape("what was withdrawn"));
            };
            went += references as u64;
        }
        Ok(went)
    }
}

/// Whether nothing of a batch was handed over.
fn is_untouched(progress: &LaneProgress) -> bool {
    progress.claimed_to == 0 && progress.done.is_empty()
}

/// The places and lengths of batches.
fn places(answer: Value) -> Result<Vec<(u64, usize)>, StorageFailure> {
    let members: Vec<String> = FromRedisValue::from_redis_value(answer).map_err(|_| shape("a lane"))?;
    let place = |member: &String| {
        let (seq, references) = member.split_once(':')?;
        Some((seq.parse().ok()?, references.parse().ok()?))
    };
    members.iter().map(|member| place(member).ok_or_else(|| shape("a place in a lane"))).collect()
}

/// The first batch of each segment, then more of each as long as they fit.
fn choose(lanes: Vec<(u16, Vec<(u64, usize)>)>, limit: usize) -> Vec<(u16, Vec<u64>)> {
    let firsts = lanes.iter().filter_map(|(_, lane)| lane.first());
    let mut references: usize = firsts.map(|(_, length)| length).sum();
    let mut chosen = Vec::with_capacity(lanes.len());
    for (segment, lane) in lanes {
        let mut lane = lane.into_iter();
        let Some((first, _)) = lane.next() else { continue };
        let mut seqs = vec![first];
        for (seq, length) in lane {
            if references + length > limit {
                break;
            }
            references += length;
            seqs.push(seq);
        }
        chosen.push((segment, seqs));
    }
    chosen
}

/// How many batches go in one call.
fn fitting(pushes: &[Push]) -> usize {
    let mut bytes = 0;
    let fits = |push: &&Push| {
        bytes += push.body.len() + 64;
        bytes <= MOST_AT_ONCE.1
    };
    pushes.iter().take(MOST_AT_ONCE.0).take_while(fits).count().max(1).min(pushes.len())
}

fn array(answer: Value) -> Result<Vec<Value>, StorageFailure> {
    match answer {
        Value::Array(parts) => Ok(parts),
        _ => Err(shape("several parts")),
    }
}

fn read_pushed(answer: Value) -> Result<Pushed, StorageFailure> {
    let Value::Array(parts) = answer else { return Err(shape("an enqueue")) };
    let mut parts = parts.into_iter();
    match parts.next().as_ref().and_then(text) {
        Some("ok") => {}
        Some("refused") => return Ok(Pushed::Refused),
        _ => return Err(shape("an enqueue")),
    }
    let outcome = |part: Value| match text(&part) {
        Some("queued") => Ok(EnqueueOutcome::Queued),
        Some("already") => Ok(EnqueueOutcome::AlreadyQueued),
        Some("full") => Ok(EnqueueOutcome::Full),
        Some("nogroup") => Ok(EnqueueOutcome::NoGroup),
        _ => Err(shape("an enqueue")),
    };
    parts.map(outcome).collect::<Result<_, _>>().map(Pushed::Done)
}

/// The keys of a call, each once, by their places.
pub(crate) struct Names {
    names: Vec<String>,
    places: BTreeMap<String, usize>,
}

impl Names {
    pub(crate) fn new(meta: String) -> Self {
        Self { places: BTreeMap::from([(meta.clone(), 1)]), names: vec![meta] }
    }

    /// The place of a key, as an argument.
    pub(crate) fn place(&mut self, key: String) -> Vec<u8> {
        let next = self.names.len() + 1;
        let place = *self.places.entry(key.clone()).or_insert(next);
        if place == next {
            self.names.push(key);
        }
        place.to_string().into_bytes()
    }

    /// The call of a function: its keys and arguments, and those of a write that goes with it, where that says anything.
    pub(crate) fn command(self, function: &str, args: Vec<Vec<u8>>, also: Option<&Write>) -> Cmd {
        let also = also.filter(|write| !write.keys().is_empty());
        let others = also.map(Write::keys).unwrap_or_default();
        let mut command = Cmd::new();
        command.arg("FCALL").arg(functions::name(function)).arg(self.names.len() + others.len());
        for name in self.names.iter().chain(others) {
            command.arg(name);
        }
        for arg in args {
            command.arg(arg);
        }
        for arg in also.map(|write| write.args_after(self.names.len())).unwrap_or_default() {
            command.arg(arg);
        }
        command
    }
}
