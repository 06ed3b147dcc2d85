//! Taking events out of the log and out of every index, a page of one chunk in one step.

use std::collections::{BTreeMap, HashMap};

use domain::{
    Event, StorageFailure,
    ports::{EventStoreError, Keeps},
};
use redis::{Cmd, Value, cmd};

use crate::{
    failure::shape,
    functions,
    keys::{CHUNK, Digest, Long, chunk_of},
    rows::Entry,
    state::State,
    store::RedisStore,
    tries::Tries,
    write::{Write, text},
};

/// Most events of one call: numbers of events are bytes, and a call should not hold the server up.
pub(crate) const AT_ONCE: usize = 200;
/// Entries that one call copies when a chunk is written anew.
const COPIED_AT_ONCE: usize = 200;
/// How often a chunk is begun anew because others removed something of the log meanwhile.
const REWRITE_TRIES: usize = 20;

/// The partition as it was when something was decided on it. Whoever removes says what it saw: another removal, or a new
/// hold, makes the server refuse.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) state: State,
    removals: Option<String>,
    holds: Option<String>,
}

impl Seen {
    /// A write that is refused where another has removed something since, or begun to hold something.
    pub(crate) fn guarded(&self, meta: &str) -> Write {
        let mut write = self.undisturbed(meta);
        write.if_still(meta, "holds", self.holds.as_deref().map(str::as_bytes));
        write
    }

    /// A write that is refused where another has removed something since.
    pub(crate) fn undisturbed(&self, meta: &str) -> Write {
        let mut write = Write::new();
        write.if_still(meta, "removals", self.removals.as_deref().map(str::as_bytes));
        write
    }

    /// Whether nothing was removed between two looks.
    pub(crate) fn kept_all_since(&self, earlier: &Self) -> bool {
        self.removals == earlier.removals && self.state.epoch == earlier.state.epoch
    }

    /// Notes the removal of one's own.
    pub(crate) fn removed(&mut self, removals: i64) {
        self.removals = Some(removals.to_string());
    }
}

/// The terms under which an event stands in the indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The id; none where nobody knows it.
    pub(crate) id: Option<Digest>,
    /// Long terms, by their names in the directory.
    pub(crate) longs: Vec<String>,
    pub(crate) shorts: Vec<Digest>,
}

impl Terms {
    pub(crate) fn of(event: &Event, keeps: Keeps) -> Self {
        let id = Some(Digest::of_id(event.id()));
        if keeps == Keeps::Deliveries {
            return Self { id, ..Self::default() };
        }
        let mut shorts = Digest::short_terms(event);
        shorts.sort_unstable();
        shorts.dedup();
        Self { id, longs: Long::of(event).iter().map(Long::field).collect(), shorts }
    }
}

/// An event that is about to go.
#[derive(Debug, Clone)]
pub(crate) struct Going {
    pub(crate) sequence: u64,
    /// In microseconds; with the sequence the id of its entry.
    pub(crate) stored_at: i64,
    pub(crate) bytes: u64,
    /// None where it is damaged.
    pub(crate) event: Option<Event>,
}

impl From<Entry> for Going {
    fn from(entry: Entry) -> Self {
        Self {
            sequence: entry.sequence,
            stored_at: entry.stored_at,
            bytes: entry.bytes,
            event: entry.event.ok(),
        }
    }
}

/// Where in their chunk events go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// They are the oldest of the log.
    Prefix,
    /// Others stay before them: what they took is freed when the chunk is written anew.
    Middle,
    /// Their ids are refused from now on, and the chunk must be written anew.
    Erase,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Prefix => "prefix",
            Self::Middle => "middle",
            Self::Erase => "erase",
        }
    }
}

/// What became of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// It is gone: so many events, and how many pages were ever removed.
    Done { events: u64, removals: i64 },
    /// Something that was decided on is not so any more; nothing was changed.
    Overtaken,
}

impl RedisStore {
    /// The partition as it is now, to decide on what to remove.
    pub(crate) async fn seen(&self) -> Result<Seen, StorageFailure> {
        let mut command = cmd("HGETALL");
        command.arg(self.keys().meta());
        let answer = self.link().read(&command).await?;
        let mut fields: HashMap<String, String> =
            redis::FromRedisValue::from_redis_value(answer.clone()).map_err(|_| shape("the state"))?;
        let state = State::read(answer)?;
        let state = state.ok_or_else(|| StorageFailure::Foreign("the namespace is gone".to_owned()))?;
        self.learn(&state)?;
        Ok(Seen { state, removals: fields.remove("removals"), holds: fields.remove("holds") })
    }

    /// The chunks of the log, the oldest first.
    pub(crate) async fn chunks(&self) -> Result<Vec<u64>, StorageFailure> {
        let mut command = cmd("ZRANGE");
        command.arg(self.keys().chunks()).arg(0).arg(-1);
        let answer = self.link().read(&command).await?;
        redis::FromRedisValue::from_redis_value(answer).map_err(|_| shape("the chunks"))
    }

    /// Removes events, which must be of one chunk, rising, and at most [`AT_ONCE`], if the guards of `also` hold; and does
    /// the rest of `also` in the same step.
    pub(crate) async fn remove_events(
        &self,
        going: &[Going],
        mode: Mode,
        also: &Write,
    ) -> Result<Removal, StorageFailure> {
        let Some(chunk) = going.first().map(|first| chunk_of(first.sequence)) else {
            return Ok(Removal::Overtaken);
        };
        let damaged: Vec<u64> =
            going.iter().filter(|one| one.event.is_none()).map(|one| one.sequence).collect();
        let mut of_damaged = self.terms_of_damaged(&damaged).await?;
        let terms: Vec<Terms> = going
            .iter()
            .map(|one| match &one.event {
                Some(event) => Terms::of(event, self.keeps()),
                None => of_damaged.remove(&one.sequence).unwrap_or_default(),
            })
            .collect();
        let command = self.remove_command(chunk, going, &terms, mode, also).await?;
        let Value::Array(parts) = self.link().call_command(&command).await? else {
            return Err(shape("a removal"));
        };
        match parts.as_slice() {
            [what, Value::Int(events), Value::Int(removals)] if text(what) == Some("ok") => {
                Ok(Removal::Done { events: (*events).max(0) as u64, removals: *removals })
            }
            [what, ..] if text(what) == Some("refused") => Ok(Removal::Overtaken),
            [what, rest @ ..] if text(what) == Some("moved") => {
                self.learn_moved(rest)?;
                Ok(Removal::Overtaken)
            }
            _ => Err(shape("a removal")),
        }
    }

    async fn remove_command(
        &self,
        chunk: u64,
        going: &[Going],
        terms: &[Terms],
        mode: Mode,
        also: &Write,
    ) -> Result<Cmd, StorageFailure> {
        let (known, keys) = (self.known().await?, self.keys());
        let mut longs: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
        let mut shorts: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
        for (terms, number) in terms.iter().zip(1..=u8::MAX) {
            for field in &terms.longs {
                longs.entry(field).or_default().push(number);
            }
            for digest in &terms.shorts {
                shorts.entry(*digest).or_default().push(number);
            }
        }
        let bucket = |digest: Digest| keys.bucket(digest.bucket(known.level, known.split));
        let mut names = vec![keys.meta(), keys.log(chunk), keys.chunks(), keys.directory(chunk)];
        names.extend([keys.replayed(chunk), self.holes(), self.unscrubbed(), self.copy_of(chunk)]);
        names.extend(longs.keys().map(|field| keys.long(chunk, field)));
        for digest in shorts.keys() {
            names.extend([bucket(*digest), keys.promoted(*digest)]);
        }
        // Where the id is unknown nothing is looked up: any bucket will do.
        names.extend(terms.iter().map(|terms| terms.id.map_or_else(|| keys.bucket(0), bucket)));
        let own_keys = names.len();
        names.extend(also.keys().iter().cloned());

        let mut command = Cmd::new();
        command.arg("FCALL").arg(functions::name("remove")).arg(names.len()).arg(&names);
        command.arg(chunk).arg(known.level).arg(known.split).arg(mode.name());
        command.arg(going.len()).arg(longs.len()).arg(shorts.len());
        command.arg(going.iter().map(|one| one.bytes).sum::<u64>());
        for (one, terms) in going.iter().zip(terms) {
            command.arg(format!("{}-{}", one.sequence, one.stored_at));
            command.arg(terms.id.as_ref().map_or(&[][..], |digest| &digest.0[..]));
        }
        for (field, numbers) in &longs {
            command.arg(field).arg(&numbers[..]);
        }
        for (digest, numbers) in &shorts {
            command.arg(&digest.0[..]).arg(&numbers[..]);
        }
        for arg in also.args_after(own_keys) {
            command.arg(arg);
        }
        Ok(command)
    }

    /// Writes a chunk anew from what is left of it: what was deleted from its midst is in memory no longer, and in no
    /// snapshot that is made from now on. Appends go on meanwhile. Whether it could be done: it cannot while others remove.
    pub(crate) async fn rewrite_chunk(&self, chunk: u64) -> Result<bool, EventStoreError> {
        let keys = self.keys();
        let names = [keys.meta(), keys.log(chunk), self.copy_of(chunk), self.holes(), self.unscrubbed()];
        let mut tries = Tries::new();
        for _ in 0..REWRITE_TRIES {
            let removals = self.seen().await?.removals.unwrap_or_else(|| "0".to_owned());
            let mut copied = String::new();
            loop {
                let args = [chunk.to_string(), COPIED_AT_ONCE.to_string(), copied, removals.clone()];
                let Value::Array(parts) = self.link().call("rewrite", &names, &args).await? else {
                    return Err(shape("a copy").into());
                };
                match parts.as_slice() {
                    [what] if text(what) == Some("done") => return Ok(true),
                    [what] if text(what) == Some("moved") => break,
                    [what, last] if text(what) == Some("more") => {
                        copied = text(last).unwrap_or_default().to_owned();
                    }
                    _ => return Err(shape("a copy").into()),
                }
            }
            tries.again().await?;
        }
        Ok(false)
    }

    /// How many events were removed from the midst of a chunk, by its number.
    pub(crate) fn holes(&self) -> String {
        self.keys().named("holes")
    }

    /// The chunks that still have bytes of erased events.
    pub(crate) fn unscrubbed(&self) -> String {
        self.keys().named("unscrubbed")
    }

    fn copy_of(&self, chunk: u64) -> String {
        self.keys().named(&format!("copy:{chunk}"))
    }

    /// What the indexes know of events that cannot be read. The whole dictionary is asked: there is no other way.
    async fn terms_of_damaged(&self, damaged: &[u64]) -> Result<HashMap<u64, Terms>, StorageFailure> {
        let mut found: HashMap<u64, Terms> = HashMap::new();
        if damaged.is_empty() {
            return Ok(found);
        }
        let mut scan = self.scan_dictionary().await?;
        while let Some(values) = scan.next(self).await? {
            for (digest, value) in values {
                self.terms_in_value(digest, &value, damaged, &mut found).await?;
            }
        }
        let chunk = damaged.first().map_or(0, |sequence| chunk_of(*sequence));
        let mut command = cmd("HKEYS");
        command.arg(self.keys().directory(chunk));
        let fields: Vec<String> = redis::FromRedisValue::from_redis_value(self.link().read(&command).await?)
            .map_err(|_| shape("a directory"))?;
        for field in fields {
            let list = self.keys().long(chunk, &field);
            for sequence in self.in_list(&list, damaged, |sequence| sequence % CHUNK).await? {
                found.entry(sequence).or_default().longs.push(field.clone());
            }
        }
        Ok(found)
    }

    async fn terms_in_value(
        &self,
        digest: Digest,
        value: &[u8],
        damaged: &[u64],
        found: &mut HashMap<u64, Terms>,
    ) -> Result<(), StorageFailure> {
        match crate::dictionary::Posted::read(value) {
            crate::dictionary::Posted::Id(sequence) if damaged.contains(&sequence) => {
                found.entry(sequence).or_default().id = Some(digest);
            }
            crate::dictionary::Posted::Packed(sequences) => {
                for sequence in sequences.into_iter().filter(|sequence| damaged.contains(sequence)) {
                    found.entry(sequence).or_default().shorts.push(digest);
                }
            }
            crate::dictionary::Posted::List => {
                let list = self.keys().promoted(digest);
                for sequence in self.in_list(&list, damaged, |sequence| sequence).await? {
                    found.entry(sequence).or_default().shorts.push(digest);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Which of some sequences stand in a list, as the list spells them.
    pub(crate) async fn in_list(
        &self,
        list: &str,
        sequences: &[u64],
        spelled: impl Fn(u64) -> u64,
    ) -> Result<Vec<u64>, StorageFailure> {
        let mut pipeline = redis::Pipeline::with_capacity(sequences.len());
        for sequence in sequences {
            pipeline.cmd("LPOS").arg(list).arg(spelled(*sequence));
        }
        let answers = self.link().read_all(&pipeline).await?;
        let found = sequences.iter().zip(answers).filter(|(_, answer)| *answer != Value::Nil);
        Ok(found.map(|(sequence, _)| *sequence).collect())
    }
}
