//! The move of a slot between two masters, step by step, so that a test can stop it half-way.

use crate::{Cluster, Error, Server, command::say};

/// Maximum number of keys in one step.
const PAGE: usize = 16;

/// Time limit of `MIGRATE` for one step, in milliseconds.
const KEY_WITHIN: &str = "5000";

/// A slot during its move. Dropping the value leaves the slot in its current state.
#[derive(Debug)]
pub struct SlotMove<'a> {
    cluster: &'a Cluster,
    slot: String,
    from: usize,
    to: usize,
}

impl<'a> SlotMove<'a> {
    pub(super) async fn begin(cluster: &'a Cluster, slot: u16, to: usize) -> Result<Self, Error> {
        let from = cluster.master_of(slot).await;
        let from = from.ok_or_else(|| Error::NotInstalled(format!("no node serves slot {slot}")))?;
        let this = Self { cluster, slot: slot.to_string(), from, to };
        // The target is marked first, because clients may be redirected to it as soon as the source is marked.
        this.set(to, &["IMPORTING", this.id(from)]).await?;
        this.set(from, &["MIGRATING", this.id(to)]).await?;
        Ok(this)
    }

    /// The node that served the slot at the start of the move.
    #[must_use]
    pub fn from(&self) -> usize {
        self.from
    }

    /// The target node.
    #[must_use]
    pub fn to(&self) -> usize {
        self.to
    }

    /// Returns the number of keys that are still on the source node.
    ///
    /// # Errors
    /// Returns an [`Error`] when the source node does not answer.
    pub async fn left(&self) -> Result<usize, Error> {
        say(self.source()?, &["CLUSTER", "COUNTKEYSINSLOT", &self.slot]).await
    }

    /// Returns the keys that are still on the source node.
    ///
    /// # Errors
    /// Returns an [`Error`] when the source node does not answer.
    pub async fn keys(&self) -> Result<Vec<String>, Error> {
        say(self.source()?, &["CLUSTER", "GETKEYSINSLOT", &self.slot, "100000"]).await
    }

    /// Moves at most `most` keys, and returns the number of moved keys.
    ///
    /// # Errors
    /// Returns an [`Error`] when one of the nodes refuses.
    pub async fn carry(&self, most: usize) -> Result<usize, Error> {
        let mut carried = 0;
        while carried < most {
            let page = (most - carried).min(PAGE).to_string();
            let words = ["CLUSTER", "GETKEYSINSLOT", &self.slot, &page];
            let keys: Vec<String> = say(self.source()?, &words).await?;
            if keys.is_empty() {
                break;
            }
            self.migrate(&keys).await?;
            carried += keys.len();
        }
        Ok(carried)
    }

    /// Moves one key.
    ///
    /// # Errors
    /// Returns an [`Error`] when one of the nodes refuses.
    pub async fn carry_key(&self, key: &str) -> Result<(), Error> {
        self.migrate(&[key.to_owned()]).await
    }

    /// Moves the remaining keys, and assigns the slot to the target node on all masters.
    ///
    /// # Errors
    /// Returns an [`Error`] when one of the nodes refuses.
    pub async fn finish(self) -> Result<(), Error> {
        while self.carry(usize::MAX).await? > 0 {}
        let others = (0..self.cluster.nodes.len()).filter(|node| ![self.from, self.to].contains(node));
        for number in [self.to, self.from].into_iter().chain(others) {
            let node = self.cluster.node(number)?;
            let is_master = super::view::of(node)
                .await
                .is_ok_and(|lines| lines.iter().any(|line| line.is_self && line.is_master));
            if is_master {
                self.set(number, &["NODE", self.id(self.to)]).await?;
            }
        }
        Ok(())
    }

    /// Abandons the move. Keys that have moved stay on the target node, where clients do not find them.
    ///
    /// # Errors
    /// Returns an [`Error`] when one of the nodes refuses.
    pub async fn abandon(self) -> Result<(), Error> {
        self.set(self.from, &["STABLE"]).await?;
        self.set(self.to, &["STABLE"]).await
    }

    async fn migrate(&self, keys: &[String]) -> Result<(), Error> {
        let target = self.cluster.node(self.to)?;
        let port = target.port().to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", KEY_WITHIN];
        if let Some(password) = target.password() {
            words.extend(["AUTH", password]);
        }
        words.push("KEYS");
        words.extend(keys.iter().map(String::as_str));
        // The response is `NOKEY` if the keys no longer exist, which also counts as success.
        say::<String>(self.source()?, &words).await.map(drop)
    }

    async fn set(&self, node: usize, what: &[&str]) -> Result<(), Error> {
        let mut words = vec!["CLUSTER", "SETSLOT", &self.slot];
        words.extend(what);
        say::<String>(self.cluster.node(node)?, &words).await.map(drop)
    }

    fn source(&self) -> Result<&Server, Error> {
        self.cluster.node(self.from)
    }

    fn id(&self, node: usize) -> &str {
        self.cluster.ids.get(node).map(String::as_str).unwrap_or_default()
    }
}
