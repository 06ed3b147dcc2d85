//! Writes after a restart of a server, when its append-only file may end inside a batch.
//!
//! A server that loads such a file leaves the batch out. But Redis, up to at least 8.2, leaves the beginning of the
//! batch in the file and appends further writes behind it. When the file is loaded again, the server runs that
//! beginning together with the next writes, and the store has half a batch. (Valkey 9.1 truncates the file.) A client
//! cannot see whether this is so.
//!
//! A rewrite (`BGREWRITEAOF`) starts a new file before it does anything else. So the functions refuse the first write
//! after a restart until a rewrite has begun (`must_have_begun_a_file` in `lua/common.lua`). The caller of the refused
//! function starts the rewrite. The beginning of the batch then stays at the end of the old file. A server that loads
//! the old file removes the beginning there, even if the server was killed before the rewrite ended.

use std::{collections::HashMap, time::Duration};

use domain::StorageFailure;
use redis::{Arg, Cmd, RedisError, RedisResult, aio::MultiplexedConnection, cmd};
use tokio::time::{sleep, timeout};

use crate::{
    client::failure::{self, Intent},
    server::functions,
};

/// The pause between two looks at a server that postpones a rewrite, as it does while it saves.
const MOMENT: Duration = Duration::from_millis(20);
/// The index of the first key among the arguments of an `FCALL`.
const FIRST_KEY: usize = 3;

/// Returns whether a function refused to write because the server has begun no append-only file since its start.
pub(crate) fn must_begin(error: &RedisError) -> bool {
    error.code() == Some("ERNEWFILE")
}

/// Makes a server begin a new append-only file, for a call that it refused. If the server does not begin one in this
/// time, or this user may not request it, functions write without one from now on.
///
/// # Errors
/// Returns an error when the connection fails.
pub(crate) async fn begin(
    connection: &mut MultiplexedConnection,
    refused: &Cmd,
    within: Duration,
) -> RedisResult<()> {
    match timeout(within, begun(connection)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) if failure::ends_connection(&error) => return Err(error),
        Ok(Err(error)) => match failure::redis(&error, Intent::Read) {
            StorageFailure::Denied(_) => tracing::warn!(
                "the server restarted, and this user may not have its append-only file rewritten: if its machine lost \
                 power, run `BGREWRITEAOF` before it is started again"
            ),
            failure => {
                tracing::warn!(%failure, "the server's append-only file was not rewritten after a restart");
            }
        },
        Err(_) => tracing::warn!(
            ?within,
            "the server restarted, and does not begin to rewrite its append-only file: if it is killed before it does, run \
             `event-replay verify`"
        ),
    }
    let Some(Arg::Simple(key)) = refused.args_iter().nth(FIRST_KEY) else { return Ok(()) };
    cmd("FCALL").arg(functions::name("waive")).arg(1).arg(key).exec_async(connection).await
}

/// Requests a rewrite, and waits until it has begun.
async fn begun(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    loop {
        let info: String = cmd("INFO").arg("persistence").query_async(connection).await?;
        let fields: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let is = |name: &str, value: &str| fields.get(name) == Some(&value);
        // The server counts rewrites since its start.
        if !is("aof_enabled", "1") || !is("aof_rewrites", "0") || !is("aof_rewrite_in_progress", "0") {
            return Ok(());
        }
        if is("aof_rewrite_scheduled", "1") {
            sleep(MOMENT).await;
            continue;
        }
        match cmd("BGREWRITEAOF").exec_async(connection).await {
            // Another caller requested it first.
            Err(error) if error.to_string().contains("in progress") => {}
            other => other?,
        }
    }
}
