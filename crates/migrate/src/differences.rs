//! Finds the cause of a different count. Looks up each member of the old index.

use domain::{Filter, ports::EventStore};

use crate::{
    error::MigrateError,
    index::IndexKey,
    report::{Difference, shown},
    retry::repeated,
    source::Source,
};

/// The number of members in one lookup.
const PAGE: u64 = 500;

/// Returns the difference of a key, still without its causes.
pub(crate) fn bare(key: &IndexKey, source: u64, target: u64) -> Difference {
    Difference {
        index: key.kind,
        key: shown(key.value.as_bytes()),
        source,
        target,
        without_event: 0,
        not_taken: 0,
        say_otherwise: 0,
        beside: target.saturating_sub(source),
    }
}

/// Looks up every member of an old index, and counts the causes of the difference.
pub(crate) async fn explained(
    source: &Source,
    target: &dyn EventStore,
    redis_key: &[u8],
    filter: &Filter,
    difference: Difference,
) -> Result<Difference, MigrateError> {
    let (mut start, mut matched) = (0, 0);
    let mut difference = difference;
    loop {
        let members = source.members(redis_key, start, PAGE).await?;
        if members.is_empty() {
            break;
        }
        start += members.len() as u64;
        let ids: Vec<String> = members.iter().filter_map(|id| String::from_utf8(id.clone()).ok()).collect();
        let stored = repeated(|| target.get(&ids)).await?;
        let matching = stored.iter().filter(|stored| filter.matches(&stored.event)).count();
        matched += matching as u64;
        difference.say_otherwise += (stored.len() - matching) as u64;
        let absent: Vec<Vec<u8>> = members
            .into_iter()
            .filter(|id| !stored.iter().any(|stored| stored.event.id().as_bytes() == id.as_slice()))
            .collect();
        let have_event = source.have_event(&absent).await?;
        let not_taken = have_event.iter().filter(|has| **has).count();
        difference.not_taken += not_taken as u64;
        difference.without_event += (absent.len() - not_taken) as u64;
    }
    difference.beside = difference.target.saturating_sub(matched);
    Ok(difference)
}
