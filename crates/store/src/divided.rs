//! A list whose items belong to several partitions. Each partition answers its own items, and the answers are in the
//! order of the list.

use futures_util::future::join_all;

use crate::{Store, partition::Partition};

/// A list that is divided by partition. Each part holds the places of its items in the list.
pub(crate) struct Divided<'s, T> {
    store: &'s Store,
    parts: Vec<PartitionItems<T>>,
    length: usize,
}

struct PartitionItems<T> {
    partition: u16,
    items: Vec<T>,
    places: Vec<usize>,
}

impl<'s, T> Divided<'s, T> {
    /// Divides a list. An item of a partition that does not exist belongs to no part.
    pub(crate) fn new(store: &'s Store, items: impl IntoIterator<Item = (u16, T)>) -> Self {
        let part = |partition| PartitionItems { partition, items: Vec::new(), places: Vec::new() };
        let mut parts: Vec<PartitionItems<T>> = (0..store.partition_count()).map(part).collect();
        let mut length = 0;
        for (place, (partition, item)) in items.into_iter().enumerate() {
            length = place + 1;
            if let Some(part) = parts.get_mut(usize::from(partition)) {
                part.items.push(item);
                part.places.push(place);
            }
        }
        parts.retain(|part| !part.items.is_empty());
        Self { store, parts, length }
    }

    /// Returns the partitions that have items, each with its items.
    pub(crate) fn parts(&self) -> impl ExactSizeIterator<Item = (Partition<'s>, &[T])> {
        self.parts.iter().map(|part| (self.store.partition(part.partition), part.items.as_slice()))
    }

    /// Sends each partition its items, all at once, and returns one answer for each, in the order of
    /// [`Divided::parts`]. A failure of one partition does not stop the others. The caller may repeat the whole
    /// request.
    pub(crate) async fn each<'d, A, F>(&'d self, ask: impl FnMut((Partition<'s>, &'d [T])) -> F) -> Vec<A>
    where
        F: Future<Output = A>,
    {
        join_all(self.parts().map(ask)).await
    }

    /// Returns the answer to each item, in the order of the list. An item without an answer gets `none`.
    pub(crate) async fn ask<'d, A: Clone, E, F>(
        &'d self,
        none: A,
        ask: impl FnMut((Partition<'s>, &'d [T])) -> F,
    ) -> Result<Vec<A>, E>
    where
        F: Future<Output = Result<Vec<A>, E>>,
    {
        let answers = self.each(ask).await.into_iter().collect::<Result<Vec<_>, E>>()?;
        Ok(self.gather(none, answers))
    }

    /// Puts the answers of the partitions of [`Divided::parts`] in the order of the list. An item without an answer
    /// gets `none`.
    pub(crate) fn gather<A: Clone>(&self, none: A, answers: impl IntoIterator<Item = Vec<A>>) -> Vec<A> {
        let mut all = vec![none; self.length];
        for (part, answers) in self.parts.iter().zip(answers) {
            for (place, answer) in part.places.iter().zip(answers) {
                if let Some(own) = all.get_mut(*place) {
                    *own = answer;
                }
            }
        }
        all
    }
}
