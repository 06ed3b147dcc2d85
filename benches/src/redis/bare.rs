//! The yardstick: bare commands on a stream, by the same client library.

use anyhow::Result;
use domain::Event;
use redis::{Pipeline, Value, aio::MultiplexedConnection, cmd};
use servers::Server;

/// A connection and a stream.
#[derive(Clone)]
pub(super) struct Bare {
    connection: MultiplexedConnection,
}

impl Bare {
    pub(super) async fn connect(server: &Server) -> Result<Self> {
        let client = redis::Client::open(server.url())?;
        Ok(Self { connection: client.get_multiplexed_async_connection().await? })
    }

    /// One event, awaited.
    pub(super) async fn add(&mut self, event: &Event) -> Result<()> {
        Ok(cmd("XADD")
            .arg("bare")
            .arg("*")
            .arg("event")
            .arg(event.json())
            .exec_async(&mut self.connection)
            .await?)
    }

    /// A pipeline a batch.
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

    /// Reads the stream, as the client library gives it.
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

    /// A command's answer.
    pub(super) async fn ask(&mut self, command: &redis::Cmd) -> Result<Value> {
        Ok(command.query_async(&mut self.connection).await?)
    }
}
