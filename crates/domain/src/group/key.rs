//! Keys: the unit of order within a group, and the mapping of keys to segments and partitions.

use serde::{Deserialize, Serialize};

use crate::{entity::Entity, event::Event, filter::Filter, ordering::OrderingKey};

/// The rule by which a group keeps events in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GroupKey {
    /// The event's own ordering key, as it was resolved on admission.
    #[default]
    Event,
    /// The correlation id, or the event's own key if it has none.
    Correlation,
    /// The entity of this kind, or the event's own key if it names none.
    Entity(String),
    /// One key for all events: the group handles one event after the other.
    All,
}

/// An owned key. The group handles events with equal keys one at a time, in log order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Kind of the named thing: an entity kind, `correlation`, `event`, or `all`.
    pub kind: Box<str>,
    /// Id of the named thing.
    pub id: Box<str>,
}

impl Key {
    /// Returns the key of this kind and id.
    pub fn new(kind: impl Into<Box<str>>, id: impl Into<Box<str>>) -> Self {
        Self { kind: kind.into(), id: id.into() }
    }

    /// Returns a filter that finds the events of the key. It may also find events that name the entity under another
    /// key, so compare each event's key with [`GroupKey::of`]. For a key of kind `event`, look up the one event by
    /// its id instead.
    pub fn filter(&self) -> Filter {
        match &*self.kind {
            "all" => Filter::default(),
            "correlation" => Filter::correlation(&*self.id),
            kind => Filter::of_entity(Entity::new(kind, &*self.id)),
        }
    }
}

impl From<OrderingKey<'_>> for Key {
    fn from(key: OrderingKey<'_>) -> Self {
        Self::new(key.kind, key.id)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.kind, self.id)
    }
}

impl GroupKey {
    /// Returns the key of an event in a group with this rule.
    ///
    /// ```
    /// use event_replay_domain::{Document, Limits, group::GroupKey};
    /// let json = br#"{"id":"e1","type":"t","version":"1","timestamp":"2024-01-15T10:30:00Z","source":"s",
    ///                 "metadata":{},"correlationId":"c1","labId":"l1"}"#;
    /// let event = Document::parse(json, &Limits::default()).unwrap().into_event().unwrap();
    /// assert_eq!(GroupKey::Correlation.of(&event).to_string(), "correlation=c1");
    /// assert_eq!(GroupKey::Entity("lab".into()).of(&event).to_string(), "lab=l1");
    /// assert_eq!(GroupKey::Entity("user".into()).of(&event).to_string(), "event=e1");
    /// ```
    pub fn of<'e>(&self, event: &'e Event) -> OrderingKey<'e> {
        match self {
            Self::Event => event.ordering_key(),
            Self::All => OrderingKey { kind: "all", id: "" },
            Self::Correlation => match event.correlation_id() {
                Some(id) => OrderingKey { kind: "correlation", id },
                None => event.ordering_key(),
            },
            Self::Entity(kind) => match event.entities().find(|(k, _)| k == kind) {
                Some((kind, id)) => OrderingKey { kind, id },
                None => event.ordering_key(),
            },
        }
    }
}

/// Returns the segment of a key, among the segments of a partition. Segment `s` lies in partition `s % partitions`. A
/// group has at least as many segments as the log has partitions. The hash is FNV-1a over kind, NUL and id, and then
/// mixed. It is part of the stored format, because a key must never change its segment.
pub fn segment_of(key: &OrderingKey<'_>, partition: u16, partitions: u16, segments: u16) -> u16 {
    let partitions = partitions.max(1);
    let lanes = (segments / partitions).max(1);
    partition + partitions * (hash_of(key) % u64::from(lanes)) as u16
}

/// Returns the partition of an ordering key, in a log that is divided by ordering keys. The upper bits of the hash
/// select the partition, and the lower bits select the segment within it. So the segments of a partition get equal
/// shares. The mapping is part of the stored format.
pub fn partition_of(key: &OrderingKey<'_>, partitions: u16) -> u16 {
    if partitions <= 1 {
        return 0;
    }
    ((u128::from(hash_of(key)) * u128::from(partitions)) >> 64) as u16
}

fn hash_of(key: &OrderingKey<'_>) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for byte in key.kind.bytes().chain([0]).chain(key.id.bytes()) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    mixed(hash)
}

/// Mixes a hash. FNV of short, similar texts has poor low bits, and the finisher of MurmurHash3 spreads them.
fn mixed(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_spread_over_all_segments_and_never_move() {
        let mut counts = [0; 16];
        for n in 0..16_000 {
            let id = format!("user-{n}");
            counts[usize::from(segment_of(&OrderingKey { kind: "user", id: &id }, 0, 1, 16))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1200).contains(count)), "{counts:?}");
        assert_eq!(segment_of(&OrderingKey { kind: "user", id: "user-123" }, 0, 1, 16), 7);
        for partition in 0..16 {
            assert_eq!(segment_of(&OrderingKey { kind: "user", id: "u" }, partition, 16, 16), partition);
            let of_32 = segment_of(&OrderingKey { kind: "user", id: "u" }, partition, 16, 32);
            assert_eq!(of_32 % 16, partition);
        }
    }

    #[test]
    fn partitions_and_their_segments_fill_evenly() {
        for (partitions, lanes) in [(16u16, 32u16), (4, 4), (64, 3), (2, 500)] {
            let segments = partitions * lanes;
            let each = 200;
            let mut counts = vec![0u32; usize::from(segments)];
            for n in 0..u32::from(segments) * each {
                let id = format!("user-{n}");
                let key = OrderingKey { kind: "user", id: &id };
                let partition = partition_of(&key, partitions);
                counts[usize::from(segment_of(&key, partition, partitions, segments))] += 1;
            }
            // Five standard deviations of a random spread.
            let most = (5.0 * f64::from(each).sqrt()) as u32;
            let even = counts.iter().all(|count| count.abs_diff(each) < most);
            assert!(
                even,
                "{partitions} partitions of {lanes}: {:?}..{:?}",
                counts.iter().min(),
                counts.iter().max()
            );
            let of_partition = |partition: u16| -> u32 {
                counts.iter().skip(usize::from(partition)).step_by(usize::from(partitions)).sum()
            };
            let whole = each * u32::from(lanes);
            let most = (5.0 * f64::from(whole).sqrt()) as u32;
            assert!(
                (0..partitions).all(|it| of_partition(it).abs_diff(whole) < most),
                "{partitions} partitions"
            );
        }
    }

    #[test]
    fn a_key_never_changes_its_partition() {
        let of = |id| partition_of(&OrderingKey { kind: "user", id }, 16);
        assert_eq!(["user-1", "user-2", "user-3", "user-123"].map(of), [3, 2, 3, 10]);
        assert_eq!(partition_of(&OrderingKey { kind: "user", id: "u" }, 1), 0);
    }
}
