//! Clients for the tests of servers.
#![allow(dead_code, reason = "not every test uses all of it")]

use std::time::Duration;

use redis::{AsyncConnectionConfig, Client, RedisError, aio::MultiplexedConnection};

/// Longer than any operation in these tests. A test that waits this long has failed.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// Opens a connection with a time limit of [`LONG`]. The default limit of the client is half a second.
pub(crate) async fn connect(url: &str) -> Result<MultiplexedConnection, RedisError> {
    connect_as(&Client::open(url)?).await
}

/// Opens a connection like [`connect`], for a given client.
pub(crate) async fn connect_as(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config =
        AsyncConnectionConfig::new().set_response_timeout(Some(LONG)).set_connection_timeout(Some(LONG));
    client.get_multiplexed_async_connection_with_config(&config).await
}

pub(crate) async fn ping(connection: &mut MultiplexedConnection) -> Result<String, RedisError> {
    redis::cmd("PING").query_async(connection).await
}

pub(crate) async fn set(
    connection: &mut MultiplexedConnection,
    key: &str,
    value: &str,
) -> Result<(), RedisError> {
    redis::cmd("SET").arg(key).arg(value).query_async(connection).await
}

pub(crate) async fn get(
    connection: &mut MultiplexedConnection,
    key: &str,
) -> Result<Option<String>, RedisError> {
    redis::cmd("GET").arg(key).query_async(connection).await
}
