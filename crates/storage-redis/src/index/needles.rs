//! What the function looks for among the terms of the newest events, to tell whether one of them may match a filter.

use domain::{Filter, TypePattern};

use crate::engine::keys::{Long, Term};

/// Terms of which each matching event has one. A filter's parts are ANDed, so those of one part are enough. Both are empty where
/// nothing can be told, or too many would have to be looked for: then any event may match.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needles {
    /// Terms, eight bytes each.
    pub(crate) terms: Vec<u8>,
    /// Names of long terms, each behind its length in four bytes.
    pub(crate) names: Vec<u8>,
}

/// Most values of a part that are looked for.
const MOST: usize = 100;

impl Needles {
    /// Of the part of a filter that few events have, as a rule: of an entity, else of the correlation id, the types, the sources.
    pub(crate) fn of(filter: &Filter) -> Self {
        let of_entities = filter
            .entities
            .iter()
            .map(|(kind, ids)| -> Vec<Term> { ids.iter().map(|id| Term::of_entity(kind, id)).collect() });
        let of_correlations = filter.correlation_ids.iter().map(|id| Term::of_correlation(id)).collect();
        let shorts = of_entities.chain([of_correlations]);
        if let Some(terms) = shorts.filter(|part| is_few(part.len())).min_by_key(Vec::len) {
            return Self { terms: terms.into_iter().flat_map(|term| term.0).collect(), names: Vec::new() };
        }
        let types: Option<Vec<_>> = filter.types.iter().map(TypePattern::exact).collect();
        let types = types.unwrap_or_default().into_iter().map(Long::Type).collect();
        let sources = filter.sources.iter().map(|source| Long::Source(source)).collect();
        let longs = [types, sources].into_iter().find(|part: &Vec<Long<'_>>| is_few(part.len()));
        let mut names = Vec::new();
        for field in longs.unwrap_or_default().into_iter().map(|long| long.field()) {
            names.extend((field.len() as u32).to_be_bytes());
            names.extend(field.as_bytes());
        }
        Self { terms: Vec::new(), names }
    }
}

fn is_few(values: usize) -> bool {
    (1..=MOST).contains(&values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_part_is_looked_for() {
        let types = Filter::types(["a", "b"]);
        let of_ann = types.clone().entity("user", "ann");
        let ann = Needles { terms: Term::of_entity("user", "ann").0.to_vec(), names: Vec::new() };
        assert_eq!(Needles::of(&of_ann), ann);
        assert_eq!(Needles::of(&of_ann.correlated("c").entity("user", "bob")).terms.len(), 8);
        assert_eq!(Needles::of(&types).names.len(), 2 * (4 + "t:YQ".len()));
    }

    #[test]
    fn where_nothing_can_be_told_nothing_is_looked_for() {
        let many = (0..101).fold(Filter::default(), |filter, n| filter.entity("user", n.to_string()));
        for filter in [Filter::default(), Filter::types(["a", "b.*"]), many] {
            assert_eq!(Needles::of(&filter), Needles::default(), "{filter:?}");
        }
    }
}
