//! The connection to a namespace: one server, the master that sentinels name, or the nodes of a cluster.
//!
//! A call to one server returns the result of its only try. If several servers form one store, a call continues when
//! they change their roles. A call that was certainly not done is repeated, on another server or a little later, until
//! the deadline. A write with a lost answer may have been done, so the caller gets an error and the write is not
//! repeated.

mod dispatch;
mod unreachable_slots;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::StorageFailure;
use redis::{Client, Cmd, Pipeline, RedisResult, Value};
use tokio::time::Instant;

use self::unreachable_slots::UnreachableSlots;
use crate::{
    client::{
        address::{self, Place},
        call::Call,
        cluster::Cluster,
        connect::Dialler,
        failure::{self, Intent},
        node::{Connection, Node, Traffic},
        sentinel::Sentinels,
        slot,
    },
    options::RedisOptions,
    server::functions,
};

/// A connection to a namespace. Clones share the network connections.
#[derive(Clone)]
pub(crate) struct Link {
    topology: Topology,
    timeout: Duration,
    /// The slot for commands that name no key.
    home: u16,
    disturbances: Arc<AtomicU64>,
    unreachable_slots: Arc<UnreachableSlots>,
}

#[derive(Clone)]
enum Topology {
    Server(Arc<Node>),
    Sentinel(Arc<Sentinels>),
    Cluster(Arc<Cluster>),
}

impl Link {
    /// Returns a link to the place that the options name. Commands that name no key go to the server of the key
    /// `home`. Sends nothing yet.
    pub(crate) fn new(options: &RedisOptions, home: &str) -> Result<Self, StorageFailure> {
        let topology = match address::place(&options.url)? {
            Place::Server(info) => {
                let client = Dialler::new(options, &info)?.only()?;
                Topology::Server(Arc::new(Node::new(client, Some(options.timeout))))
            }
            Place::Sentinel { sentinels, master } => {
                let first = sentinels.first().ok_or_else(no_host)?;
                let servers = Dialler::new(options, first)?;
                let dialler = Dialler::of_sentinels(options, first)?;
                let clients = sentinels.iter().map(|sentinel| dialler.client(sentinel.addr().clone()));
                Topology::Sentinel(Sentinels::new(clients.collect::<Result<_, _>>()?, master, servers))
            }
            Place::Cluster { seeds } => {
                let servers = Dialler::new(options, seeds.first().ok_or_else(no_host)?)?;
                Topology::Cluster(Cluster::new(
                    seeds.iter().map(|seed| seed.addr().clone()).collect(),
                    servers,
                ))
            }
        };
        let home = slot::of_key(home.as_bytes());
        Ok(Self {
            topology,
            timeout: options.timeout,
            home,
            disturbances: Arc::default(),
            unreachable_slots: Arc::default(),
        })
    }

    /// Returns the number of disturbances so far: repeated calls, redirected calls and lost connections. While this
    /// number stays the same, calls are answered in the order of their sending. The answer to a call is then never
    /// from a later time than the answer to the call after it.
    pub(crate) fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::Acquire)
    }

    fn disturb(&self) {
        self.disturbances.fetch_add(1, Ordering::AcqRel);
    }

    /// Sends a command that changes nothing.
    pub(crate) async fn read(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        match &self.topology {
            Topology::Server(node) => self.one(node, command, Intent::Read).await,
            _ => self.dispatch(Call::One(command), Intent::Read).await.map(only),
        }
    }

    /// Sends a command that changes nothing and names no key, to the server that has the given key.
    pub(crate) async fn read_near(&self, command: &Cmd, key: &str) -> Result<Value, StorageFailure> {
        match &self.topology {
            Topology::Server(node) => self.one(node, command, Intent::Read).await,
            _ => {
                let call = Call::OnSlot(command, slot::of_key(key.as_bytes()));
                self.dispatch(call, Intent::Read).await.map(only)
            }
        }
    }

    /// Sends commands that change nothing, in one round trip. Returns their answers in order. All keys are in one
    /// slot.
    pub(crate) async fn read_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StorageFailure> {
        self.read_over(commands, Traffic::Short).await
    }

    /// Does the same as [`Link::read_all`] for pages of the log, which have a separate connection.
    pub(crate) async fn read_pages(&self, commands: &Pipeline) -> Result<Vec<Value>, StorageFailure> {
        self.read_over(commands, Traffic::Pages).await
    }

    async fn read_over(&self, commands: &Pipeline, traffic: Traffic) -> Result<Vec<Value>, StorageFailure> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        debug_assert!(slot::is_one(commands.cmd_iter()), "a pipeline names keys of several slots");
        let Topology::Server(node) = &self.topology else {
            return self.dispatch(Call::All(commands, traffic), Intent::Read).await;
        };
        let mut connection = node.connected(traffic).await?;
        let answer = connection.send_all(commands).await;
        self.settled(node, connection.number, answer.and_then(without_errors), Intent::Read)
    }

    /// Sends one command that changes something, for changes that need no function of the library.
    pub(crate) async fn write(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        match &self.topology {
            Topology::Server(node) => self.one(node, command, Intent::Write).await,
            _ => self.dispatch(Call::One(command), Intent::Write).await.map(only),
        }
    }

    /// Calls a function of the library that changes something. Loads the library first into a server that does not
    /// have it.
    pub(crate) async fn call(
        &self,
        function: &str,
        keys: &[String],
        args: &[impl redis::ToRedisArgs],
    ) -> Result<Value, StorageFailure> {
        let mut command = redis::cmd("FCALL");
        command.arg(functions::name(function)).arg(keys.len());
        for key in keys {
            command.arg(key);
        }
        for arg in args {
            command.arg(arg);
        }
        self.call_command(&command).await
    }

    /// Sends an `FCALL` that its caller has composed.
    pub(crate) async fn call_command(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        let Topology::Server(node) = &self.topology else {
            return self.dispatch(Call::Function(command), Intent::Write).await.map(only);
        };
        let Connection { number, to: mut connection, .. } = node.connected(Traffic::Short).await?;
        let mut answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
        for _ in 0..functions::MOST_PREPARED {
            let Some(error) = answer.as_ref().err().filter(|error| functions::can_be_prepared(error)) else {
                break;
            };
            let prepared = functions::prepare(&mut connection, error, command, self.timeout / 2).await;
            self.settled(node, number, prepared, Intent::Read)?;
            answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
        }
        self.settled(node, number, answer, Intent::Write)
    }

    /// Sends an `FCALL` that is safe to repeat, then a command that waits, on the same connection. Returns both
    /// answers. The connection is not shared, so other calls do not wait with it.
    pub(crate) async fn call_and_wait(
        &self,
        call: &Cmd,
        wait: &Cmd,
    ) -> Result<(Value, Value), StorageFailure> {
        let mut values = self.dispatch(Call::Waiting(call, wait), Intent::Read).await?.into_iter();
        match (values.next(), values.next()) {
            (Some(answer), Some(waited)) => Ok((answer, waited)),
            _ => Err(failure::unexpected_reply("a call and a wait")),
        }
    }

    /// Returns the server for commands that name no key, and its address. The caller opens a separate connection to
    /// the server.
    pub(crate) async fn server(&self) -> Result<(Client, String), StorageFailure> {
        let deadline = Instant::now() + self.timeout;
        let node = match &self.topology {
            Topology::Server(node) => node.clone(),
            Topology::Sentinel(sentinels) => sentinels.node(deadline).await?,
            Topology::Cluster(cluster) => cluster.node(self.home, deadline).await?,
        };
        Ok((node.client().clone(), node.address()))
    }

    /// Returns every master that now serves some of the keys: its address, and a link to that server alone.
    pub(crate) async fn servers(&self) -> Result<Vec<(String, Self)>, StorageFailure> {
        let deadline = Instant::now() + self.timeout;
        let nodes = match &self.topology {
            Topology::Server(node) => return Ok(vec![(node.address(), self.clone())]),
            Topology::Sentinel(sentinels) => vec![sentinels.node(deadline).await?],
            Topology::Cluster(cluster) => cluster.nodes(self.home, deadline).await?,
        };
        let alone = |node: Arc<Node>| {
            let own = Node::new(node.client().clone(), Some(self.timeout));
            (node.address(), Self { topology: Topology::Server(Arc::new(own)), ..self.clone() })
        };
        Ok(nodes.into_iter().map(alone).collect())
    }

    /// Makes the next call ask the sentinels again for the master.
    pub(crate) fn doubt(&self) {
        if let Topology::Sentinel(sentinels) = &self.topology
            && let Some(node) = sentinels.known()
        {
            sentinels.doubt(&node);
        }
    }

    /// Returns whether several servers form one store, so that one of them can take over from another.
    pub(crate) fn is_of_several(&self) -> bool {
        !matches!(self.topology, Topology::Server(_))
    }

    /// Returns whether a server other than this address is known to be the right one now. Sends no request.
    pub(crate) fn is_elsewhere(&self, address: &str) -> bool {
        let node = match &self.topology {
            Topology::Server(_) => None,
            Topology::Sentinel(sentinels) => sentinels.known(),
            Topology::Cluster(cluster) => cluster.known(self.home),
        };
        node.is_some_and(|node| node.address() != address)
    }

    /// Sends a command to the only server.
    async fn one(&self, node: &Node, command: &Cmd, intent: Intent) -> Result<Value, StorageFailure> {
        let Connection { number, to: mut connection, .. } = node.connected(Traffic::Short).await?;
        let answer = connection.send_packed_command(command).await;
        self.settled(node, number, answer.and_then(Value::extract_error), intent)
    }

    fn settled<T>(
        &self,
        node: &Node,
        number: u64,
        answer: RedisResult<T>,
        intent: Intent,
    ) -> Result<T, StorageFailure> {
        answer.map_err(|error| {
            if failure::ends_connection(&error) {
                self.disturb();
                node.drop_connection(number);
            }
            failure::redis(&error, intent)
        })
    }
}

fn without_errors(values: Vec<Value>) -> RedisResult<Vec<Value>> {
    values.into_iter().map(Value::extract_error).collect()
}

fn only(values: Vec<Value>) -> Value {
    values.into_iter().next().unwrap_or(Value::Nil)
}

fn no_host() -> StorageFailure {
    StorageFailure::Foreign("the URL of the Redis store names no host".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]
mod tests {
    use super::*;

    /// No server runs here. The check fails before anything is sent.
    #[cfg(debug_assertions)]
    #[tokio::test]
    #[should_panic(expected = "a pipeline names keys of several slots")]
    async fn a_pipeline_of_several_slots_is_noticed_on_every_server() {
        let link = Link::new(&RedisOptions::new("redis://127.0.0.1:1"), "{a}").unwrap();
        let mut pipeline = Pipeline::new();
        pipeline.cmd("GET").arg("{a}1").cmd("GET").arg("{b}1");
        let _ = link.read_all(&pipeline).await;
    }

    #[tokio::test]
    async fn an_error_reaches_the_caller_only_when_there_is_no_more_time() {
        for url in ["redis+sentinel://127.0.0.1:1?master=m", "redis+cluster://127.0.0.1:1"] {
            let options = RedisOptions { timeout: Duration::from_millis(300), ..RedisOptions::new(url) };
            let link = Link::new(&options, "{a}").unwrap();
            let began = Instant::now();
            let failure = link.read(redis::cmd("GET").arg("{a}1")).await.unwrap_err();
            assert!(matches!(failure, StorageFailure::Unavailable(_)), "{failure}");
            // The last pause may use up to the rest of the time.
            assert!(began.elapsed() > Duration::from_millis(150), "{url} was given up at once");
        }
    }
}
