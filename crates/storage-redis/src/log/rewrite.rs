//! Rewriting a chunk of the log: what is deleted from the midst of a stream stays in memory and in snapshots until then.

use domain::StorageFailure;
use redis::Value;

use crate::{
    client::{failure::unexpected_reply, optimistic_retry::OptimisticRetry, reply::text},
    engine::partition::Partition,
};

/// Entries that one call copies when a chunk is rewritten.
const COPIED_AT_ONCE: usize = 200;
/// How often a chunk is begun again because others removed something of the log meanwhile.
const REWRITE_TRIES: usize = 20;

/// Rewrites a chunk from what is left of it: what was deleted from its midst is in memory no longer, and in no
/// snapshot that is made from now on. Appends go on meanwhile. Whether it could be done: it cannot while others remove.
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
