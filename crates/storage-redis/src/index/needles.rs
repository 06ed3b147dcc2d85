//! The terms that the function searches among the pending terms, to decide whether a new event may match a filter.

use domain::{Filter, TypePattern};

use crate::engine::keys::{Long, Term};

/// Each matching event has at least one of these terms. The parts of a filter are ANDed, so the terms of one part are
/// enough. Both fields are empty if no part has such terms, or if there are too many. Then any event may match.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needles {
    /// Terms of eight bytes each.
    pub(crate) terms: Vec<u8>,
    /// Names of long terms, each behind its length in four bytes.
    pub(crate) names: Vec<u8>,
}

/// The largest number of values of a part that are searched.
const MOST: usize = 100;

impl Needles {
    /// Returns the terms of the part that usually has the fewest events: entities or correlation ids, else types, else
    /// sources.
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
