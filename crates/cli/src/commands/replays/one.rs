//! One replay, by its id or by as much of it as tells it from the others.

use domain::ports::ReplayRecord;
use replay::{ReplayError, ReplaySummary};

use crate::{errors::CliError, output::escape, store::Stores};

/// Records that are looked through for one that begins with a text.
const MOST: usize = 10_000;
/// What a beginning has at least.
const SHORTEST: usize = 6;

/// Finds a replay.
pub(super) async fn find(stores: &Stores, id: &str) -> Result<ReplaySummary, CliError> {
    summary(&record(stores, id).await?)
}

/// What a record says.
pub(super) fn summary(record: &ReplayRecord) -> Result<ReplaySummary, CliError> {
    ReplaySummary::of(record).map_err(|error: ReplayError| error.into())
}

async fn record(stores: &Stores, id: &str) -> Result<ReplayRecord, CliError> {
    if let Some(record) = stores.replays.find_replay(id).await? {
        return Ok(record);
    }
    let unknown = || {
        CliError::failed(format!("there is no replay {:?}", escape::short(id, 60)))
            .hint("`event-replay replays list` shows them")
    };
    if id.len() < SHORTEST {
        return Err(unknown());
    }
    let all = stores.replays.list_replays(MOST).await?;
    let mut matching = all.into_iter().filter(|record| record.id.starts_with(id));
    match (matching.next(), matching.next()) {
        (Some(record), None) => Ok(record),
        (Some(_), Some(_)) => Err(CliError::failed(format!("several replays begin with {id:?}"))
            .hint("give more of the id; `event-replay replays list` shows them")),
        (None, _) => Err(unknown()),
    }
}
