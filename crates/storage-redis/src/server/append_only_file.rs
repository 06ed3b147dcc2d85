//! After a server has restarted: its append-only file may end in the midst of a batch.
//!
//! A server that loads such a file leaves the batch out. But Redis, up to 8.2 at least, leaves the beginning of the batch in
//! the file, and writes on behind it: when the file is loaded once more, that beginning is done together with what comes
//! next, and half a batch is in the store. (Valkey 9.1 takes it out.) It cannot be told from outside whether it is so.
//!
//! A rewrite (`BGREWRITEAOF`) begins another file before it does anything else. So the functions refuse the first write after
//! a restart until a rewrite has begun (`must_have_begun_a_file` in `lua/common.lua`), and the refused call begins one. The
//! beginning of the batch then stays at the end of its own file. A server that loads it there takes it out, also where it is
//! killed before the rewrite is over.

use std::{collections::HashMap, time::Duration};

use domain::StorageFailure;
use redis::{Arg, Cmd, RedisError, RedisResult, aio::MultiplexedConnection, cmd};
use tokio::time::{sleep, timeout};

use crate::{
    client::failure::{self, Intent},
    server::functions,
};

/// How long to wait between two looks at a server that puts a rewrite off, as it does while it saves.
const MOMENT: Duration = Duration::from_millis(20);
/// Where in an `FCALL` its first key stands.
const FIRST_KEY: usize = 3;

/// Whether a function refused to write because the server has begun no append-only file since it was started.
pub(crate) fn must_begin(error: &RedisError) -> bool {
    error.code() == Some("ERNEWFILE")
}

/// Has a server begin another append-only file, on behalf of a call that it refused. Where the server does not within this time,
/// or this user may not ask for it, functions write from now on all the same.
///
/// # Errors
/// When the connection fails.
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

/// Asks for a rewrite, and waits until it has begun.
async fn begun(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    loop {
        let info: String = cmd("INFO").arg("persistence").query_async(connection).await?;
        let fields: HashMap<&str, &str> =
            info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let is = |name: &str, value: &str| fields.get(name) == Some(&value);
        // Counted since the server was started.
        if !is("aof_enabled", "1") || !is("aof_rewrites", "0") || !is("aof_rewrite_in_progress", "0") {
            return Ok(());
        }
        if is("aof_rewrite_scheduled", "1") {
            sleep(MOMENT).await;
            continue;
        }
        match cmd("BGREWRITEAOF").exec_async(connection).await {
            // Another caller was quicker.
            Err(error) if error.to_string().contains("in progress") => {}
            other => other?,
        }
    }
}
