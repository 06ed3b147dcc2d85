//! The master that sentinels name. Sentinels are asked when no connection to it exists, and when one announces another
//! master.

use std::sync::{
    Arc, Mutex, PoisonError, RwLock, Weak,
    atomic::{AtomicU64, Ordering},
};

use domain::StorageFailure;
use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{AsyncConnectionConfig, Client, RedisResult, Value};
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::client::{
    connect::Dialler,
    failure::{self, Intent},
    node::{CONNECT_WITHIN, Node, Traffic},
    single_flight::SingleFlight,
};

/// The channel on which sentinels announce a change of a master.
const SWITCHED: &str = "+switch-master";

/// A host and a port.
type Address = (String, u16);

/// The sentinels of a master, and that master.
pub(crate) struct Sentinels {
    sentinels: Vec<Client>,
    master: String,
    servers: Dialler,
    current: RwLock<Option<Arc<Node>>>,
    /// The number of announcements that the master has changed.
    switches: AtomicU64,
    turn: SingleFlight,
    watches: Mutex<Vec<JoinHandle<()>>>,
}

impl Sentinels {
    /// Returns the sentinels of this master. Sends nothing yet.
    pub(crate) fn new(sentinels: Vec<Client>, master: String, servers: Dialler) -> Arc<Self> {
        Arc::new(Self {
            sentinels,
            master,
            servers,
            current: RwLock::default(),
            switches: AtomicU64::default(),
            turn: SingleFlight::default(),
            watches: Mutex::default(),
        })
    }

    /// Returns the known master, or asks the sentinels for it.
    pub(crate) async fn node(self: &Arc<Self>, deadline: Instant) -> Result<Arc<Node>, StorageFailure> {
        match self.known() {
            Some(node) => Ok(node),
            None => self.turn.look(deadline, || self.known(), self.find()).await,
        }
    }

    /// Returns the known master, without a request.
    pub(crate) fn known(&self) -> Option<Arc<Node>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records that this server is not, or no longer, the master.
    pub(crate) fn doubt(&self, node: &Arc<Node>) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, node)) {
            *current = None;
        }
    }

    /// Asks all sentinels at once, and takes the server that most of them name, if that server calls itself a master.
    /// If the sentinels disagree, any server that they name may be taken. A single sentinel may be out of date, and
    /// the old master may still call itself a master.
    async fn find(self: &Arc<Self>) -> Result<Arc<Node>, StorageFailure> {
        self.watch();
        let most = self.sentinels.len() / 2 + 1;
        let mut answers: FuturesUnordered<_> =
            self.sentinels.iter().map(|sentinel| named(sentinel, &self.master)).collect();
        let (mut votes, mut strangers, mut last): (Vec<(Address, usize)>, _, _) = (Vec::new(), 0, None);
        while let Some(answer) = answers.next().await {
            let address = match answer {
                Ok(Some(address)) => address,
                Ok(None) => {
                    strangers += 1;
                    continue;
                }
                Err(failure) => {
                    last = Some(failure::graver(last.take(), failure));
                    continue;
                }
            };
            let known = votes.iter().position(|(other, _)| *other == address);
            let at = known.unwrap_or_else(|| {
                votes.push((address, 0));
                votes.len() - 1
            });
            let Some((address, count)) = votes.get_mut(at) else { continue };
            *count += 1;
            if *count == most {
                match self.take(address).await {
                    Ok(node) => return Ok(node),
                    Err(failure) => last = Some(failure::graver(last.take(), failure)),
                }
            }
        }
        votes.retain(|(_, count)| *count < most);
        for (address, _) in &votes {
            match self.take(address).await {
                Ok(node) => return Ok(node),
                Err(failure) => last = Some(failure::graver(last.take(), failure)),
            }
        }
        if strangers == self.sentinels.len() {
            return Err(StorageFailure::Foreign(format!(
                "the sentinels know no master by the name {:?}: `SENTINEL MASTERS` lists those they know",
                self.master
            )));
        }
        Err(last.unwrap_or_else(|| StorageFailure::Unavailable("no sentinel knows the master".to_owned())))
    }

    async fn take(&self, (host, port): &Address) -> Result<Arc<Node>, StorageFailure> {
        let switches = self.switches.load(Ordering::SeqCst);
        let node = self.check(host, *port).await?;
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if self.switches.load(Ordering::SeqCst) != switches {
            return Err(StorageFailure::Unavailable("the master has just become another one".to_owned()));
        }
        *current = Some(node.clone());
        Ok(node)
    }

    /// Connects to a server and asks whether it is a master.
    async fn check(&self, host: &str, port: u16) -> Result<Arc<Node>, StorageFailure> {
        let client = self.servers.client(self.servers.address(host, port))?;
        let node = Node::new(client, None);
        let connected = node.connected(Traffic::Short).await;
        let mut connection = connected.map_err(|failure| node.named(failure))?.to;
        let mut info = redis::cmd("INFO");
        info.arg("replication");
        let answer = match timeout(CONNECT_WITHIN, info.query_async::<String>(&mut connection)).await {
            Ok(answer) => answer,
            Err(_) => return Err(StorageFailure::Unavailable(format!("{} says nothing", node.address()))),
        };
        match answer {
            Ok(info) if info.contains("role:slave") => {
                Err(StorageFailure::Unavailable(format!("{} is a replica", node.address())))
            }
            Ok(_) => Ok(Arc::new(node)),
            Err(error) => match failure::redis(&error, Intent::Read) {
                // This user may not run `INFO`, so the first write shows whether it is a master.
                StorageFailure::Denied(_) => Ok(Arc::new(node)),
                failure => Err(failure),
            },
        }
    }

    /// Subscribes to the announcements of all sentinels. The tasks end with their runtime, and the next caller starts
    /// new ones.
    fn watch(self: &Arc<Self>) {
        let mut watches = self.watches.lock().unwrap_or_else(PoisonError::into_inner);
        if watches.is_empty() || watches.iter().any(JoinHandle::is_finished) {
            watches.drain(..).for_each(|watch| watch.abort());
            let watch = |sentinel: &Client| tokio::spawn(listen(Arc::downgrade(self), sentinel.clone()));
            watches.extend(self.sentinels.iter().map(watch));
        }
    }

    /// Handles the announcement of a new master. The old master does not know of it yet, and would accept writes that
    /// are lost.
    fn switched(&self, said: &str) {
        let mut words = said.split(' ');
        let (Some(name), Some(host), Some(port)) = (words.next(), words.nth(2), words.next()) else { return };
        if name != self.master {
            return;
        }
        self.switches.fetch_add(1, Ordering::SeqCst);
        let address = port.parse().map(|port| self.servers.address(host, port).to_string());
        if let (Ok(address), Some(node)) = (address, self.known())
            && node.address() != address
        {
            tracing::info!(old = node.address(), new = address, "the master is another server");
            self.doubt(&node);
        }
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        let watches = self.watches.get_mut().unwrap_or_else(PoisonError::into_inner);
        watches.drain(..).for_each(|watch| watch.abort());
    }
}

/// Asks one sentinel for the master. None if the sentinel does not know that name.
async fn named(sentinel: &Client, master: &str) -> Result<Option<Address>, StorageFailure> {
    let ask = async {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_WITHIN))
            .set_response_timeout(Some(CONNECT_WITHIN));
        let mut connection = sentinel.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(master);
        let answer: Value = command.query_async(&mut connection).await?;
        RedisResult::Ok(redis::from_redis_value(answer)?)
    };
    ask.await.map_err(|error| {
        let address = sentinel.get_connection_info().addr();
        match failure::redis(&error, Intent::Read) {
            StorageFailure::Denied(text) => StorageFailure::Denied(format!("the sentinel {address}: {text}")),
            failure => StorageFailure::Unavailable(format!("the sentinel {address}: {failure}")),
        }
    })
}

/// Listens to a sentinel until the store is dropped.
async fn listen(sentinels: Weak<Sentinels>, sentinel: Client) {
    loop {
        if let Ok(Ok(mut subscription)) = timeout(CONNECT_WITHIN, sentinel.get_async_pubsub()).await
            && let Ok(Ok(())) = timeout(CONNECT_WITHIN, subscription.subscribe(SWITCHED)).await
        {
            let mut messages = subscription.into_on_message();
            while let Some(message) = messages.next().await {
                let Some(sentinels) = sentinels.upgrade() else { return };
                sentinels.switched(&String::from_utf8_lossy(message.get_payload_bytes()));
            }
        }
        sleep(CONNECT_WITHIN).await;
    }
}
