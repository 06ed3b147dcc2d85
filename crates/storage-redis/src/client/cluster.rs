//! The nodes of a cluster, and the slots that each node serves.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use domain::StorageFailure;
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{ConnectionAddr, FromRedisValue, RedisResult, Value};
use tokio::time::{Instant, timeout, timeout_at};

use crate::client::{
    connect::Dialler,
    failure::{self, Intent, unexpected_reply},
    node::{CONNECT_WITHIN, Connection, Node, Traffic},
    single_flight::SingleFlight,
};

/// How long to wait for a better answer, after a node has named the very server that is in doubt.
const SECOND_THOUGHT: Duration = Duration::from_millis(200);

/// The known nodes and their slots.
pub(crate) struct Cluster {
    servers: Dialler,
    seeds: Vec<ConnectionAddr>,
    map: Mutex<Map>,
    turn: SingleFlight,
}

#[derive(Default)]
struct Map {
    /// Nodes by address.
    nodes: HashMap<String, Arc<Node>>,
    ranges: Vec<(RangeInclusive<u16>, Arc<Node>)>,
    /// Single slots that moved after the ranges were read, as nodes reported.
    moved: HashMap<u16, Arc<Node>>,
    /// A server in doubt. Before a call uses it again, the other nodes are asked.
    doubted: Option<Arc<Node>>,
}

impl Map {
    fn node(&self, slot: u16) -> Option<Arc<Node>> {
        let ranges = || self.ranges.iter().find(|(range, _)| range.contains(&slot)).map(|(_, node)| node);
        self.moved.get(&slot).or_else(ranges).cloned()
    }
}

/// Ranges of slots, and the address that serves each.
type Ranges = Vec<(RangeInclusive<u16>, ConnectionAddr)>;

impl Cluster {
    /// Returns the cluster with these seeds. Sends nothing yet.
    pub(crate) fn new(seeds: Vec<ConnectionAddr>, servers: Dialler) -> Arc<Self> {
        Arc::new(Self { servers, seeds, map: Mutex::default(), turn: SingleFlight::default() })
    }

    /// Returns the node that serves a slot.
    pub(crate) async fn node(&self, slot: u16, deadline: Instant) -> Result<Arc<Node>, StorageFailure> {
        match self.known(slot) {
            Some(node) => Ok(node),
            None => self.turn.look(deadline, || self.known(slot), self.find(slot)).await,
        }
    }

    /// Asks again for the slots, and returns all nodes that serve any. Returns them even if no node serves the given
    /// slot.
    pub(crate) async fn nodes(&self, slot: u16, deadline: Instant) -> Result<Vec<Arc<Node>>, StorageFailure> {
        let found = self.turn.look(deadline, || None, self.find(slot)).await;
        let mut nodes: Vec<Arc<Node>> = Vec::new();
        for (_, node) in &self.lock().ranges {
            if !nodes.iter().any(|known| Arc::ptr_eq(known, node)) {
                nodes.push(node.clone());
            }
        }
        match (nodes.is_empty(), found) {
            (true, Err(failure)) => Err(failure),
            _ => Ok(nodes),
        }
    }

    /// Returns the known node of a slot, without a request. None if that node is in doubt.
    pub(crate) fn known(&self, slot: u16) -> Option<Arc<Node>> {
        let map = self.lock();
        let is_doubted = |node: &Arc<Node>| map.doubted.as_ref().is_some_and(|one| Arc::ptr_eq(one, node));
        map.node(slot).filter(|node| !is_doubted(node))
    }

    /// Records that this node may not, or no longer, serve the slot.
    pub(crate) fn doubt(&self, slot: u16, node: &Arc<Node>) {
        let mut map = self.lock();
        // Another caller may have found the right node meanwhile.
        if map.node(slot).is_some_and(|known| Arc::ptr_eq(&known, node)) {
            map.doubted = Some(node.clone());
        }
    }

    /// Records the address of a slot that a node reported.
    pub(crate) fn learn(&self, slot: u16, address: &str, from: &Node) -> Result<(), StorageFailure> {
        let node = self.at(address, from)?;
        self.lock().moved.insert(slot, node);
        Ok(())
    }

    /// Returns the node at an address that another node named.
    pub(crate) fn at(&self, address: &str, from: &Node) -> Result<Arc<Node>, StorageFailure> {
        let unreadable = || unexpected_reply(&format!("with the address {address:?}"));
        let (host, port) = address.rsplit_once(':').ok_or_else(unreadable)?;
        let port = port.parse().map_err(|_| unreadable())?;
        self.node_at(self.address_of(host, port, from))
    }

    /// Returns the address that a node named. A node that does not know its own host name leaves the host out.
    fn address_of(&self, host: &str, port: u16, from: &Node) -> ConnectionAddr {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        match (host, from.client().get_connection_info().addr()) {
            ("" | "?", ConnectionAddr::Tcp(own, _) | ConnectionAddr::TcpTls { host: own, .. }) => {
                self.servers.address(own, port)
            }
            _ => self.servers.address(host, port),
        }
    }

    fn node_at(&self, address: ConnectionAddr) -> Result<Arc<Node>, StorageFailure> {
        let name = address.to_string();
        let mut map = self.lock();
        if let Some(node) = map.nodes.get(&name) {
            return Ok(node.clone());
        }
        let node = Arc::new(Node::new(self.servers.client(address)?, None));
        map.nodes.insert(name, node.clone());
        Ok(node)
    }

    /// Asks all nodes at once for the slots, and uses the first answer. If that answer names the server in doubt, a
    /// better answer may replace it for a moment. An outdated answer leads to a server that redirects the call.
    async fn find(&self, slot: u16) -> Result<Arc<Node>, StorageFailure> {
        for seed in &self.seeds {
            self.node_at(seed.clone())?;
        }
        let (doubted, nodes): (_, Vec<_>) = {
            let map = self.lock();
            (map.doubted.as_ref().map(|node| node.address()), map.nodes.values().cloned().collect())
        };
        let mut answers: FuturesUnordered<_> = nodes.iter().map(|node| self.ranges(node)).collect();
        let (mut found, mut last, mut until) = (None, None, None);
        loop {
            let answer = match until {
                Some(until) => timeout_at(until, answers.next()).await.unwrap_or(None),
                None => answers.next().await,
            };
            match answer {
                Some(Ok(ranges)) => {
                    let address = ranges.iter().find(|(range, _)| range.contains(&slot));
                    let address = address.map(|(_, address)| address.to_string());
                    if address.is_some() && address != doubted {
                        found = Some(ranges);
                        break;
                    }
                    found = found.or(Some(ranges));
                    until = until.or(Some(Instant::now() + SECOND_THOUGHT));
                }
                Some(Err(failure)) => last = Some(failure::graver(last.take(), failure)),
                None => break,
            }
        }
        let Some(ranges) = found else {
            return Err(last.unwrap_or_else(|| StorageFailure::Unavailable("no node answers".to_owned())));
        };
        self.take(ranges)?;
        self.known(slot)
            .ok_or_else(|| StorageFailure::Unavailable(format!("no node of the cluster serves slot {slot}")))
    }

    fn take(&self, ranges: Ranges) -> Result<(), StorageFailure> {
        let mut served = Vec::with_capacity(ranges.len());
        for (range, address) in ranges {
            served.push((range, self.node_at(address)?));
        }
        let mut map = self.lock();
        // Drop the connections to nodes that serve no slots.
        map.nodes.retain(|_, node| served.iter().any(|(_, serving)| Arc::ptr_eq(serving, node)));
        map.ranges = served;
        map.moved.clear();
        map.doubted = None;
        Ok(())
    }

    /// Asks a node for the slots of all nodes.
    async fn ranges(&self, node: &Node) -> Result<Ranges, StorageFailure> {
        let Connection { number, to: mut connection, .. } =
            node.connected(Traffic::Short).await.map_err(|failure| node.named(failure))?;
        let mut command = redis::cmd("CLUSTER");
        command.arg("SLOTS");
        let answer: RedisResult<Value> =
            match timeout(CONNECT_WITHIN, command.query_async(&mut connection)).await {
                Ok(answer) => answer,
                Err(_) => {
                    node.drop_connection(number);
                    let text = format!("{} says nothing", node.address());
                    return Err(StorageFailure::Unavailable(text));
                }
            };
        let answer = answer.map_err(|error| {
            if failure::ends_connection(&error) {
                node.drop_connection(number);
            }
            match failure::redis(&error, Intent::Read) {
                StorageFailure::Other(text) if text.contains("cluster support disabled") => {
                    StorageFailure::Foreign(format!(
                        "{} is no node of a cluster: name it as redis://HOST:PORT",
                        node.address()
                    ))
                }
                failure => failure,
            }
        })?;
        let Value::Array(entries) = answer else { return Err(unexpected_reply("the slots")) };
        entries.into_iter().map(|entry| self.range(entry, node)).collect()
    }

    /// Parses `[FIRST, LAST, [HOST, PORT, …], …]`. The master is the first node of the entry.
    fn range(
        &self,
        entry: Value,
        from: &Node,
    ) -> Result<(RangeInclusive<u16>, ConnectionAddr), StorageFailure> {
        let bad = || unexpected_reply("the slots");
        let Value::Array(parts) = entry else { return Err(bad()) };
        let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = parts.as_slice() else {
            return Err(bad());
        };
        let [host, Value::Int(port), ..] = master.as_slice() else { return Err(bad()) };
        let host: Option<String> = FromRedisValue::from_redis_value(host.clone()).map_err(|_| bad())?;
        let address = self.address_of(&host.unwrap_or_default(), *port as u16, from);
        Ok((*first as u16..=*last as u16, address))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
