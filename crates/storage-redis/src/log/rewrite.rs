//! Rewrites a chunk of the log. Events that were deleted from inside a stream stay in memory and in snapshots until
//! then.

use domain::StorageFailure;
use redis::Value;

use crate::{
    client::{failure::unexpected_reply, optimistic_retry::OptimisticRetry, reply::text},
    engine::partition::Partition,
};

/// The number of entries that one call copies.
const COPIED_AT_ONCE: usize = 200;
/// How many times a rewrite starts again because other clients removed events of the log meanwhile.
const REWRITE_TRIES: usize = 20;

/// Rewrites a chunk from its remaining events. Afterwards none of its deleted events is in memory or in any new
/// snapshot. Appends continue meanwhile. Returns whether the rewrite was done: it cannot finish while other clients
/// keep removing events.
pub(crate) async fn rewrite(partition: &Partition, chunk: u64) -> Result<bool, StorageFailure> {
    let keys = partition.keys();
    let names = [keys.meta(), keys.log(chunk), keys.copy_of(chunk), keys.holes(), keys.unscrubbed()];
    let mut tries = OptimisticRetry::new();
    for _ in 0..REWRITE_TRIES {
        let removals = partition.state().await?.removals.to_string();
        let mut copied = String::new();
        loop {
            let args = [chunk.to_string(), COPIED_AT_ONCE.to_string(), copied, removals.clone()];
            let Value::Array(parts) = partition.link().call("rewrite", &names, &args).await? else {
                return Err(unexpected_reply("a copy"));
            };
            match parts.as_slice() {
                [what] if text(what) == Some("done") => return Ok(true),
                [what] if text(what) == Some("moved") => break,
                [what, last] if text(what) == Some("more") => {
                    copied = text(last).unwrap_or_default().to_owned();
                }
                _ => return Err(unexpected_reply("a copy")),
            }
        }
        tries.again().await?;
    }
    Ok(false)
}
