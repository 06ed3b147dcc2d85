//! Redis' errors in the domain's words.

use std::time::Duration;

use domain::StorageFailure;
use redis::{ErrorKind, RedisError};

/// What a call was about to do: a lost answer means something else for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Nothing changes: it can be repeated.
    Read,
    /// Something may have changed.
    Write,
}

/// Translates the error of a call that was sent.
pub(crate) fn redis(error: &RedisError, intent: Intent) -> StorageFailure {
    let text = error.to_string();
    if let Some(code) = error.code()
        && let Some(failure) = by_code(code, &text)
    {
        return failure;
    }
    // What a function called without the right to, as older and newer servers say it; functions ask for their rights before
    // they write.
    if text.contains("The user executing the script can't") || text.contains("ACL failure in script") {
        return StorageFailure::Denied(text);
    }
    match error.kind() {
        ErrorKind::AuthenticationFailed => StorageFailure::Denied("wrong user name or password".to_owned()),
        ErrorKind::Io | ErrorKind::Parse if intent == Intent::Write => StorageFailure::Unknown(text),
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => StorageFailure::Unavailable(text),
        _ if error.is_timeout() || error.is_connection_dropped() => match intent {
            Intent::Read => StorageFailure::Unavailable(text),
            Intent::Write => StorageFailure::Unknown(text),
        },
        ErrorKind::UnexpectedReturnType => StorageFailure::Corrupt(text),
        _ => StorageFailure::Other(text),
    }
}

fn by_code(code: &str, text: &str) -> Option<StorageFailure> {
    Some(match code {
        "OOM" => {
            StorageFailure::Full("Redis has reached its maxmemory; give it more, or trim the log".to_owned())
        }
        "NOPERM" | "NOAUTH" | "WRONGPASS" => StorageFailure::Denied(text.to_owned()),
        "READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "NOREPLICAS" | "MISCONF"
        | "ERNEWFILE" => StorageFailure::Unavailable(text.to_owned()),
        "BUSY" => StorageFailure::Busy { waited: Duration::ZERO },
        "WRONGTYPE" | "ERNUMBER" => StorageFailure::Corrupt(text.to_owned()),
        // Who knows of the cluster sends the call on and does not come here.
        "MOVED" | "ASK" => StorageFailure::Foreign(
            "the server is a node of a cluster, of which it has a part: name it as redis+cluster://HOST:PORT"
                .to_owned(),
        ),
        "ERLAYOUT" => StorageFailure::Foreign(text.to_owned()),
        _ => return None,
    })
}

/// Whether the connection that said so is of no more use.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || error.code() == Some("READONLY")
}

/// Of several failures the one to tell: who is refused need not know that another server was not there.
pub(crate) fn graver(one: Option<StorageFailure>, other: StorageFailure) -> StorageFailure {
    match one {
        None | Some(StorageFailure::Unavailable(_)) => other,
        Some(one) => one,
    }
}

/// A reply that the library of functions, or the server, does not give.
pub(crate) fn unexpected_reply(what: &str) -> StorageFailure {
    StorageFailure::Corrupt(format!("unexpected reply from Redis where {what} was expected"))
}
