//! The schedule: events that wait for their time, and their way into the log.
//!
//! The zset `schedule` has a member for each: the time at which it is due, the number under which it was scheduled, its id.
//! Times and numbers are written so that members sort as the events come. The hash `wait:<id>` has the event.

use async_trait::async_trait;
use domain::{
    Entity, Event, StorageFailure,
    event::{head, same_content},
    ports::{AppendOutcome, Atomicity, ScheduleOutcome, ScheduleStore, ScheduleStoreError, ScheduledEvent},
};
use jiff::Timestamp;
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    append::{ERASED, MAX_BATCH_BYTES, MAX_BATCH_EVENTS},
    failure::shape,
    keys::Digest,
    partition::Partition,
    state::from_micros,
    tries::Tries,
    write::{Write, Written, text},
};

/// Digits of a time in a member, and of a whole place.
const DUE_DIGITS: usize = 22;
const PLACE_DIGITS: usize = DUE_DIGITS + 16;
/// What is added to nanoseconds of the Unix epoch, so that every time that there is has as many digits.
const BEGIN_OF_TIME: i128 = 1_000_000_000_000_000_000_000;
/// Events that one round trip reads.
const READ_AT_ONCE: usize = 100;

/// A time as it sorts.
fn sortable(nanoseconds: i128) -> String {
    format!("{:0DUE_DIGITS$}", nanoseconds + BEGIN_OF_TIME)
}

/// A member of the zset.
pub(crate) struct Member {
    text: String,
    due: Timestamp,
}

impl Member {
    pub(crate) fn read(text: String) -> Result<Self, StorageFailure> {
        let digits = text.get(..DUE_DIGITS).and_then(|digits| digits.parse::<i128>().ok());
        let due = digits.and_then(|digits| Timestamp::from_nanosecond(digits - BEGIN_OF_TIME).ok());
        match (due, text.get(PLACE_DIGITS..)) {
            (Some(due), Some(_)) => Ok(Self { text, due }),
            _ => Err(StorageFailure::Corrupt("an entry of the schedule is not ours".to_owned())),
        }
    }

    /// Where it stands: this much no other event has.
    pub(crate) fn place(&self) -> &str {
        self.text.get(..PLACE_DIGITS).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> &str {
        self.text.get(PLACE_DIGITS..).unwrap_or_default()
    }
}

/// When the event at a place is due.
fn due_at(place: &str) -> Result<Timestamp, StorageFailure> {
    Ok(Member::read(place.to_owned())?.due)
}

/// An event that waits, as it was read.
pub(crate) struct Waiting {
    member: Member,
    pub(crate) scheduled: ScheduledEvent,
}

/// The event of an entry, from its fields; none where it waits there no more.
pub(crate) fn decode(member: Member, answer: Value) -> Result<Option<Waiting>, StorageFailure> {
    type Fields = (Option<String>, Option<i64>, Option<Vec<u8>>, Option<String>);
    let fields: Result<Fields, _> = FromRedisValue::from_redis_value(answer);
    let damaged = || StorageFailure::Corrupt(format!("the scheduled event {:?} is damaged", member.id()));
    let (place, at, packed, json) = fields.map_err(|_| damaged())?;
    if place.as_deref() != Some(member.place()) {
        // Cancelled since the schedule was looked at, or in the log by now.
        return Ok(None);
    }
    let (Some(at), Some(packed), Some(json)) = (at, packed, json) else { return Err(damaged()) };
    let event = head::decode(&json, &packed).map_err(|_| damaged())?;
    let scheduled = ScheduledEvent { event, due: member.due, scheduled_at: from_micros(at) };
    Ok(Some(Waiting { member, scheduled }))
}

impl Partition {
    pub(crate) fn schedule_key(&self) -> String {
        self.keys().named("schedule")
    }

    pub(crate) fn waiting_key(&self, id: &str) -> String {
        self.keys().with_text("wait", id)
    }

    /// The earliest entries of the schedule before a time, or of all, after one, or from the first.
    async fn scheduled_members(
        &self,
        after: Option<&Member>,
        before: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Member>, StorageFailure> {
        let from = after.map_or("-".to_owned(), |after| format!("({}", after.text));
        let to = before.map_or("+".to_owned(), |before| format!("({before}"));
        let mut command = cmd("ZRANGEBYLEX");
        command.arg(self.schedule_key()).arg(from).arg(to).arg("LIMIT").arg(0).arg(limit);
        let texts: Vec<String> = FromRedisValue::from_redis_value(self.link().read(&command).await?)
            .map_err(|_| shape("the schedule"))?;
        texts.into_iter().map(Member::read).collect()
    }

    /// The events of entries, in their order. What is gone by now is left out.
    async fn waiting_events(&self, members: Vec<Member>) -> Result<Vec<Waiting>, StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(members.len());
        for member in &members {
            pipeline
                .cmd("HMGET")
                .arg(self.waiting_key(member.id()))
                .arg(&["place", "at", "head", "event"][..]);
        }
        let answers = self.link().read_all(&pipeline).await?;
        let mut waiting = Vec::with_capacity(members.len());
        for (member, answer) in members.into_iter().zip(answers) {
            waiting.extend(decode(member, answer)?);
        }
        Ok(waiting)
    }

    /// As many of the entries, from the first, as go into one batch. One goes always.
    async fn that_fit(&self, mut members: Vec<Member>) -> Result<Vec<Member>, StorageFailure> {
        let mut pipeline = Pipeline::with_capacity(members.len());
        for member in &members {
            pipeline.cmd("HSTRLEN").arg(self.waiting_key(member.id())).arg("event");
        }
        let (mut bytes, mut fit) = (0, 0);
        for answer in self.link().read_all(&pipeline).await? {
            let Value::Int(length) = answer else { return Err(shape("the schedule")) };
            bytes += length.max(0) as usize;
            if bytes > MAX_BATCH_BYTES && fit > 0 {
                break;
            }
            fit += 1;
        }
        members.truncate(fit);
        Ok(members)
    }

    /// Takes an event out of the schedule, if it is still where it was.
    fn take_out(&self, write: &mut Write, member: &Member) {
        let key = self.waiting_key(member.id());
        write.if_is(&key, "place", member.place());
        write.del(&key).command("ZREM", &self.schedule_key(), &member.text);
    }

    async fn schedule_event(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure> {
        let (digest, packed) = (Digest::of_id(event.id()), head::encode(event));
        let mut tries = Tries::new();
        loop {
            let known = self.known().await?;
            let bucket = self.keys().bucket(digest.bucket(known.level, known.split));
            let keys = [self.keys().meta(), self.schedule_key(), self.waiting_key(event.id()), bucket];
            let now = self.own_clock().map(|now| now.to_string()).unwrap_or_default();
            let args: [&[u8]; 8] = [
                now.as_bytes(),
                &known.level.to_string().into_bytes(),
                &known.split.to_string().into_bytes(),
                &sortable(due.as_nanosecond()).into_bytes(),
                event.id().as_bytes(),
                &digest.0,
                &packed,
                event.json().as_bytes(),
            ];
            let Value::Array(answer) = self.link().call("schedule", &keys, &args).await? else {
                return Err(shape("the schedule"));
            };
            match answer.as_slice() {
                [what, Value::Int(epoch)] if text(what) == Some("ok") => {
                    self.until_copied(*epoch as u64).await?;
                    return Ok(ScheduleOutcome::Scheduled);
                }
                [what, place, json, Value::Int(epoch)] if text(what) == Some("waits") => {
                    return match (text(place), text(json)) {
                        (Some(place), Some(json)) if same_content(json, event.json()) => {
                            self.until_copied(*epoch as u64).await?;
                            Ok(ScheduleOutcome::AlreadyScheduled(due_at(place)?))
                        }
                        _ => Ok(ScheduleOutcome::Conflict),
                    };
                }
                [what, value, Value::Int(epoch)] if text(what) == Some("known") => {
                    match self.known_outcome(event, value).await? {
                        Some(AppendOutcome::AlreadyStored(at)) => {
                            self.until_copied(*epoch as u64).await?;
                            return Ok(ScheduleOutcome::AlreadyStored(at));
                        }
                        Some(AppendOutcome::Erased) => return Ok(ScheduleOutcome::Erased),
                        Some(_) => return Ok(ScheduleOutcome::Conflict),
                        // It went meanwhile.
                        None => {}
                    }
                }
                [what, rest @ ..] if text(what) == Some("moved") => self.learn_moved(rest)?,
                _ => return Err(shape("the schedule")),
            }
            tries.again().await?;
        }
    }

    async fn cancel_waiting(&self, id: &str) -> Result<bool, StorageFailure> {
        let mut tries = Tries::new();
        loop {
            let place = self.link().read(cmd("HGET").arg(self.waiting_key(id)).arg("place")).await?;
            let Some(place) = text(&place) else { return Ok(false) };
            let member = Member::read(format!("{place}{id}"))?;
            let mut write = Write::new();
            self.take_out(write.fenced(), &member);
            if let Written::Done(_) = write.run(self.link(), &self.keys().meta()).await? {
                return Ok(true);
            }
            tries.again().await?;
        }
    }

    /// The places and ids of what is due now, the earliest first, at most so many.
    pub(crate) async fn due_now(&self, limit: usize) -> Result<Vec<(String, String)>, StorageFailure> {
        let now = from_micros(self.now().await?);
        let not_yet = sortable(now.as_nanosecond() + 1);
        let members = self.scheduled_members(None, Some(&not_yet), limit).await?;
        Ok(members.iter().map(|member| (member.place().to_owned(), member.id().to_owned())).collect())
    }

    /// The events leave the schedule whatever became of them: what the log refuses now it will refuse for ever.
    async fn append_what_is_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        let limit = limit.clamp(1, MAX_BATCH_EVENTS);
        let mut tries = Tries::new();
        loop {
            let now = from_micros(self.now().await?);
            let not_yet = sortable(now.as_nanosecond() + 1);
            let members = self.scheduled_members(None, Some(&not_yet), limit).await?;
            if members.is_empty() {
                return Ok(Vec::new());
            }
            let members = self.that_fit(members).await?;
            let texts: Vec<String> = members.iter().map(|member| member.text.clone()).collect();
            let waiting = self.waiting_events(members).await?;
            if waiting.is_empty() {
                self.forget_lost(texts).await?;
            }
            let mut also = Write::new();
            for waits in &waiting {
                self.take_out(&mut also, &waits.member);
            }
            let batch: Vec<Event> = waiting.into_iter().map(|waits| waits.scheduled.event).collect();
            if let Some(outcomes) = self.move_into_log(&batch, &mut also).await? {
                return Ok(batch.iter().map(|event| event.id().to_owned()).zip(outcomes).collect());
            }
            // Another caller takes the same events.
            tries.again().await?;
        }
    }

    /// Drops entries whose events are gone, however that came: nothing else would ever take them out.
    async fn forget_lost(&self, texts: Vec<String>) -> Result<(), StorageFailure> {
        for text in texts {
            let member = Member::read(text)?;
            let mut write = Write::new();
            write.fenced().if_none(&self.waiting_key(member.id()));
            write.command("ZREM", &self.schedule_key(), &member.text);
            write.run(self.link(), &self.keys().meta()).await?;
        }
        Ok(())
    }

    /// What became of the events; none where some of them had left the schedule.
    async fn move_into_log(
        &self,
        batch: &[Event],
        also: &mut Write,
    ) -> Result<Option<Vec<AppendOutcome>>, StorageFailure> {
        if batch.is_empty() {
            return Ok(None);
        }
        let Ok(outcomes) = self.append_batch(batch, Atomicity::Each, Some(also)).await? else {
            return Ok(None);
        };
        let stored = |outcome: &AppendOutcome| matches!(outcome, AppendOutcome::Stored(_));
        if outcomes.iter().any(stored) {
            return Ok(Some(outcomes));
        }
        // Nothing was stored, so nothing went with it.
        match also.fenced().run(self.link(), &self.keys().meta()).await? {
            Written::Done(_) => Ok(Some(outcomes)),
            Written::Refused(_) | Written::Moved => Ok(None),
        }
    }
}

/// Removes the scheduled events that name an entity, and refuses their ids from then on; the events whose ids were not
/// refused before. One of an id that the log has too only leaves the schedule.
pub(crate) async fn erase_scheduled(
    store: &Partition,
    entity: &Entity,
) -> Result<Vec<Event>, StorageFailure> {
    let (mut erased, mut after) = (Vec::new(), None);
    loop {
        let mut members = store.scheduled_members(after.as_ref(), None, READ_AT_ONCE).await?;
        let Some(last) = members.pop() else { return Ok(erased) };
        after = Some(Member { text: last.text.clone(), due: last.due });
        members.push(last);
        for waits in store.waiting_events(members).await? {
            if waits.scheduled.event.names(entity) && store.bury_scheduled(&waits.member).await? {
                erased.push(waits.scheduled.event);
            }
        }
    }
}

impl Partition {
    /// Takes an event out of the schedule for good; whether its id is refused by this.
    async fn bury_scheduled(&self, member: &Member) -> Result<bool, StorageFailure> {
        let digest = Digest::of_id(member.id());
        let meta = self.keys().meta();
        let mut tries = Tries::new();
        loop {
            let value = self.values_of(&[digest]).await?.pop().unwrap_or(Value::Nil);
            let known = self.known().await?;
            let bucket = self.keys().bucket(digest.bucket(known.level, known.split));
            let mut write = Write::new();
            self.take_out(write.fenced(), member);
            write.if_is(&meta, "level", known.level.to_string()).if_is(
                &meta,
                "split",
                known.split.to_string(),
            );
            write.if_still(&bucket, digest.0, text(&value).map(str::as_bytes));
            let is_new = value == Value::Nil;
            if is_new {
                write.hset(&bucket, &digest.0[..], ERASED).command("HINCRBY", &meta, ("fields", 1));
            }
            match write.run(self.link(), &meta).await? {
                Written::Done(_) => return Ok(is_new),
                // Its place, the first guard: it has left the schedule already.
                Written::Refused(0) => return Ok(false),
                Written::Refused(_) | Written::Moved => tries.again().await?,
            }
        }
    }
}

#[async_trait]
impl ScheduleStore for Partition {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, ScheduleStoreError> {
        Ok(self.schedule_event(event, due).await?)
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, ScheduleStoreError> {
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < limit {
            let members =
                self.scheduled_members(after.as_ref(), None, READ_AT_ONCE.min(limit - found.len())).await?;
            let Some(last) = members.last() else { break };
            after = Some(Member { text: last.text.clone(), due: last.due });
            found.extend(self.waiting_events(members).await?.into_iter().map(|waits| waits.scheduled));
        }
        Ok(found)
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, ScheduleStoreError> {
        Ok(self.cancel_waiting(event_id).await?)
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, ScheduleStoreError> {
        Ok(self.append_what_is_due(limit).await?)
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, ScheduleStoreError> {
        Ok(self.scheduled_members(None, None, 1).await?.first().map(|member| member.due))
    }
}
