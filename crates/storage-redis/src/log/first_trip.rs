//! The first round trip of a scan: the state, and every request that is possible before the state is known.

use domain::{StorageFailure, ports::engine::Scan};
use futures_util::future::try_join;
use jiff::Timestamp;
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    client::failure::unexpected_reply,
    engine::{
        keys::{Digest, Term},
        partition::Partition,
        state::State,
    },
    index::{pending::Pending, term_lookup::TermLookup},
    log::{
        ask::{Ahead, Ask},
        scan::asked,
        walk::{chunks_command, numbers},
    },
};

/// How many times the first round trip is repeated because the dictionary was split meanwhile.
const MOST_TRIES: usize = 100;

/// The ids and terms of a filter that can be looked up before the state is known.
#[derive(Debug, Default)]
pub(crate) struct LookUp {
    pub(crate) ids: Vec<Digest>,
    pub(crate) terms: Vec<Term>,
    /// Whether lists are read afterwards.
    pub(crate) lists: bool,
    /// Whether the walk covers exactly the events that these ids or terms name.
    pub(crate) is_all: bool,
}

impl LookUp {
    pub(crate) fn is_nothing(&self) -> bool {
        self.ids.is_empty() && self.terms.is_empty()
    }
}

/// The results of the first round trip.
pub(crate) struct FirstTrip {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// The values of the ids in the dictionary.
    pub(crate) ids: Vec<Value>,
    /// The positions of the terms, if they were looked up.
    pub(crate) terms: Option<Vec<Value>>,
    /// The pending terms, if lists are read afterwards.
    pub(crate) pending: Option<Pending>,
    /// The numbers of the chunks, if they were requested.
    pub(crate) chunks: Option<Vec<u64>>,
    pub(crate) ahead: Option<Ahead>,
    pub(crate) near: TermLookup,
}

impl FirstTrip {
    pub(crate) async fn read(
        store: &Partition,
        scan: &Scan<'_>,
        wanted: &LookUp,
        guess: Option<Ask>,
    ) -> Result<Self, StorageFailure> {
        let mut is_near = wanted.is_all;
        for _ in 0..MOST_TRIES {
            let count = wanted.ids.len() + wanted.terms.len();
            let near = is_near && store.finding().is_worth(count, scan.limit);
            match Self::try_read(store, scan, wanted, guess.as_ref(), near).await {
                Ok(Some(ground)) => return Ok(ground),
                Ok(None) => {}
                Err(failure) if near && store.finding().is_impossible(&failure) => is_near = false,
                Err(failure) => return Err(failure),
            }
        }
        Err(StorageFailure::Busy { waited: std::time::Duration::ZERO })
    }

    /// Returns none if the dictionary has other buckets than the handle knew.
    async fn try_read(
        store: &Partition,
        scan: &Scan<'_>,
        wanted: &LookUp,
        guess: Option<&Ask>,
        is_near: bool,
    ) -> Result<Option<Self>, StorageFailure> {
        let (keys, known) = (store.keys(), store.known());
        let mut pipeline = Pipeline::with_capacity(wanted.ids.len() + 5);
        pipeline.cmd("HGETALL").arg(keys.meta());
        store.ask_time(&mut pipeline);
        if is_near {
            let range = asked(scan);
            pipeline.add_command(TermLookup::command(store, known, wanted, range, scan.limit.max(1)));
        } else {
            for digest in &wanted.ids {
                let bucket = keys.bucket(digest.bucket(known.level, known.split));
                pipeline.cmd("HGET").arg(bucket).arg(&digest.0[..]);
            }
        }
        if wanted.lists {
            pipeline.cmd("GET").arg(keys.pending());
        }
        if wanted.is_nothing() {
            pipeline.add_command(chunks_command(store, scan.order));
        } else {
            // Read after the values, so that a split that moved a value meanwhile is noticed.
            pipeline.cmd("HMGET").arg(keys.meta()).arg(&["level", "split"][..]);
        }
        let (whole, guess) = match guess {
            Some(guess) if guess.is_whole(store, scan.order) => (Some(guess), None),
            guess => (None, guess),
        };
        if let Some(whole) = whole {
            whole.put(store, scan.order, &mut pipeline);
        }
        // One connection answers in order, so the entries are not older than the state. After a disturbance they may
        // be older. Then they are dropped and read again.
        let disturbances = store.link().disturbances();
        let ahead = async {
            match guess {
                Some(guess) => guess.read(store, scan.order).await.map(Some),
                None => Ok(None),
            }
        };
        let (answers, ahead) = try_join(store.read_entries(&pipeline), ahead).await?;
        let ahead = ahead.filter(|_| store.link().disturbances() == disturbances);
        let mut answers = answers.into_iter();
        let state = store.learn_answer(answers.next().unwrap_or(Value::Nil))?;
        let now = store.take_time(&mut answers)?;
        let (ids, terms, near) = match is_near {
            true => {
                let (mut values, near) = TermLookup::read(answers.next().unwrap_or(Value::Nil))?;
                let terms = values.split_off(wanted.ids.len().min(values.len()));
                (values, Some(terms), near)
            }
            false => (answers.by_ref().take(wanted.ids.len()).collect(), None, TermLookup::default()),
        };
        let pending = match wanted.lists {
            true => Some(Pending::read_answer(&answers.next().unwrap_or(Value::Nil))?),
            false => None,
        };
        let rest = answers.next().unwrap_or(Value::Nil);
        let chunks = match wanted.is_nothing() {
            true => Some(numbers(rest)?),
            false => {
                let now: (u32, u32) =
                    FromRedisValue::from_redis_value(rest).map_err(|_| unexpected_reply("the dictionary"))?;
                if now != (known.level, known.split) {
                    store.last().set_buckets(now.0, now.1);
                    return Ok(None);
                }
                None
            }
        };
        let ahead = match whole {
            Some(whole) => Some(whole.take(store, &mut answers)?),
            None => ahead,
        };
        Ok(Some(Self { state, now, ids, terms, pending, chunks, ahead, near }))
    }
}
