//! Names that are similar to a given name.

use std::{collections::BTreeSet, sync::Arc};

use domain::{
    Filter, TypePattern,
    ports::{EventValidator, Order, ReadRequest},
};
use validation::EngineKind;

use super::{error::AppError, schemas};
use crate::handle::StoreHandle;

/// The edit distance up to which two names count as similar.
const FAR: usize = 2;

/// Returns the known names that are similar to a name, nearest first.
pub fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let far = |known: &str| strsim::damerau_levenshtein(&known.to_lowercase(), &name.to_lowercase());
    let mut found: Vec<(usize, &str)> =
        known.into_iter().map(|known| (far(known), known)).filter(|(far, _)| *far <= FAR).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// The number of newest events that are searched for types.
const EVENTS: usize = 1000;

/// Returns suggestions for a filter that matched nothing. They are known types that are similar to a type of the filter
/// that no schema and no recent event has.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn types(
    store: &StoreHandle,
    engine: EngineKind,
    filter: &Filter,
) -> Result<Vec<String>, AppError> {
    let asked: Vec<&str> =
        filter.types.iter().map(TypePattern::as_str).filter(|pattern| !pattern.contains('*')).collect();
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let known = known_types(store, engine).await?;
    let unknown = asked.into_iter().filter(|asked| !known.contains(*asked));
    Ok(unknown.flat_map(|asked| near(asked, known.iter().map(String::as_str))).collect())
}

/// Returns the types that have a schema, and the types of the newest events.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn known_types(store: &StoreHandle, engine: EngineKind) -> Result<BTreeSet<String>, AppError> {
    let registry = schemas::registry(store, engine).await?;
    let mut types: BTreeSet<String> =
        registry.schemas().into_iter().map(|summary| summary.event_type).collect();
    let mut request = ReadRequest::new(Arc::<Filter>::default(), EVENTS);
    request.order = Order::NewestFirst;
    let newest = store.read(&request).await?.events;
    types.extend(newest.iter().map(|stored| stored.event.event_type().to_owned()));
    Ok(types)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_come_first() {
        let known = ["mail", "mails", "billing", "MAIL"];
        assert_eq!(near("mial", known), ["MAIL", "mail", "mails"]);
        assert_eq!(near("biling", known), ["billing"]);
        assert!(near("audit", known).is_empty());
    }
}
