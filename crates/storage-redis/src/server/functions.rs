//! The library of Functions that the adapter loads into a server, for work that must happen there in one step.
//!
//! The names contain a digest of the library's text. So programs of several versions can use one server side by side.

use std::{sync::LazyLock, time::Duration};

use redis::{Cmd, RedisError, RedisResult, aio::MultiplexedConnection};
use sha2::{Digest, Sha256};

use crate::server::append_only_file;

/// The library's text.
struct Library {
    /// The text for `FUNCTION LOAD`.
    source: String,
    version: String,
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let parts = [
        include_str!("../lua/meta.lua"),
        include_str!("../lua/find.lua"),
        include_str!("../lua/replayed.lua"),
        include_str!("../lua/rows.lua"),
        include_str!("../lua/append.lua"),
        include_str!("../lua/fold.lua"),
        include_str!("../lua/remove.lua"),
        include_str!("../lua/rights.lua"),
    ];
    // Register every function through `register`, so that it is done whole or not at all.
    let parts = parts.concat().replace("redis.register_function", "register");
    let first = [include_str!("../lua/common.lua"), include_str!("../lua/whole.lua")];
    let source = first.concat() + &parts;
    let digest = Sha256::digest(source.as_bytes());
    let version = domain::hex(&digest[..4]);
    Library { source: source.replace("VERSION", &version), version }
});

/// Returns the name of a function in the server.
pub(crate) fn name(function: &str) -> String {
    format!("er_{function}_{}", LIBRARY.version)
}

/// How many times a server is prepared for one call: loading of the library, and the begin of a file.
pub(crate) const MOST_PREPARED: usize = 3;

/// Returns whether a server refused a call for a reason that [`prepare`] removes. The server has done no part of the
/// call.
pub(crate) fn can_be_prepared(error: &RedisError) -> bool {
    is_unknown(error) || append_only_file::must_begin(error)
}

/// Prepares a server for a call that it refused for such a reason.
pub(crate) async fn prepare(
    connection: &mut MultiplexedConnection,
    error: &RedisError,
    refused: &Cmd,
    within: Duration,
) -> RedisResult<()> {
    if is_unknown(error) {
        load(connection).await
    } else {
        append_only_file::begin(connection, refused, within).await
    }
}

/// Loads the library into a server. If another client has loaded it meanwhile, that is a success too.
async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg(&LIBRARY.source);
    match command.exec_async(connection).await {
        Err(error) if error.to_string().contains("already exists") => Ok(()),
        other => other,
    }
}

/// Returns whether a server does not know the library.
fn is_unknown(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}
