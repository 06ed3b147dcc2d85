//! Removes the remains of erased events from the server, and lists the places of possible copies.

use domain::StorageFailure;
use redis::{FromRedisValue, cmd};

use crate::{client::failure::unexpected_reply, engine::partition::Partition, log::rewrite};

/// Rewrites the chunks that still have bytes of erased events, including the chunks that an interrupted scrub left.
/// Returns the remaining places of such bytes. It names possible copies only if events were `erased`.
pub(crate) async fn scrub(store: &Partition, erased: bool) -> Result<Vec<String>, StorageFailure> {
    let mut command = cmd("SMEMBERS");
    command.arg(store.keys().unscrubbed());
    let mut chunks: Vec<u64> = FromRedisValue::from_redis_value(store.link().read(&command).await?)
        .map_err(|_| unexpected_reply("the chunks that are to be rewritten"))?;
    chunks.sort_unstable();
    let (mut left, mut remains) = (0, Vec::new());
    for chunk in chunks {
        left += u64::from(!rewrite::rewrite(store, chunk).await?);
    }
    if left > 0 {
        remains.push(format!(
            "the memory of the Redis server, in {left} parts of the log that others removed events from meanwhile: erase \
             again when they have finished"
        ));
    }
    if erased {
        remains.extend(copies(store).await);
    }
    Ok(remains)
}

/// Returns the places of copies that no command of this adapter reaches.
async fn copies(store: &Partition) -> Vec<String> {
    let mut command = cmd("INFO");
    command.arg("persistence");
    // If this user may not run `INFO`, the list names all possible places.
    let info: String = store
        .link()
        .read(&command)
        .await
        .ok()
        .and_then(|answer| FromRedisValue::from_redis_value(answer).ok())
        .unwrap_or_default();
    let mut remains = Vec::new();
    if !info.contains("aof_enabled:0") {
        remains.push(
            "the append-only file of the Redis server, until it is rewritten: `redis-cli BGREWRITEAOF` does that now"
                .to_owned(),
        );
    }
    remains.push(
        "the snapshot (RDB file) that the Redis server wrote last, if it did: `redis-cli BGSAVE` writes a new one in its place"
            .to_owned(),
    );
    remains.push("the files of replicas: the same two commands on each of them".to_owned());
    remains.push("backups and exports that were made before".to_owned());
    remains
}
