//! A call to one of several servers. A call reaches its key even while the slot migrates, and a failure says whether
//! another try is safe.

use domain::StorageFailure;
use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};
use tokio::time::{Instant, timeout_at};

use crate::{
    client::{
        failure::{self, Intent},
        node::{Connection, Node, Traffic},
        slot,
    },
    server::functions,
};

/// The commands of one round trip.
#[derive(Clone, Copy)]
pub(crate) enum Call<'a> {
    /// A command.
    One(&'a Cmd),
    /// A command that names no key, for the server of a slot.
    OnSlot(&'a Cmd, u16),
    /// A call of a function of the library.
    Function(&'a Cmd),
    /// A call of a function of the library, then a command that waits for its effect. Both use one unshared
    /// connection.
    Waiting(&'a Cmd, &'a Cmd),
    /// Commands that change nothing.
    All(&'a Pipeline, Traffic),
}

/// The time limits of one try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Time {
    /// The latest time at which the call is sent. After it the answer might come too late, and the outcome of a write
    /// would be unknown.
    pub(crate) sent_by: Instant,
    /// The time at which the caller stops waiting.
    pub(crate) deadline: Instant,
}

/// Why a call failed, and how to continue.
#[derive(Debug)]
pub(crate) enum CallError {
    /// Another try would fail too, or the call may have been done. The caller gets this failure.
    Settled(StorageFailure),
    /// The call was not done, because its slot is migrating.
    Wait(StorageFailure),
    /// The call was not done, or is safe to repeat. Another server may have to take it.
    Elsewhere(StorageFailure),
    /// The call was not done, because the slot has moved to this address.
    Moved(String, StorageFailure),
    /// The call was not done. Its key has already moved to this address, and the rest of the slot is still migrating
    /// there.
    Ask(String, StorageFailure),
}

impl<'a> Call<'a> {
    /// Returns the slot of the call. None if the call names no key.
    pub(crate) fn slot(self) -> Option<u16> {
        match self {
            Self::OnSlot(_, slot) => Some(slot),
            Self::One(command) | Self::Function(command) | Self::Waiting(command, _) => {
                slot::of_command(command)
            }
            Self::All(pipeline, _) => slot::of_pipeline(pipeline),
        }
    }

    /// Returns whether all keys of the call are in one slot.
    pub(crate) fn is_of_one_slot(self) -> bool {
        match self {
            Self::OnSlot(..) => true,
            Self::One(command) | Self::Function(command) | Self::Waiting(command, _) => {
                slot::is_one([command])
            }
            Self::All(pipeline, _) => slot::is_one(pipeline.cmd_iter()),
        }
    }

    /// Sends the call and returns the answer of each command. Only for [`Call::All`] the answers may include errors of
    /// the server.
    ///
    /// With `asked`, the server is importing the slot. It then serves a key of the slot only right after `ASKING`.
    /// Both commands go in one piece, since other calls use the same connection.
    pub(crate) async fn send(
        self,
        node: &Node,
        asked: bool,
        intent: Intent,
        Time { sent_by, deadline }: Time,
    ) -> Result<Vec<Value>, CallError> {
        let connected = timeout_at(deadline, self.connection(node)).await;
        let mut connection = match connected {
            Ok(Ok(connected)) => connected,
            // Nothing was sent.
            Ok(Err(failure @ (StorageFailure::Unavailable(_) | StorageFailure::Busy { .. }))) => {
                return Err(CallError::Elsewhere(node.named(failure)));
            }
            Ok(Err(failure)) => return Err(CallError::Settled(failure)),
            Err(_) => {
                let text = format!("connecting to {} timed out", node.address());
                return Err(CallError::Elsewhere(StorageFailure::Unavailable(text)));
            }
        };
        if Instant::now() > sent_by {
            let text = format!("the deadline passed before {} answered", node.address());
            return Err(CallError::Elsewhere(StorageFailure::Unavailable(text)));
        }
        let mut answer = self.sent(&mut connection, asked, deadline).await;
        let mut intent = intent;
        for _ in 0..functions::MOST_PREPARED {
            let refused = answer.as_ref().err().filter(|error| functions::can_be_prepared(error));
            let (Some(error), Self::Function(call) | Self::Waiting(call, _)) = (refused, self) else { break };
            let half = deadline.saturating_duration_since(Instant::now()) / 2;
            let prepared = functions::prepare(&mut connection.to, error, call, half);
            answer = match within(deadline, prepared).await {
                Ok(()) => self.sent(&mut connection, asked, deadline).await,
                // The function was not called, so its outcome is known.
                Err(error) => {
                    intent = Intent::Read;
                    Err(error)
                }
            };
        }
        if matches!(self, Self::Waiting(..)) && answer.is_ok() {
            node.give_back(connection.to);
        }
        answer.map_err(|error| {
            if failure::ends_connection(&error) {
                node.drop_connection(connection.number);
            }
            match CallError::of(&error, intent) {
                CallError::Elsewhere(failure) => CallError::Elsewhere(node.named(failure)),
                CallError::Settled(failure) => CallError::Settled(node.named(failure)),
                trouble => trouble,
            }
        })
    }

    /// Returns the connection for the call.
    async fn connection(self, node: &Node) -> Result<Connection, StorageFailure> {
        match self {
            // No other call shares this connection, so it needs no number for a drop.
            Self::Waiting(..) => node.own_connection().await.map(Connection::unshared),
            Self::All(_, traffic) => node.connected(traffic).await,
            _ => node.connected(Traffic::Short).await,
        }
    }

    async fn sent(
        self,
        connection: &mut Connection,
        asked: bool,
        deadline: Instant,
    ) -> RedisResult<Vec<Value>> {
        match self {
            Self::One(command) | Self::OnSlot(command, _) | Self::Function(command) if asked => {
                let mut both = Pipeline::with_capacity(2);
                both.cmd("ASKING").add_command(command.clone());
                let mut values = within(deadline, connection.send_all(&both)).await?;
                let value = values.pop().unwrap_or(Value::Nil).extract_error()?;
                Ok(vec![value])
            }
            Self::One(command) | Self::OnSlot(command, _) | Self::Function(command) => {
                let value = within(deadline, connection.to.send_packed_command(command)).await?;
                Ok(vec![value.extract_error()?])
            }
            Self::Waiting(command, wait) => {
                let mut all = Pipeline::with_capacity(3);
                if asked {
                    all.cmd("ASKING");
                }
                all.add_command(command.clone()).add_command(wait.clone());
                let values = within(deadline, connection.send_all(&all)).await?;
                values.into_iter().skip(usize::from(asked)).map(Value::extract_error).collect()
            }
            Self::All(pipeline, _) if asked => {
                let mut all = Pipeline::with_capacity(2 * pipeline.len());
                for command in pipeline.cmd_iter() {
                    all.cmd("ASKING").add_command(command.clone());
                }
                let values = within(deadline, connection.send_all(&all)).await?;
                Ok(values.into_iter().skip(1).step_by(2).collect())
            }
            Self::All(pipeline, _) => within(deadline, connection.send_all(pipeline)).await,
        }
    }
}

/// Waits for an answer until a deadline. A connection without an answer by then counts as lost.
async fn within<T>(deadline: Instant, answer: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    match timeout_at(deadline, answer).await {
        Ok(answer) => answer,
        Err(_) => Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time").into()),
    }
}

impl CallError {
    /// Classifies the error of a call that was sent.
    pub(crate) fn of(error: &RedisError, intent: Intent) -> Self {
        let failure = failure::redis(error, intent);
        match error.kind() {
            ErrorKind::Server(kind) => match kind {
                ServerErrorKind::Moved | ServerErrorKind::Ask => {
                    let Some((address, _)) = error.redirect_node() else { return Self::Elsewhere(failure) };
                    let failure = StorageFailure::Unavailable(error.to_string());
                    match kind {
                        ServerErrorKind::Ask => Self::Ask(address.to_owned(), failure),
                        _ => Self::Moved(address.to_owned(), failure),
                    }
                }
                ServerErrorKind::TryAgain => Self::Wait(failure),
                ServerErrorKind::ClusterDown
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::BusyLoading => Self::Elsewhere(failure),
                _ => Self::Settled(failure),
            },
            // The server refused the call before it began. A master that has lost its replicas may soon be a replica
            // itself.
            ErrorKind::Extension if matches!(error.code(), Some("NOREPLICAS" | "UNBLOCKED")) => {
                Self::Elsewhere(StorageFailure::Unavailable(error.to_string()))
            }
            _ => match failure {
                StorageFailure::Unavailable(_) => Self::Elsewhere(failure),
                _ => Self::Settled(failure),
            },
        }
    }

    /// Returns the failure for the caller, when no time is left.
    pub(crate) fn failure(self) -> StorageFailure {
        match self {
            Self::Settled(failure)
            | Self::Wait(failure)
            | Self::Elsewhere(failure)
            | Self::Moved(_, failure)
            | Self::Ask(_, failure) => failure,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]
mod tests {
    use super::*;

    fn of(line: &str, intent: Intent) -> CallError {
        let error = redis::parse_redis_value(line.as_bytes()).unwrap().extract_error().unwrap_err();
        CallError::of(&error, intent)
    }

    #[test]
    fn what_was_not_done_is_tried_again_and_what_may_have_been_is_told() {
        for intent in [Intent::Read, Intent::Write] {
            let CallError::Moved(to, _) = of("-MOVED 5 [::1]:7\r\n", intent) else { panic!("{intent:?}") };
            assert_eq!(to, "[::1]:7");
            let CallError::Ask(to, _) = of("-ASK 5 one:7\r\n", intent) else { panic!("{intent:?}") };
            assert_eq!(to, "one:7");
            let trouble = of("-TRYAGAIN Multiple keys\r\n", intent);
            assert!(matches!(trouble, CallError::Wait(StorageFailure::Unavailable(_))), "{trouble:?}");
            for code in ["READONLY", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "NOREPLICAS", "UNBLOCKED"] {
                let trouble = of(&format!("-{code} and so on\r\n"), intent);
                assert!(
                    matches!(trouble, CallError::Elsewhere(StorageFailure::Unavailable(_))),
                    "{trouble:?}"
                );
            }
            let settled = of("-OOM command not allowed\r\n", intent);
            assert!(matches!(settled, CallError::Settled(StorageFailure::Full(_))), "{settled:?}");
            assert!(matches!(of("-WRONGTYPE Operation\r\n", intent), CallError::Settled(_)));
        }
        let lost = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert!(matches!(
            CallError::of(&lost, Intent::Read),
            CallError::Elsewhere(StorageFailure::Unavailable(_))
        ));
        assert!(matches!(
            CallError::of(&lost, Intent::Write),
            CallError::Settled(StorageFailure::Unknown(_))
        ));
    }
}
