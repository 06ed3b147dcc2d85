//! The library of Functions that the adapter loads into a server: what must happen in one step there.
//!
//! The names carry a digest of the library's text, so that programs of several versions use one server side by side.

use std::{sync::LazyLock, time::Duration};

use redis::{Cmd, RedisError, RedisResult, aio::MultiplexedConnection};
use sha2::{Digest, Sha256};

use crate::server::append_only_file;

/// The library's text.
struct Library {
    /// What `FUNCTION LOAD` takes.
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
    // Every function is registered so that it is done whole or not at all.
    let parts = parts.concat().replace("redis.register_function", "register");
    let first = [include_str!("../lua/common.lua"), include_str!("../lua/whole.lua")];
    let source = first.concat() + &parts;
    let digest = Sha256::digest(source.as_bytes());
    let version: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Library { source: source.replace("VERSION", &version), version }
});

/// The name of a function as the server knows it.
pub(crate) fn name(function: &str) -> String {
    format!("er_{function}_{}", LIBRARY.version)
}

/// How often a server is made ready for a call: it is given the library, and begins a file.
pub(crate) const MOST_PREPARED: usize = 3;

/// Whether a server refused a call that it can be made ready for; it has done nothing of it.
pub(crate) fn can_be_prepared(error: &RedisError) -> bool {
    is_unknown(error) || append_only_file::must_begin(error)
}

/// Makes a server ready for a call that it refused so.
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

/// Gives the library to a server. That another did so meanwhile is as good.
async fn load(connection: &mut MultiplexedConnection) -> RedisResult<()> {
    let mut command = redis::cmd("FUNCTION");
    command.arg("LOAD").arg(&LIBRARY.source);
    match command.exec_async(connection).await {
        Err(error) if error.to_string().contains("already exists") => Ok(()),
        other => other,
    }
}

/// Whether a server says that it does not know the library.
fn is_unknown(error: &RedisError) -> bool {
    error.to_string().contains("Function not found")
}
