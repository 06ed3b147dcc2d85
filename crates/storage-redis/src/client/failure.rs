//! Translates errors of Redis into errors of the domain.

use std::time::Duration;

use domain::StorageFailure;
use redis::{ErrorKind, RedisError};

/// Whether a call changes data. A lost answer has another meaning for a write than for a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// The call changes nothing and is safe to repeat.
    Read,
    /// The call may have changed something.
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
    // A function ran a command without the right to it. Older and newer servers word this differently. Functions check
    // their rights before they write.
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
        // Code that knows of the cluster redirects the call and never reaches this line.
        "MOVED" | "ASK" => StorageFailure::Foreign(
            "the server is a node of a cluster, of which it has a part: name it as redis+cluster://HOST:PORT"
                .to_owned(),
        ),
        "ERLAYOUT" => StorageFailure::Foreign(text.to_owned()),
        _ => return None,
    })
}

/// Returns whether the connection that had this error is unusable.
pub(crate) fn ends_connection(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || error.code() == Some("READONLY")
}

/// Returns the more useful of two failures for the caller. A refusal outranks a server that is unavailable.
pub(crate) fn graver(one: Option<StorageFailure>, other: StorageFailure) -> StorageFailure {
    match one {
        None | Some(StorageFailure::Unavailable(_)) => other,
        Some(one) => one,
    }
}

/// Returns the failure for a reply that neither the library of functions nor the server should give.
pub(crate) fn unexpected_reply(what: &str) -> StorageFailure {
    StorageFailure::Corrupt(format!("unexpected reply from Redis where {what} was expected"))
}
