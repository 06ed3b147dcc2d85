//! The slot of a key in a cluster, and the hash tags that spread partitions evenly over all slots.

/// The number of slots of a cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// Returns the slot of a hash tag: the CRC-16 (XMODEM) of its bytes.
pub(crate) fn slot(tag: &str) -> u16 {
    let mut crc: u16 = 0;
    for byte in tag.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc % SLOTS
}

/// Returns the tag of the root of a namespace. The only partition, or the signpost to several partitions, has this
/// tag.
pub(crate) fn root(namespace: &str) -> String {
    format!("{namespace}:0")
}

/// Returns the tag of a partition's keys. The tag of a single partition is the root. Of several, partition `i` of `P`
/// has the tag `NAMESPACE:i:k` with the least `k` for which its slot is in the i-th of P equal parts of the slots.
/// Masters usually serve ranges of slots, so plain numbers could give one master two partitions and another eight.
pub(crate) fn tag(namespace: &str, partition: u16, partitions: u16) -> String {
    if partitions <= 1 {
        return root(namespace);
    }
    let width = SLOTS / partitions;
    let mut k: u32 = 0;
    loop {
        let tag = format!("{namespace}:{partition}:{k}");
        if slot(&tag) / width == partition {
            return tag;
        }
        k += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values that `CLUSTER KEYSLOT` of a server answers.
    #[test]
    fn slots_are_those_of_redis() {
        for (tag, expected) in [("123456789", 12_739), ("foo", 12_182), ("bar", 5_061), ("", 0)] {
            assert_eq!(slot(tag), expected, "{tag:?}");
        }
    }

    #[test]
    fn every_partition_lies_in_its_part_of_the_slots() {
        for namespace in ["default", "a", "orders.v2", "x_-9"] {
            for partitions in [2, 4, 8, 16, 32, 64] {
                for partition in 0..partitions {
                    let slot = u32::from(slot(&tag(namespace, partition, partitions)));
                    let part = slot * u32::from(partitions) / u32::from(SLOTS);
                    assert_eq!(part, u32::from(partition), "{namespace} {partition}/{partitions}");
                }
            }
        }
    }

    /// The tags are part of the format: other programs use the same keys.
    #[test]
    fn tags_never_change() {
        assert_eq!(tag("default", 0, 1), "default:0");
        let tags: Vec<String> = (0..4).map(|partition| tag("default", partition, 4)).collect();
        assert_eq!(tags, ["default:0:3", "default:1:1", "default:2:3", "default:3:1"]);
        assert_eq!(
            [0, 5, 15].map(|it| tag("default", it, 16)),
            ["default:0:43", "default:5:0", "default:15:11"]
        );
    }

    #[test]
    fn masters_have_as_many_partitions_give_or_take_one() {
        for masters in [2, 3, 5, 6] {
            let mut counts = vec![0; masters];
            for partition in 0..16 {
                let slot = usize::from(slot(&tag("default", partition, 16)));
                counts[slot * masters / usize::from(SLOTS)] += 1;
            }
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 1, "{counts:?}");
        }
    }
}
