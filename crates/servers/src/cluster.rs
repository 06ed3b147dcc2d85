//! A cluster of three masters with a replica each.

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

/// Masters in the beginning, and as many replicas.
const MASTERS: usize = 3;

/// When a node takes a silent one for down: far below what one would set, for tests wait for it.
const NODE_TIMEOUT: Duration = Duration::from_millis(1000);

/// How long a test may wait for nodes to agree. A node that comes back is not written to for two seconds.
const CHANGE_WITHIN: Duration = Duration::from_secs(30);

/// When nodes give up a promotion that the master helps with.
const GIVEN_UP: Duration = Duration::from_secs(6);

/// How a replica is promoted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// With the master's help: nothing is lost.
    Agreed,
    /// Without asking the master, by a vote of the others.
    Forced,
    /// Without asking anybody.
    Takeover,
}

/// As a rule six nodes: the first three were masters in the beginning, and node 3 + N the replica of node N. Dropping it ends them
/// all.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Server>,
    masters: usize,
    /// By which nodes know each other.
    ids: Vec<String>,
}

impl Cluster {
    /// Starts the nodes, spreads the slots, and waits until all agree and the replicas have what their masters have.
    ///
    /// The nodes are as `config` says, and the user `default` must keep all rights. Where they speak TLS with clients, they
    /// do among each other, too.
    ///
    /// # Errors
    /// One of them does not start, or they do not find together.
    pub async fn start(binary: &Binary, config: &Config) -> Result<Self, Error> {
        Self::of(binary, config, MASTERS, 2 * MASTERS).await
    }

    /// Starts so many masters and no replicas.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn of_masters(binary: &Binary, config: &Config, masters: usize) -> Result<Self, Error> {
        Self::of(binary, config, masters, masters).await
    }

    async fn of(binary: &Binary, config: &Config, masters: usize, all: usize) -> Result<Self, Error> {
        let mut config = config.clone();
        let lines = [
            format!("cluster-node-timeout {}", NODE_TIMEOUT.as_millis()),
            // However long it was away, a replica may be promoted; and it stays with its master.
            "cluster-replica-validity-factor 0".to_owned(),
            "cluster-allow-replica-migration no".to_owned(),
            "repl-diskless-sync-delay 0".to_owned(),
            "repl-ping-replica-period 1".to_owned(),
        ];
        // A test's own lines come later, and win.
        config.lines.splice(0..0, lines);
        if all == 1 {
            // The others would have told it.
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
            // Epochs of their own from the beginning: else nodes settle who has which, one by one.
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

    /// Where clients connect: `redis+cluster://127.0.0.1:PORT,…`, with every node and the password of all; with `rediss` for
    /// TLS.
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

    /// The same, to be killed or started again.
    pub fn nodes_mut(&mut self) -> &mut [Server] {
        &mut self.nodes
    }

    /// The slot of a key, by what a node says.
    ///
    /// # Errors
    /// No node answers.
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

    /// The node that serves a slot: of those that say so of themselves the one with the highest epoch. `None` where none does.
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

    /// The replicas of a node, by what they say themselves.
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

    /// Promotes a replica that has copied its master, and waits until every node that runs sees it as a master with slots.
    ///
    /// # Errors
    /// It does not copy, refuses, or is not promoted.
    pub async fn promote(&self, replica: usize, how: Failover) -> Result<(), Error> {
        self.until_copied(replica).await?;
        let node = self.node(replica)?;
        let words: &[&str] = match how {
            Failover::Agreed => &["CLUSTER", "FAILOVER"],
            Failover::Forced => &["CLUSTER", "FAILOVER", "FORCE"],
            Failover::Takeover => &["CLUSTER", "FAILOVER", "TAKEOVER"],
        };
        // Refused as long as it has not caught up with its master, and given up where that takes too long.
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

    /// Waits until a replica has all that its master had at one moment of this call.
    ///
    /// `WAIT` does not tell: it answers at once on a connection that has written nothing itself.
    ///
    /// # Errors
    /// It is not so within half a minute.
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

    /// Waits until every node that runs sees this one as a master with slots.
    ///
    /// # Errors
    /// It is not so within half a minute.
    pub async fn until_master(&self, number: usize) -> Result<(), Error> {
        self.until_seen(number, None).await
    }

    /// Waits until every node that runs, but for one that is silent, sees another one as a master with slots.
    ///
    /// # Errors
    /// It is not so within half a minute.
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

    /// Waits until all nodes that run agree that every slot is served, each replica has what its master has, and all know
    /// whose replica each of them is.
    ///
    /// # Errors
    /// It is not so within half a minute.
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

    /// Begins to move a slot to another master: both nodes are told, and no key goes yet.
    ///
    /// # Errors
    /// No node serves the slot, or one of them refuses.
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
