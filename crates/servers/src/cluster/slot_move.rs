//! A slot on its way from one master to another, step by step, so that a test can hold it half-way.

use crate::{Cluster, Error, Server, command::say};

/// Keys of one step where nothing else is said.
const PAGE: usize = 16;

/// How long a key may take, in milliseconds.
const KEY_WITHIN: &str = "5000";

/// A slot that is being moved. Dropping it leaves it as it is.
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
        // The one that takes it first: it must not be named before it knows.
        this.set(to, &["IMPORTING", this.id(from)]).await?;
        this.set(from, &["MIGRATING", this.id(to)]).await?;
        Ok(this)
    }

    /// The node that had the slot when the move began.
    #[must_use]
    pub fn from(&self) -> usize {
        self.from
    }

    /// The node that is to have it.
    #[must_use]
    pub fn to(&self) -> usize {
        self.to
    }

    /// How many keys have not gone yet.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn left(&self) -> Result<usize, Error> {
        say(self.source()?, &["CLUSTER", "COUNTKEYSINSLOT", &self.slot]).await
    }

    /// The keys that have not gone yet.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn keys(&self) -> Result<Vec<String>, Error> {
        say(self.source()?, &["CLUSTER", "GETKEYSINSLOT", &self.slot, "100000"]).await
    }

    /// Carries so many keys over, or as many as there are, and answers how many went.
    ///
    /// # Errors
    /// One of the nodes refuses.
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

    /// Carries one key over.
    ///
    /// # Errors
    /// One of the nodes refuses.
    pub async fn carry_key(&self, key: &str) -> Result<(), Error> {
        self.migrate(&[key.to_owned()]).await
    }

    /// Carries over what is left, and gives the slot to the other node, for all to know.
    ///
    /// # Errors
    /// One of the nodes refuses.
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

    /// Gives the move up: keys that went stay where they are, and clients do not find them there.
    ///
    /// # Errors
    /// One of the nodes refuses.
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
        // `NOKEY` where it went by itself meanwhile, which is as good.
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
