//! A namespace as a whole: whether it is there, and removing it.

use domain::StorageFailure;
use redis::{FromRedisValue, Value, cmd};

use crate::{failure::shape, options::RedisOptions, partition, partition::Partition};

/// Keys that one round trip of a removal looks at.
const LOOKED_AT_ONCE: usize = 1_000;

impl Partition {
    /// Whether there is such a namespace.
    ///
    /// # Errors
    /// When the server cannot be reached, or has something else at the namespace's place.
    pub async fn exists(options: &RedisOptions) -> Result<bool, StorageFailure> {
        let (link, keys) = partition::way(options)?;
        Ok(partition::load(&link, &keys).await?.is_some())
    }

    /// Removes the namespace with all that is in it, for good, whoever uses it. It looks at every key of the server, and so
    /// needs a right that stores need nowhere else (`SCAN`).
    ///
    /// # Errors
    /// When the server fails; some of it may then be gone.
    pub async fn remove_namespace(self) -> Result<(), StorageFailure> {
        // The state first: no other program then takes what is left for a store.
        let mut state = cmd("UNLINK");
        state.arg(self.keys().meta());
        self.link().write(&state).await?;
        let (mut place, pattern) = (0u64, self.keys().named("*"));
        loop {
            let mut scan = cmd("SCAN");
            scan.arg(place).arg("MATCH").arg(&pattern).arg("COUNT").arg(LOOKED_AT_ONCE);
            let answer = self.link().read(&scan).await?;
            let (next, names): (u64, Vec<Value>) =
                FromRedisValue::from_redis_value(answer).map_err(|_| shape("a scan"))?;
            if !names.is_empty() {
                let mut unlink = cmd("UNLINK");
                for name in names {
                    let Value::BulkString(name) = name else { return Err(shape("the name of a key")) };
                    unlink.arg(name);
                }
                self.link().write(&unlink).await?;
            }
            if next == 0 {
                break;
            }
            place = next;
        }
        self.close().await;
        Ok(())
    }
}
