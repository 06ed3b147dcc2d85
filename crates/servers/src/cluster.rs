//! A Redis cluster of three masters with one replica each.

mod slot_move;
mod view;

use std::time::{Duration, Instant};

use tokio::time::sleep;

pub use self::slot_move::SlotMove;
use self::view::{Line, SLOTS};
use crate::{
    Binary, Config, Error, Server,
    command::{PAUSE, Patience, say, value_of},
    config::Part,
};

/// Number of masters at the start. The number of replicas is the same.
const MASTERS: usize = 3;

/// Time after which a node considers a silent node failed. It is far below a production value, because tests wait for
/// it.
const NODE_TIMEOUT: Duration = Duration::from_millis(1000);

/// Maximum wait of a test for agreement among the nodes. A restarted node accepts no writes for two seconds.
const CHANGE_WITHIN: Duration = Duration::from_secs(30);

/// Time after which the nodes abandon a failover in which the master takes part.
const GIVEN_UP: Duration = Duration::from_secs(6);

/// The way in which a replica is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// With the help of the master (`CLUSTER FAILOVER`). No write is lost.
    Agreed,
    /// Without the master, by a vote of the other masters (`CLUSTER FAILOVER FORCE`).
    Forced,
    /// Without the master and without a vote (`CLUSTER FAILOVER TAKEOVER`).
    Takeover,
}

/// A cluster, by default of six nodes. The first three nodes are masters at the start, and node 3 + N is the replica of
/// node N. Dropping the value ends all nodes.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    masters: usize,
    /// The node ids in the cluster.
    ids: Vec<String>,
}

impl Cluster {
    /// Starts the nodes and distributes the slots. Waits until all nodes agree and the replicas have copied their
    /// masters.
    ///
    /// All nodes use `config`. The user `default` must keep all rights. With TLS, the nodes also use TLS among each
    /// other.
    ///
    /// # Errors
    /// Returns an [`Error`] when a node does not start, or when the nodes do not form a cluster.
    pub async fn start(binary: &Binary, config: &Config) -> Result<Self, Error> {
        Self::of(binary, config, MASTERS, 2 * MASTERS).await
    }

    /// Starts `masters` masters and no replicas.
    ///
    /// # Errors
    /// Returns an [`Error`] in the same cases as [`Cluster::start`].
    pub async fn of_masters(binary: &Binary, config: &Config, masters: usize) -> Result<Self, Error> {
        Self::of(binary, config, masters, masters).await
    }

    async fn of(binary: &Binary, config: &Config, masters: usize, all: usize) -> Result<Self, Error> {
        let mut config = config.clone();
        let lines = [
            format!("cluster-node-timeout {}", NODE_TIMEOUT.as_millis()),
            // A replica can be promoted after any time without its master, and it never changes its master.
            "cluster-replica-validity-factor 0".to_owned(),
            "cluster-allow-replica-migration no".to_owned(),
            "repl-diskless-sync-delay 0".to_owned(),
            "repl-ping-replica-period 1".to_owned(),
        ];
        // The lines of the test follow these lines, and override them.
        config.lines.splice(0..0, lines);
        if all == 1 {
            // A single node learns its address from no other node.
            config.lines.push("cluster-announce-ip 127.0.0.1".to_owned());
        }
        if config.tls.is_some() {
            config.lines.extend(["tls-cluster yes".to_owned(), "tls-replication yes".to_owned()]);
        }
        if let Some(password) = &config.password {
            config.lines.push(format!("masterauth {password:?}"));
        }
        let (mut nodes, mut ids) = (Vec::new(), Vec::new());
        while nodes.len() < all {
            let node = Server::start_as(Part::Node, binary, &config).await?;
            ids.push(say(&node, &["CLUSTER", "MYID"]).await?);
            nodes.push(node);
        }
        let cluster = Self { nodes, masters, ids };
        cluster.join().await?;
        cluster.until_ready().await?;
        Ok(cluster)
    }

    async fn join(&self) -> Result<(), Error> {
        let masters = self.masters;
        let first = self.node(0)?;
        for (number, node) in self.nodes.iter().enumerate() {
            // Each node gets its own config epoch at the start. Otherwise the nodes resolve epoch collisions one by
            // one.
            let epoch = (number + 1).to_string();
            let () = say(node, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
            if number < masters {
                let bounds = [number * SLOTS / masters, (number + 1) * SLOTS / masters - 1];
                let [from, to] = bounds.map(|slot| slot.to_string());
                let () = say(node, &["CLUSTER", "ADDSLOTSRANGE", &from, &to]).await?;
            }
            if number > 0 {
                let ports = (node.port().to_string(), node.bus_port().unwrap_or_default().to_string());
                let () = say(first, &["CLUSTER", "MEET", "127.0.0.1", &ports.0, &ports.1]).await?;
            }
        }
        let patience = Patience::of(CHANGE_WITHIN);
        while let Err(amiss) = self.have_met().await {
            patience.more(first, &amiss).await?;
        }
        for (master, replica) in self.ids.iter().zip(self.nodes.iter().skip(masters)) {
            let () = say(replica, &["CLUSTER", "REPLICATE", master]).await?;
        }
        Ok(())
    }

    async fn have_met(&self) -> Result<(), String> {
        for node in &self.nodes {
            let lines = view::of(node).await?;
            if lines.len() != self.nodes.len() || lines.iter().any(|line| !line.is_known) {
                return Err(format!("{node} knows {lines:?}"));
            }
        }
        Ok(())
    }

    /// Returns the URL for clients: `redis+cluster://127.0.0.1:PORT,…` with all nodes and their common password. The
    /// scheme starts with `rediss` for TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let ports: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
        let credentials = self.nodes.first().map(Server::credentials).unwrap_or_default();
        let scheme = self.nodes.first().map_or("redis", Server::scheme);
        format!("{scheme}+cluster://{credentials}{}", ports.join(","))
    }

    /// The nodes.
    #[must_use]
    pub fn nodes(&self) -> &[Server] {
        &self.nodes
    }

    /// The nodes, to kill or restart them.
    pub fn nodes_mut(&mut self) -> &mut [Server] {
        &mut self.nodes
    }

    /// Asks a running node for the slot of a key.
    ///
    /// # Errors
    /// Returns an [`Error`] when no node answers.
    pub async fn slot_of(&self, key: &str) -> Result<u16, Error> {
        let mut refused = None;
        for node in self.running() {
            match say(node, &["CLUSTER", "KEYSLOT", key]).await {
                Ok(slot) => return Ok(slot),
                Err(error) => refused = Some(error),
            }
        }
        Err(refused.unwrap_or_else(|| Error::NotInstalled("no node runs".to_owned())))
    }

    /// Returns the node that serves a slot. Among nodes that claim the slot, the node with the highest epoch counts.
    /// Returns `None` if no node claims the slot.
    pub async fn master_of(&self, slot: u16) -> Option<usize> {
        let mut found = None;
        for (number, node) in self.nodes.iter().enumerate() {
            if node.process_id().is_none() {
                continue;
            }
            let Ok(lines) = view::of(node).await else { continue };
            let own = lines.iter().find(|line| line.is_self && line.is_master && line.serves(slot));
            found = found.max(own.map(|line| (line.epoch, number)));
        }
        found.map(|(_, number)| number)
    }

    /// Returns the replicas of a node, as the replicas report it.
    pub async fn replicas_of(&self, master: usize) -> Vec<usize> {
        let mut found = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let lines = view::of(node).await.unwrap_or_default();
            let own = lines.iter().find(|line| line.is_self);
            if own.is_some_and(|line| !line.is_master && self.ids.get(master) == Some(&line.master)) {
                found.push(number);
            }
        }
        found
    }

    /// Promotes a replica that has copied its master. Waits until every running node sees it as a master with slots.
    ///
    /// # Errors
    /// Returns an [`Error`] when the replica does not copy its master, refuses, or is not promoted.
    pub async fn promote(&self, replica: usize, how: Failover) -> Result<(), Error> {
        self.until_copied(replica).await?;
        let node = self.node(replica)?;
        let words: &[&str] = match how {
            Failover::Agreed => &["CLUSTER", "FAILOVER"],
            Failover::Forced => &["CLUSTER", "FAILOVER", "FORCE"],
            Failover::Takeover => &["CLUSTER", "FAILOVER", "TAKEOVER"],
        };
        // The replica refuses while it has not caught up with its master. The nodes abandon a failover that takes too
        // long.
        let patience = Patience::of(CHANGE_WITHIN);
        loop {
            let amiss = match say::<String>(node, words).await {
                Ok(_) => match self.is_master_within(replica, None, GIVEN_UP).await {
                    Ok(()) => return Ok(()),
                    Err(amiss) => amiss,
                },
                Err(refused) => refused.to_string(),
            };
            patience.more(node, &amiss).await?;
        }
    }

    /// Waits until a replica has all data that its master had at one moment of this call.
    ///
    /// `WAIT` cannot be used. It returns at once on a connection that has not written.
    ///
    /// # Errors
    /// Returns an [`Error`] when the replica does not catch up within 30 seconds.
    pub async fn until_copied(&self, replica: usize) -> Result<(), Error> {
        let node = self.node(replica)?;
        let patience = Patience::of(CHANGE_WITHIN);
        while let Err(amiss) = self.has_copied(node).await {
            patience.more(node, &amiss).await?;
        }
        Ok(())
    }

    async fn has_copied(&self, replica: &Server) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        let before: String = say(replica, &["INFO", "replication"]).await.map_err(text)?;
        let port = value_of(&before, "master_port").parse().unwrap_or_default();
        let master = self.nodes.iter().find(|node| node.port() == port);
        let master = master.ok_or_else(|| format!("{replica} says {before}"))?;
        let source: String = say(master, &["INFO", "replication"]).await.map_err(text)?;
        let copy: String = say(replica, &["INFO", "replication"]).await.map_err(text)?;
        let offset = |info: &str| value_of(info, "master_repl_offset").parse::<u64>().unwrap_or_default();
        let is_copy = value_of(&source, "master_replid") == value_of(&copy, "master_replid");
        match value_of(&copy, "master_link_status") == "up" && is_copy && offset(&copy) >= offset(&source) {
            true => Ok(()),
            false => Err(format!("{master} says {source}, {replica} says {copy}")),
        }
    }

    /// Waits until every running node sees this node as a master with slots.
    ///
    /// # Errors
    /// Returns an [`Error`] when this is not so within 30 seconds.
    pub async fn until_master(&self, number: usize) -> Result<(), Error> {
        self.until_seen(number, None).await
    }

    /// Waits until every running node except `silent` sees node `number` as a master with slots.
    ///
    /// # Errors
    /// Returns an [`Error`] when this is not so within 30 seconds.
    pub async fn until_master_but_for(&self, number: usize, silent: usize) -> Result<(), Error> {
        self.until_seen(number, Some(silent)).await
    }

    async fn until_seen(&self, number: usize, silent: Option<usize>) -> Result<(), Error> {
        let amiss = match self.is_master_within(number, silent, CHANGE_WITHIN).await {
            Ok(()) => return Ok(()),
            Err(amiss) => amiss,
        };
        Err(self.node(number)?.not_ready(&format!("and its fellows: after {CHANGE_WITHIN:?} {amiss}")).await)
    }

    async fn is_master_within(
        &self,
        number: usize,
        silent: Option<usize>,
        within: Duration,
    ) -> Result<(), String> {
        let since = Instant::now();
        loop {
            match self.is_master(number, silent).await {
                Err(amiss) if since.elapsed() > within => return Err(amiss),
                Err(_) => sleep(PAUSE).await,
                Ok(()) => return Ok(()),
            }
        }
    }

    async fn is_master(&self, number: usize, silent: Option<usize>) -> Result<(), String> {
        let nodes = self.nodes.iter().enumerate();
        let asked = nodes.filter(|(at, node)| Some(*at) != silent && node.process_id().is_some());
        for (_, node) in asked {
            let lines = view::of(node).await?;
            let line = lines.iter().find(|line| Some(&line.id) == self.ids.get(number));
            if !line.is_some_and(|line| line.is_master && line.is_known && line.has_slots()) {
                return Err(format!("{node} sees {line:?}"));
            }
        }
        Ok(())
    }

    /// Waits until all running nodes agree on three facts: every slot is served, each replica has copied its master,
    /// and each replica has a known master.
    ///
    /// # Errors
    /// Returns an [`Error`] when this is not so within 30 seconds.
    pub async fn until_ready(&self) -> Result<(), Error> {
        let first = self.running().next().map_or_else(|| self.node(0), Ok)?;
        let patience = Patience::of(CHANGE_WITHIN);
        while let Err(amiss) = self.is_ready().await {
            patience.more(first, &amiss).await?;
        }
        Ok(())
    }

    async fn is_ready(&self) -> Result<(), String> {
        let text = |error: Error| error.to_string();
        let mut seen: Option<Vec<Line>> = None;
        for node in self.running() {
            let state: String = say(node, &["CLUSTER", "INFO"]).await.map_err(text)?;
            let slots = SLOTS.to_string();
            if (value_of(&state, "cluster_state"), value_of(&state, "cluster_slots_ok")) != ("ok", &slots) {
                return Err(format!("{node} says {state}"));
            }
            let info: String = say(node, &["INFO", "replication"]).await.map_err(text)?;
            if value_of(&info, "role") == "slave" && value_of(&info, "master_link_status") != "up" {
                return Err(format!("{node} says {info}"));
            }
            let mut lines = view::of(node).await?;
            lines.iter_mut().for_each(|line| line.is_self = false);
            lines.sort_by(|one, other| one.id.cmp(&other.id));
            match &seen {
                None => seen = Some(lines),
                Some(seen) if *seen == lines => {}
                Some(seen) => return Err(format!("{node} sees {lines:?}, another one {seen:?}")),
            }
        }
        let lines = seen.unwrap_or_default();
        match lines.iter().filter(|line| !line.is_master && line.master.is_empty()).count() {
            0 => Ok(()),
            _ => Err(format!("replicas without a master: {lines:?}")),
        }
    }

    /// Begins to move a slot to another master. Both nodes mark the slot, and no key moves yet.
    ///
    /// # Errors
    /// Returns an [`Error`] when no node serves the slot, or when one of the nodes refuses.
    pub async fn begin_move(&self, slot: u16, to: usize) -> Result<SlotMove<'_>, Error> {
        SlotMove::begin(self, slot, to).await
    }

    fn node(&self, number: usize) -> Result<&Server, Error> {
        self.nodes.get(number).ok_or_else(|| Error::NotInstalled(format!("there is no node {number}")))
    }

    fn running(&self) -> impl Iterator<Item = &Server> {
        self.nodes.iter().filter(|node| node.process_id().is_some())
    }
}
