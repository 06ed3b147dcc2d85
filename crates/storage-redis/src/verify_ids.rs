//! Verification that an id is in one partition alone. It lies in that of its event's ordering key; a publisher that gives an
//! event another key has it stored twice.

use std::hash::{BuildHasher, RandomState};

use domain::{
    Position, StorageFailure,
    ports::{EventStoreError, VerifyReport},
};
use futures_util::future::try_join_all;
use redis::Value;

use crate::{
    dictionary::Posted, keys::Digest, partition::Partition, rows::Entry, state::position, store::RedisStore,
};

/// Bits of the filter for each event, and the most of them: 32 MiB. Beyond, more ids are looked up in vain.
const BITS_AN_EVENT: u64 = 16;
const MOST_BITS: u64 = 1 << 28;

/// The ids that were met, as a filter that is sure only of those that were not.
pub(crate) struct Holders<'s> {
    store: &'s RedisStore,
    bits: Vec<u64>,
    hashers: [RandomState; 2],
}

impl<'s> Holders<'s> {
    /// Of so many events.
    pub(crate) fn new(store: &'s RedisStore, events: u64) -> Self {
        let bits = (events * BITS_AN_EVENT).clamp(1 << 16, MOST_BITS);
        let bits = vec![0; bits.div_ceil(64) as usize];
        Self { store, bits, hashers: [RandomState::new(), RandomState::new()] }
    }

    /// Checks the ids of entries of a partition; those before it were checked before.
    pub(crate) async fn check(
        &mut self,
        partition: &Partition,
        entries: &[Entry],
        report: &mut VerifyReport,
    ) -> Result<(), EventStoreError> {
        let ids = entries.iter().filter_map(|entry| Some((entry.sequence, entry.event.as_ref().ok()?.id())));
        let suspects: Vec<(u64, &str)> = ids.filter(|(_, id)| self.meets_again(id)).collect();
        if suspects.is_empty() {
            return Ok(());
        }
        let digests: Vec<Digest> = suspects.iter().map(|(_, id)| Digest::of_id(id)).collect();
        let partitions = self.store.partitions();
        let values: Vec<Vec<Value>> =
            try_join_all(partitions.iter().map(|partition| partition.values_of(&digests))).await?;
        for (at, (sequence, id)) in suspects.into_iter().enumerate() {
            let mut others = Vec::new();
            for (other, values) in partitions.iter().zip(&values) {
                if other.number() == partition.number() {
                    continue;
                }
                if let Some(sequence) = values.get(at).and_then(place_of)
                    && holds(other, sequence, id).await?
                {
                    others.push(Position::new(other.number(), sequence));
                }
            }
            // Named once, by the second that holds it.
            if others.iter().filter(|other| other.partition < partition.number()).count() == 1 {
                let others: Vec<String> = others.iter().map(Position::to_string).collect();
                let detail = format!("its id {id:?} is that of another event, too: {}", others.join(", "));
                report.add(Some(position(sequence)), detail);
            }
        }
        Ok(())
    }

    /// Whether an id may have been met before. It is met now.
    fn meets_again(&mut self, id: &str) -> bool {
        let mut known = true;
        for hasher in &self.hashers {
            let bit = hasher.hash_one(id) % (64 * self.bits.len() as u64);
            if let Some(word) = self.bits.get_mut((bit / 64) as usize) {
                known &= *word & (1 << (bit % 64)) != 0;
                *word |= 1 << (bit % 64);
            }
        }
        known
    }
}

/// Where the dictionary says that an id is.
fn place_of(value: &Value) -> Option<u64> {
    match value {
        Value::BulkString(value) => match Posted::read(value) {
            Posted::Id(sequence) => Some(sequence),
            _ => None,
        },
        _ => None,
    }
}

/// Whether an event of an id is where the dictionary says.
async fn holds(partition: &Partition, sequence: u64, id: &str) -> Result<bool, StorageFailure> {
    let found = partition.entries_at(&[sequence]).await?;
    Ok(found.iter().any(|entry| entry.event.as_ref().is_ok_and(|event| event.id() == id)))
}
