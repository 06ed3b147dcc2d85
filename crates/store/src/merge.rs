//! Several sources, each in order, as one in order.

use std::collections::VecDeque;

/// What is known of each source and was not taken yet.
pub(crate) struct Merge<T> {
    sources: Vec<Source<T>>,
}

struct Source<T> {
    items: VecDeque<T>,
    /// Whether it has no more than what is known.
    ended: bool,
}

impl<T> Merge<T> {
    /// Of so many sources, of which nothing is known.
    pub(crate) fn new(sources: usize) -> Self {
        let source = || Source { items: VecDeque::new(), ended: false };
        Self { sources: std::iter::repeat_with(source).take(sources).collect() }
    }

    /// The sources that must be asked before anything is taken: what they have next is not known.
    pub(crate) fn hungry(&self) -> Vec<usize> {
        let hungry = |source: &Source<T>| source.items.is_empty() && !source.ended;
        (0..self.sources.len()).filter(|at| self.sources.get(*at).is_some_and(hungry)).collect()
    }

    /// Sources that may have more than what is known.
    pub(crate) fn open(&self) -> usize {
        self.sources.iter().filter(|source| !source.ended).count()
    }

    /// Adds what a source has next, and whether that is all of it.
    pub(crate) fn put(&mut self, source: usize, items: impl IntoIterator<Item = T>, ended: bool) {
        if let Some(source) = self.sources.get_mut(source) {
            source.items.extend(items);
            source.ended = ended;
        }
    }

    /// Takes the least that any source has next: of equal ones that of the lowest number. None where it is not known what
    /// some source has next, or nothing is left.
    pub(crate) fn take_first<K: Ord>(&mut self, key: impl Fn(&T) -> K) -> Option<(usize, T)> {
        self.take_by(key, |one, other| one < other)
    }

    /// Takes the greatest, of equal ones that of the highest number: the same order from its other end.
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

    /// Whether nothing known of a source is left.
    pub(crate) fn is_empty(&self, source: usize) -> bool {
        self.sources.get(source).is_none_or(|source| source.items.is_empty())
    }

    /// Whether nothing is left at all.
    pub(crate) fn is_over(&self) -> bool {
        self.sources.iter().all(|source| source.items.is_empty() && source.ended)
    }

    /// Drops what is known of a source, which has no more.
    pub(crate) fn end(&mut self, source: usize) {
        if let Some(source) = self.sources.get_mut(source) {
            source.items.clear();
            source.ended = true;
        }
    }
}

/// How much to ask each of several sources for, where so much is wanted of all together: what falls to each by chance, and
/// some more, so that one that has a little more than its share need not be asked twice.
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
