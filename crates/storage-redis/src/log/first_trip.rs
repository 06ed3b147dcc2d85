//! The first round trip of a scan: the state, and with it whatever can be asked before the state is known.

use domain::{StorageFailure, ports::engine::Scan};
use futures_util::future::try_join;
use jiff::Timestamp;
use redis::{FromRedisValue, Pipeline, Value};

use crate::{
    client::failure::unexpected_reply,
    engine::{keys::Digest, partition::Partition, state::State},
    index::term_lookup::TermLookup,
    log::{
        ask::{Ahead, Ask},
        scan::asked,
        walk::{chunks_command, numbers},
    },
};

/// The first round trip is made again where the dictionary was split meanwhile.
const MOST_TRIES: usize = 100;

/// What the first round trip brings.
pub(crate) struct FirstTrip {
    pub(crate) state: State,
    pub(crate) now: Timestamp,
    /// What the dictionary holds.
    pub(crate) values: Vec<Value>,
    /// The numbers of the chunks, where they were asked for.
    pub(crate) chunks: Option<Vec<u64>>,
    pub(crate) ahead: Option<Ahead>,
    pub(crate) near: TermLookup,
}

impl FirstTrip {
    pub(crate) async fn read(
        store: &Partition,
        scan: &Scan<'_>,
        digests: &[Digest],
        guess: Option<Ask>,
        is_near: bool,
    ) -> Result<Self, StorageFailure> {
        let mut is_near = is_near;
        for _ in 0..MOST_TRIES {
            let near = is_near && store.finding().is_worth(digests.len(), scan.limit);
            match Self::try_read(store, scan, digests, guess.as_ref(), near).await {
                Ok(Some(ground)) => return Ok(ground),
                Ok(None) => {}
                Err(failure) if near && store.finding().is_impossible(&failure) => is_near = false,
                Err(failure) => return Err(failure),
            }
        }
        Err(StorageFailure::Busy { waited: std::time::Duration::ZERO })
    }

    /// None where the dictionary has other buckets than was known.
    async fn try_read(
        store: &Partition,
        scan: &Scan<'_>,
        digests: &[Digest],
        guess: Option<&Ask>,
        is_near: bool,
    ) -> Result<Option<Self>, StorageFailure> {
        let (keys, known) = (store.keys(), store.known());
        let mut pipeline = Pipeline::with_capacity(digests.len() + 5);
        pipeline.cmd("HGETALL").arg(keys.meta());
        store.ask_time(&mut pipeline);
        if is_near {
            let wanted = asked(scan);
            pipeline.add_command(TermLookup::command(store, known, digests, wanted, scan.limit.max(1)));
        } else {
            for digest in digests {
                let bucket = keys.bucket(digest.bucket(known.level, known.split));
                pipeline.cmd("HGET").arg(bucket).arg(&digest.0[..]);
            }
        }
        if digests.is_empty() {
            pipeline.add_command(chunks_command(store, scan.order));
        } else {
            // Asked after the values: what a split moved meanwhile is then known to have been moved.
            pipeline.cmd("HMGET").arg(keys.meta()).arg(&["level", "split"][..]);
        }
        // On one connection what is asked first is answered first: the entries are not older than the state. Where something
        // came in between they may be, and are asked for again.
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
        let (values, near) = match is_near {
            true => TermLookup::read(answers.next().unwrap_or(Value::Nil))?,
            false => (answers.by_ref().take(digests.len()).collect(), TermLookup::default()),
        };
        let rest = answers.next().unwrap_or(Value::Nil);
        let chunks = match digests.is_empty() {
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
        Ok(Some(Self { state, now, values, chunks, ahead, near }))
    }
}
