//! Merges several ordered sources into one ordered sequence.

use std::collections::VecDeque;

/// The items of each source that were read and not taken yet.
pub(crate) struct Merge<T> {
    sources: Vec<Source<T>>,
}

struct Source<T> {
    items: VecDeque<T>,
    /// Whether the source has no items beyond those read.
    ended: bool,
}

impl<T> Merge<T> {
    /// Creates a merge of `sources` sources, with no items read.
    pub(crate) fn new(sources: usize) -> Self {
        let source = || Source { items: VecDeque::new(), ended: false };
        Self { sources: std::iter::repeat_with(source).take(sources).collect() }
    }

    /// Returns the sources that must be read before the next item can be taken. Their next item is unknown.
    pub(crate) fn hungry(&self) -> Vec<usize> {
        let hungry = |source: &Source<T>| source.items.is_empty() && !source.ended;
        (0..self.sources.len()).filter(|at| self.sources.get(*at).is_some_and(hungry)).collect()
    }

    /// Returns the number of sources that may have more items than were read.
    pub(crate) fn open(&self) -> usize {
        self.sources.iter().filter(|source| !source.ended).count()
    }

    /// Adds the next items of a source. `ended` says that the source has no more.
    pub(crate) fn put(&mut self, source: usize, items: impl IntoIterator<Item = T>, ended: bool) {
        if let Some(source) = self.sources.get_mut(source) {
            source.items.extend(items);
            source.ended = ended;
        }
    }

    /// Takes the least next item of all sources. Of equal items it takes the one from the source with the lowest
    /// number. Returns none when the next item of a source is unknown, or when no item is left.
    pub(crate) fn take_first<K: Ord>(&mut self, key: impl Fn(&T) -> K) -> Option<(usize, T)> {
        self.take_by(key, |one, other| one < other)
    }

    /// Takes the greatest next item of all sources. Of equal items it takes the one from the source with the highest
    /// number. The order is the reverse of [`Merge::take_first`].
    pub(crate) fn take_last<K: Ord>(&mut self, key: impl Fn(&T) -> K) -> Option<(usize, T)> {
        self.take_by(key, |one, other| one >= other)
    }

    fn take_by<K: Ord>(
        &mut self,
        key: impl Fn(&T) -> K,
        goes_before: impl Fn(&K, &K) -> bool,
    ) -> Option<(usize, T)> {
        let mut best: Option<(K, usize)> = None;
        for (at, source) in self.sources.iter().enumerate() {
            match source.items.front().map(&key) {
                None if !source.ended => return None,
                None => {}
                Some(own) if best.as_ref().is_none_or(|(other, _)| goes_before(&own, other)) => {
                    best = Some((own, at));
                }
                Some(_) => {}
            }
        }
        let (_, at) = best?;
        Some((at, self.sources.get_mut(at)?.items.pop_front()?))
    }

    /// Returns whether all items read from a source were taken.
    pub(crate) fn is_empty(&self, source: usize) -> bool {
        self.sources.get(source).is_none_or(|source| source.items.is_empty())
    }

    /// Returns whether every source has ended and all items were taken.
    pub(crate) fn is_over(&self) -> bool {
        self.sources.iter().all(|source| source.items.is_empty() && source.ended)
    }

    /// Drops the items read from a source, and marks the source as ended.
    pub(crate) fn end(&mut self, source: usize) {
        if let Some(source) = self.sources.get_mut(source) {
            source.items.clear();
            source.ended = true;
        }
    }
}

/// Returns how many items to request from each of several sources to get `wanted` items in total. It is the average
/// share and a margin, so that a source slightly above its share needs no second read.
pub(crate) fn share(wanted: usize, sources: usize) -> usize {
    if sources <= 1 {
        return wanted;
    }
    let each = wanted.div_ceil(sources);
    (each + 2 * each.isqrt() + 1).min(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_the_same_for_any_sizes_of_pages() {
        let random = &mut fastrand::Rng::with_seed(3);
        for _ in 0..500 {
            let sources: Vec<Vec<u32>> = (0..random.usize(1..6))
                .map(|_| {
                    let mut items: Vec<u32> = (0..random.usize(..9)).map(|_| random.u32(..12)).collect();
                    items.sort_unstable();
                    items
                })
                .collect();
            let mut expected: Vec<(u32, usize)> = Vec::new();
            for (at, source) in sources.iter().enumerate() {
                expected.extend(source.iter().map(|item| (*item, at)));
            }
            expected.sort_unstable();
            let backwards = random.bool();
            let sources: Vec<Vec<u32>> = if backwards {
                expected.reverse();
                sources.into_iter().map(|source| source.into_iter().rev().collect()).collect()
            } else {
                sources
            };
            let (mut merge, mut given) = (Merge::new(sources.len()), vec![0; sources.len()]);
            let mut found = Vec::new();
            while !merge.is_over() {
                for at in merge.hungry() {
                    let to = (given[at] + random.usize(1..4)).min(sources[at].len());
                    merge.put(at, sources[at][given[at]..to].iter().copied(), to == sources[at].len());
                    given[at] = to;
                }
                let mut next = || match backwards {
                    true => merge.take_last(|item| *item),
                    false => merge.take_first(|item| *item),
                };
                while let Some((at, item)) = next() {
                    found.push((item, at));
                }
            }
            assert_eq!(found, expected);
        }
    }
}
