//! The places of an event's entities in its text.

use std::ops::Deref;

use super::{EntitySpan, Span};

/// Number of entities that fit into the event itself. Most events have no more. A longer list needs its own
/// allocation.
const FEW: usize = 4;
const NONE: EntitySpan = EntitySpan { kind: Span { start: 0, len: 0 }, id: Span { start: 0, len: 0 } };

/// Spans of the entities, in the order of the event's members.
#[derive(Debug, Clone)]
pub(crate) enum Entities {
    Few { count: usize, spans: [EntitySpan; FEW] },
    Many(Vec<EntitySpan>),
}

impl Deref for Entities {
    type Target = [EntitySpan];

    fn deref(&self) -> &[EntitySpan] {
        match self {
            Self::Few { count, spans } => spans.get(..*count).unwrap_or_default(),
            Self::Many(spans) => spans,
        }
    }
}

impl PartialEq for Entities {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Entities {}

impl FromIterator<EntitySpan> for Entities {
    fn from_iter<I: IntoIterator<Item = EntitySpan>>(entities: I) -> Self {
        let (mut count, mut spans) = (0, [NONE; FEW]);
        let mut entities = entities.into_iter();
        while let Some(entity) = entities.next() {
            match spans.get_mut(count) {
                Some(free) => *free = entity,
                None => return Self::Many(spans.into_iter().chain([entity]).chain(entities).collect()),
            }
            count += 1;
        }
        Self::Few { count, spans }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_come_back_in_order_however_many_there_are() {
        for count in 0..10 {
            let span = |at| Span { start: at, len: 1 };
            let all: Vec<_> =
                (0..count).map(|at| EntitySpan { kind: span(at), id: span(at + 100) }).collect();
            let entities: Entities = all.iter().copied().collect();
            assert_eq!(*entities, *all);
        }
    }
}
