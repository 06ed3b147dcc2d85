//! Finds events that the time index does not list. Reads every key for this.

use redis::RedisResult;

use crate::{
    options::{Phase, ProgressCallback},
    report::Report,
    source::{Kind, Source},
};

/// The number of events in one round trip.
const PAGE: usize = 100;

/// An event that the time index does not list.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stray {
    /// The timestamp in milliseconds. An event without a valid timestamp is last, and will be rejected.
    pub(crate) at: f64,
    pub(crate) id: Vec<u8>,
}

/// Returns all such events in time order. The memory grows only with their number.
pub(crate) async fn find(
    source: &Source,
    report: &mut Report,
    progress: ProgressCallback<'_>,
) -> RedisResult<Vec<Stray>> {
    let ids = unlisted(source, progress).await?;
    let mut strays = Vec::with_capacity(ids.len());
    for page in ids.chunks(PAGE) {
        for event in source.old_events(page.to_vec()).await? {
            if event.json.is_none() {
                let detail = "it stands among the events, and holds none; it was passed over";
                report.problem("key", &source.layout().event(&event.id), "no-event", detail);
                continue;
            }
            let at = event.millisecond().map_or(f64::INFINITY, |at| at as f64);
            strays.push(Stray { at, id: event.id });
        }
    }
    strays.sort_by(|a, b| a.at.total_cmp(&b.at).then_with(|| a.id.cmp(&b.id)));
    Ok(strays)
}

/// Returns the ids of hashes that the time index does not list, each id once.
async fn unlisted(source: &Source, progress: ProgressCallback<'_>) -> RedisResult<Vec<Vec<u8>>> {
    let (mut cursor, mut looked_at, mut unlisted) = (Some(0), 0, Vec::new());
    while let Some(at) = cursor {
        let (keys, next) = source.scan(at).await?;
        looked_at += keys.len() as u64;
        progress(Phase::Looking, looked_at, None);
        let hashes = keys.iter().filter(|(_, kind)| *kind == Kind::Hash);
        let ids: Vec<Vec<u8>> =
            hashes.filter_map(|(key, _)| Some(source.layout().event_id(key)?.to_vec())).collect();
        let listed = source.are_listed(&ids).await?;
        unlisted.extend(ids.into_iter().zip(listed).filter(|(_, listed)| !listed).map(|(id, _)| id));
        cursor = next;
    }
    unlisted.sort_unstable();
    unlisted.dedup();
    Ok(unlisted)
}
