//! The way to where a namespace is kept: one server, the master that sentinels name, or the nodes of a cluster.
//!
//! A call to one server is answered with what comes of it. Where several servers are one store a call goes on by itself
//! when they change their roles: what was certainly not done is done again, elsewhere or a little later, until there is no
//! more time; a write whose answer was lost is told, for it may have been done.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use domain::StorageFailure;
use redis::{Client, Cmd, Pipeline, RedisResult, Value};
use tokio::time::{Instant, sleep};

use crate::{
    address::{self, Place},
    call::{Call, Trouble},
    cluster::Cluster,
    connect::Dialler,
    failure::{self, Intent},
    functions,
    node::Node,
    options::RedisOptions,
    sentinel::Sentinels,
    slot,
};

/// The shortest and the longest pause between two tries of a call.
const PAUSES: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(100));
/// How often a call is sent on at once: nodes that disagree could send it to each other for ever.
const SENT_ON: u32 = 5;

/// A way to a namespace. Clones share its connections.
#[derive(Clone)]
pub(crate) struct Link {
    way: Way,
    timeout: Duration,
    /// The slot where commands go that name no key.
    home: u16,
}

#[derive(Clone)]
enum Way {
    Server(Arc<Node>),
    Sentinel(Arc<Sentinels>),
    Cluster(Arc<Cluster>),
}

impl Link {
    /// A way to where the options say. Commands that name no key go where this key is. Nothing is sent yet.
    pub(crate) fn new(options: &RedisOptions, home: &str) -> Result<Self, StorageFailure> {
        let way = match address::place(&options.url)? {
            Place::Server(info) => {
                let client = Dialler::new(options, &info)?.only()?;
                Way::Server(Arc::new(Node::new(client, Some(options.timeout))))
            }
            Place::Sentinel { sentinels, master } => {
                let first = sentinels.first().ok_or_else(nobody)?;
                let servers = Dialler::new(options, first)?;
                let dialler = Dialler::of_sentinels(options, first)?;
                let clients = sentinels.iter().map(|sentinel| dialler.client(sentinel.addr().clone()));
                Way::Sentinel(Sentinels::new(clients.collect::<Result<_, _>>()?, master, servers))
            }
            Place::Cluster { seeds } => {
                let servers = Dialler::new(options, seeds.first().ok_or_else(nobody)?)?;
                Way::Cluster(Cluster::new(seeds.iter().map(|seed| seed.addr().clone()).collect(), servers))
            }
        };
        Ok(Self { way, timeout: options.timeout, home: slot::of_key(home.as_bytes()) })
    }

    /// Sends a command that changes nothing.
    pub(crate) async fn read(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        match &self.way {
            Way::Server(node) => one(node, command, Intent::Read).await,
            _ => self.carry(Call::One(command), Intent::Read).await.map(only),
        }
    }

    /// Sends commands that change nothing, all in one round trip; their answers in order. All keys lie in one slot.
    pub(crate) async fn read_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StorageFailure> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        debug_assert!(slot::is_one(commands.cmd_iter()), "a pipeline names keys of several slots");
        let Way::Server(node) = &self.way else {
            return self.carry(Call::All(commands), Intent::Read).await;
        };
        let (number, mut connection) = node.connected().await?;
        let answer = connection.send_packed_commands(commands, 0, commands.len()).await;
        settled(node, number, answer.and_then(without_errors), Intent::Read)
    }

    /// Sends commands that change something, each for itself; for what needs no more.
    pub(crate) async fn write(&self, command: &Cmd) -> Result<Value, StorageFailure> {
        match &self.way {
            Way::Server(node) => one(node, command, Intent::Write).await,
            _ => self.carry(Call::One(command), Intent::Write).await.map(only),
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
        let Way::Server(node) = &self.way else {
            return self.carry(Call::Function(command), Intent::Write).await.map(only);
        };
        let (number, mut connection) = node.connected().await?;
        let mut answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
        if answer.as_ref().is_err_and(functions::is_unknown) {
            functions::load(&mut connection).await.map_err(|error| failure::redis(&error, Intent::Read))?;
            answer = connection.send_packed_command(command).await.and_then(Value::extract_error);
        }
        settled(node, number, answer, Intent::Write)
    }

    /// The server to ask now for what names no key, for a connection of the caller's own; and its address.
    pub(crate) async fn server(&self) -> Result<(Client, String), StorageFailure> {
        let deadline = Instant::now() + self.timeout;
        let node = match &self.way {
            Way::Server(node) => node.clone(),
            Way::Sentinel(sentinels) => sentinels.node(deadline).await?,
            Way::Cluster(cluster) => cluster.node(self.home, deadline).await?,
        };
        Ok((node.client().clone(), node.address()))
    }

    /// Whether another server than this one is known to be the one to ask now. Nobody is asked.
    pub(crate) fn is_elsewhere(&self, address: &str) -> bool {
        let node = match &self.way {
            Way::Server(_) => None,
            Way::Sentinel(sentinels) => sentinels.known(),
            Way::Cluster(cluster) => cluster.known(self.home),
        };
        node.is_some_and(|node| node.address() != address)
    }

    /// Sends a call to the server that is to have it, as often as it takes.
    async fn carry(&self, call: Call<'_>, intent: Intent) -> Result<Vec<Value>, StorageFailure> {
        debug_assert!(call.is_of_one_slot(), "a call names keys of several slots");
        let mut tries = Tries::new(self.timeout);
        loop {
            let tried = match &self.way {
                Way::Cluster(cluster) => {
                    let slot = call.slot().unwrap_or(self.home);
                    in_cluster(cluster, slot, call, intent, tries.deadline).await
                }
                Way::Sentinel(sentinels) => at_master(sentinels, call, intent, tries.deadline).await,
                Way::Server(node) => call.send(node, false, intent, tries.deadline).await,
            };
            match tried {
                Ok(values) => return Ok(values),
                Err(trouble) => tries.again(trouble).await?,
            }
        }
    }
}

/// Sends a command to the only server.
async fn one(node: &Node, command: &Cmd, intent: Intent) -> Result<Value, StorageFailure> {
    let (number, mut connection) = node.connected().await?;
    let answer = connection.send_packed_command(command).await;
    settled(node, number, answer.and_then(Value::extract_error), intent)
}

fn settled<T>(node: &Node, number: u64, answer: RedisResult<T>, intent: Intent) -> Result<T, StorageFailure> {
    answer.map_err(|error| {
        if failure::ends_connection(&error) {
            node.drop_connection(number);
        }
        failure::redis(&error, intent)
    })
}

fn without_errors(values: Vec<Value>) -> RedisResult<Vec<Value>> {
    values.into_iter().map(Value::extract_error).collect()
}

fn only(values: Vec<Value>) -> Value {
    values.into_iter().next().unwrap_or(Value::Nil)
}

fn nobody() -> StorageFailure {
    StorageFailure::Foreign("the URL of the Redis store names no host".to_owned())
}

/// Tries the master that the sentinels name.
async fn at_master(
    sentinels: &Arc<Sentinels>,
    call: Call<'_>,
    intent: Intent,
    deadline: Instant,
) -> Result<Vec<Value>, Trouble> {
    let node = sentinels.node(deadline).await.map_err(Trouble::unfound)?;
    let sent = call.send(&node, false, intent, deadline).await;
    let answer = sent.and_then(|values| without_errors(values).map_err(|error| Trouble::of(&error, intent)));
    // A write that may have been done is not repeated, and its server is in doubt all the same.
    if let Err(Trouble::Elsewhere(_) | Trouble::Settled(StorageFailure::Unknown(_))) = &answer {
        sentinels.doubt(&node);
    }
    answer
}

/// Tries the node that serves a slot, and the one that the slot is on its way to.
async fn in_cluster(
    cluster: &Cluster,
    slot: u16,
    call: Call<'_>,
    intent: Intent,
    deadline: Instant,
) -> Result<Vec<Value>, Trouble> {
    let node = cluster.node(slot, deadline).await.map_err(Trouble::unfound)?;
    let answer = match call {
        Call::All(commands) => all_in_cluster(cluster, &node, commands, deadline).await,
        _ => match call.send(&node, false, intent, deadline).await {
            Err(Trouble::Ask(address, _)) => {
                let other = cluster.at(&address, &node).map_err(Trouble::Settled)?;
                call.send(&other, true, intent, deadline).await.map_err(Trouble::on_the_way)
            }
            answer => answer,
        },
    };
    match &answer {
        Err(Trouble::Moved(address, _)) => {
            cluster.learn(slot, address, &node).map_err(Trouble::Settled)?;
        }
        Err(Trouble::Elsewhere(_) | Trouble::Settled(StorageFailure::Unknown(_))) => {
            cluster.doubt(slot, &node);
        }
        _ => {}
    }
    answer
}

/// Reads of a slot that is on its way: what the node does not have any more is asked of the other one. The answers must be
/// as if they had been given one after the other, so they are asked for again until they are the same twice, where some came
/// from here and some from there.
async fn all_in_cluster(
    cluster: &Cluster,
    node: &Arc<Node>,
    commands: &Pipeline,
    deadline: Instant,
) -> Result<Vec<Value>, Trouble> {
    let mut before = None;
    loop {
        let mut values = Call::All(commands).send(node, false, Intent::Read, deadline).await?;
        let (mut gone, mut to) = (Vec::new(), None);
        for (at, value) in values.iter().enumerate() {
            let Value::ServerError(error) = value else { continue };
            match Trouble::of(&error.clone().into(), Intent::Read) {
                Trouble::Ask(address, _) => {
                    gone.push(at);
                    to = Some(address);
                }
                trouble => return Err(trouble),
            }
        }
        let Some(to) = to else { return Ok(values) };
        let other = cluster.at(&to, node).map_err(Trouble::Settled)?;
        let mut asked = Pipeline::with_capacity(gone.len());
        for (at, command) in commands.cmd_iter().enumerate() {
            if gone.binary_search(&at).is_ok() {
                asked.add_command(command.clone());
            }
        }
        let found = Call::All(&asked).send(&other, true, Intent::Read, deadline).await;
        for (at, value) in gone.iter().zip(found.map_err(Trouble::on_the_way)?) {
            let value =
                value.extract_error().map_err(|error| Trouble::of(&error, Intent::Read).on_the_way())?;
            if let Some(place) = values.get_mut(*at) {
                *place = value;
            }
        }
        if gone.len() == commands.len() || before.as_ref() == Some(&values) {
            return Ok(values);
        }
        before = Some(values);
    }
}

impl Trouble {
    /// Nobody knows which server to ask.
    fn unfound(failure: StorageFailure) -> Self {
        match failure {
            StorageFailure::Unavailable(_) | StorageFailure::Busy { .. } => Self::Wait(failure),
            _ => Self::Settled(failure),
        }
    }

    /// Trouble of the node that a slot is on its way to: where it is not that any more, who knows is the node that had it.
    fn on_the_way(self) -> Self {
        match self {
            Self::Settled(_) => self,
            other => Self::Wait(other.failure()),
        }
    }
}

/// The tries of a call.
struct Tries {
    deadline: Instant,
    pauses: ExponentialBackoff,
    sent_on: u32,
}

impl Tries {
    fn new(timeout: Duration) -> Self {
        let pauses = ExponentialBuilder::new().with_min_delay(PAUSES.0).with_max_delay(PAUSES.1);
        let pauses = pauses.with_jitter().without_max_times().build();
        Self { deadline: Instant::now() + timeout, pauses, sent_on: 0 }
    }

    /// Waits until it is time for another try.
    ///
    /// # Errors
    /// Where there is none, with what came of the last one.
    async fn again(&mut self, trouble: Trouble) -> Result<(), StorageFailure> {
        if let Trouble::Settled(failure) = trouble {
            return Err(failure);
        }
        if matches!(trouble, Trouble::Moved(..)) && self.sent_on < SENT_ON {
            self.sent_on += 1;
            return Ok(());
        }
        let pause = self.pauses.next().unwrap_or(PAUSES.1);
        if Instant::now() + pause >= self.deadline {
            return Err(trouble.failure());
        }
        sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]
mod tests {
    use super::*;

    /// Nobody is there, and nobody is asked: the law is held before anything is sent.
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
