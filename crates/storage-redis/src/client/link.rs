//! The way to where a namespace is kept: one server, the master that sentinels name, or the nodes of a cluster.
//!
//! A call to one server is answered with what comes of it. Where several servers are one store a call goes on by itself
//! when they change their roles: what was certainly not done is done again, elsewhere or a little later, until there is no
//! more time; a write whose answer was lost is told, for it may have been done.

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

/// A way to a namespace. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Link {
    topology: Topology,
    timeout: Duration,
    /// The slot where commands go that name no key.
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
    /// A topology to where the options say. Commands that name no key go where this key is. Nothing is sent yet.
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

    /// How often something came in between so far: a call was sent again, or on to another server, or a connection was lost.
    /// As long as this stays what it is, what is asked first is answered first, and not from a later time than what is asked
    /// after it.
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

    /// Sends a command that changes nothing and names no key to the server that has this one.
    pub(crate) async fn read_near(&self, command: &Cmd, key: &str) -> Result<Value, StorageFailure> {
        match &self.topology {
            Topology::Server(node) => self.one(node, command, Intent::Read).await,
            _ => {
                let call = Call::OnSlot(command, slot::of_key(key.as_bytes()));
                self.dispatch(call, Intent::Read).await.map(only)
            }
        }
    }

    /// Sends commands that change nothing, all in one round trip; their answers in order. All keys lie in one slot.
    pub(crate) async fn read_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StorageFailure> {
        self.read_over(commands, Traffic::Short).await
    }

    /// The same for pages of the log, which have a connection of their own.
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

    /// Sends commands that change something, each for itself; for what needs no more.
    pub(crate) async fn write(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        match &self.topology {
            Topology::Server(node) => self.one(node, command, Intent::Write).await,
            _ => self.dispatch(Call::One(command), Intent::Write).await.map(only),
        }
    }

    /// Calls a function of the library that changes something. A server that does not know the library is given it.
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

    /// Sends an `FCALL` that was put together by its caller.
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

    /// Sends an `FCALL` that can be repeated, and after it, on the same connection, a command that waits; what both answer.
    /// Others do not wait with it: the connection is its own.
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

    /// The server to ask now for what names no key, for a connection of the caller's own; and its address.
    pub(crate) async fn server(&self) -> Result<(Client, String), StorageFailure> {
        let deadline = Instant::now() + self.timeout;
        let node = match &self.topology {
            Topology::Server(node) => node.clone(),
            Topology::Sentinel(sentinels) => sentinels.node(deadline).await?,
            Topology::Cluster(cluster) => cluster.node(self.home, deadline).await?,
        };
        Ok((node.client().clone(), node.address()))
    }

    /// Every server that now serves some of the keys: its address, and a way to it alone. Replicas are not among
    /// them.
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

    /// Has sentinels asked again who the master is, before anything else is sent.
    pub(crate) fn doubt(&self) {
        if let Topology::Sentinel(sentinels) = &self.topology
            && let Some(node) = sentinels.known()
        {
            sentinels.doubt(&node);
        }
    }

    /// Whether several servers are one store, and one of them takes another's place.
    pub(crate) fn is_of_several(&self) -> bool {
        !matches!(self.topology, Topology::Server(_))
    }

    /// Whether another server than this one is known to be the one to ask now. No server is asked.
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

    /// No server is there, and none is asked: the law is held before anything is sent.
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
            // The last pause may be what is left of it.
            assert!(began.elapsed() > Duration::from_millis(150), "{url} was given up at once");
        }
    }
}
