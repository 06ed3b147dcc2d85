//! The yardstick: bare commands on a stream, with the same client library.

use std::time::Duration;

use anyhow::Result;
use domain::Event;
use redis::{AsyncConnectionConfig, Pipeline, Value, aio::MultiplexedConnection, cmd};
use servers::Server;

/// A connection and a stream.
#[derive(Clone)]
pub(super) struct Bare {
    connection: MultiplexedConnection,
}

impl Bare {
    pub(super) async fn connect(server: &Server) -> Result<Self> {
        let client = redis::Client::open(server.url())?;
        // The default timeout of half a second is too short on a machine with other load.
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(60)));
        Ok(Self { connection: client.get_multiplexed_async_connection_with_config(&config).await? })
    }

    /// Appends one event, and waits for the response.
    pub(super) async fn add(&mut self, event: &Event) -> Result<()> {
        Ok(cmd("XADD")
            .arg("bare")
            .arg("*")
            .arg("event")
            .arg(event.json())
            .exec_async(&mut self.connection)
            .await?)
    }

    /// Appends events, with one pipeline for each batch.
    pub(super) async fn add_all(&mut self, events: &[Event], batch: usize) -> Result<()> {
        for events in events.chunks(batch) {
            let mut pipeline = Pipeline::with_capacity(batch);
            for event in events {
                pipeline.cmd("XADD").arg("bare").arg("*").arg("event").arg(event.json()).ignore();
            }
            pipeline.exec_async(&mut self.connection).await?;
        }
        Ok(())
    }

    /// Reads the stream with the types of the client library.
    pub(super) async fn read_all(&mut self) -> Result<u64> {
        let (mut from, mut seen) = ("-".to_owned(), 0);
        loop {
            let answer: Value = cmd("XRANGE")
                .arg("bare")
                .arg(&from)
                .arg("+")
                .arg("COUNT")
                .arg(1000)
                .query_async(&mut self.connection)
                .await?;
            let Value::Array(entries) = answer else { anyhow::bail!("no entries") };
            seen += entries.len() as u64;
            let Some(Value::Array(last)) = entries.last() else { return Ok(seen) };
            let Some(Value::BulkString(id)) = last.first() else { anyhow::bail!("no id") };
            from = format!("({}", String::from_utf8_lossy(id));
        }
    }

    /// Reads the stream as a Redis consumer group, and acknowledges each entry.
    pub(super) async fn consume_all(&mut self, group: &str) -> Result<u64> {
        let mut make = cmd("XGROUP");
        make.arg("CREATE").arg("bare").arg(group).arg("0").exec_async(&mut self.connection).await?;
        let mut seen = 0;
        loop {
            let answer: Value = cmd("XREADGROUP")
                .arg(&["GROUP", group, "consumer", "COUNT", "500", "STREAMS", "bare", ">"][..])
                .query_async(&mut self.connection)
                .await?;
            let Value::Array(streams) = answer else { return Ok(seen) };
            let Some(Value::Array(stream)) = streams.into_iter().next() else { return Ok(seen) };
            let Some(Value::Array(entries)) = stream.into_iter().nth(1) else { return Ok(seen) };
            let mut done = cmd("XACK");
            done.arg("bare").arg(group);
            for entry in &entries {
                let Value::Array(parts) = entry else { anyhow::bail!("no entry") };
                let Some(Value::BulkString(id)) = parts.first() else { anyhow::bail!("no id") };
                done.arg(id);
            }
            done.exec_async(&mut self.connection).await?;
            seen += entries.len() as u64;
        }
    }

    /// Returns the response to a command.
    pub(super) async fn ask(&mut self, command: &redis::Cmd) -> Result<Value> {
        Ok(command.query_async(&mut self.connection).await?)
    }
}
