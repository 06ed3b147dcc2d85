//! The fair share of a consumer: the number of segments that it should hold.

/// Returns the number of a partition's segments that a consumer should hold. Over all partitions, the shares of any
/// two consumers differ by at most one segment. The share depends on the rank of the consumer's name among the names
/// of all consumers whose time is not over. It is zero if the name is not among them.
///
/// If the segments do not divide evenly, some consumers get one more. The first of these consumers moves on from
/// partition to partition.
///
/// ```
/// use event_replay_domain::group::fair_share;
/// let alive = ["a", "b", "c"];
/// assert_eq!(["a", "b", "c"].map(|name| fair_share(16, 0, name, alive)), [6, 5, 5]);
/// assert_eq!(["a", "b", "c"].map(|name| fair_share(16, 1, name, alive)), [5, 6, 5]);
/// ```
pub fn fair_share<'a>(
    segments: u16,
    partition: u16,
    name: &str,
    alive: impl IntoIterator<Item = &'a str>,
) -> u16 {
    let mut names: Vec<&str> = alive.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let Some(rank) = names.iter().position(|other| *other == name) else { return 0 };
    let (segments, consumers) = (usize::from(segments), names.len());
    let (each, rest) = (segments / consumers, segments % consumers);
    // The partitions before this one have dealt out this number of segments beyond the even part.
    let begins = usize::from(partition) * rest % consumers;
    let place = (rank + consumers - begins) % consumers;
    (each + usize::from(place < rest)) as u16
}

#[cfg(test)]
mod tests {
    use super::fair_share;

    #[test]
    fn shares_add_up_in_each_partition_and_are_even_over_all() {
        let names: Vec<String> = (0..13).map(|n| format!("c{n:02}")).collect();
        for consumers in 1..=names.len() {
            let alive = || names[..consumers].iter().map(String::as_str);
            for segments in [1, 2, 4, 7, 16, 100] {
                let mut totals = vec![0; consumers];
                for partition in 0..40 {
                    let of = |name| fair_share(segments, partition, name, alive());
                    let shares: Vec<u16> = alive().map(of).collect();
                    assert_eq!(shares.iter().sum::<u16>(), segments, "in {partition}");
                    assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1, "{shares:?}");
                    totals.iter_mut().zip(&shares).for_each(|(total, share)| *total += share);
                    let spread = totals.iter().max().unwrap() - totals.iter().min().unwrap();
                    assert!(spread <= 1, "{segments} segments up to {partition}: {totals:?}");
                    // Equal to the shares of one partition with all the segments.
                    let whole = (partition + 1) * segments;
                    let expected: Vec<u16> =
                        alive().map(|name| fair_share(whole, 0, name, alive())).collect();
                    assert_eq!(totals, expected, "{segments} segments up to {partition}");
                }
            }
        }
    }

    #[test]
    fn names_count_once_and_strangers_have_nothing() {
        assert_eq!(fair_share(5, 0, "a", ["b", "a", "a", "b"]), 3);
        assert_eq!(fair_share(5, u16::MAX, "b", ["b", "a", "a", "b"]), 3);
        assert_eq!(fair_share(16, 3, "c", ["a", "b"]), 0);
        assert_eq!(fair_share(16, 3, "c", []), 0);
    }
}
