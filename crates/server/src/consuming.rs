//! Consuming over HTTP: clients fetch deliveries, and settle them by their receipts.
//!
//! # Design
//! The server is an ordinary consumer of a group. Its handler waits for the client's answer, so the order of keys, leases, retries,
//! parking and dead letters are the bus's own work. Handlers put their deliveries into a [`Pool`], one for each group that
//! clients fetch from.
//!
//! A receipt names the instance of the server, the delivery and how often it was handed out. One of another instance, of a
//! delivery that was settled or whose deadline has passed, is expired: it changes nothing.
//!
//! A consumer that no client fetches from gives its share of the group back after a while, for other consumers.

mod handler;
mod pool;
mod receipt;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Bus, Consumer, MAX_CONCURRENCY};
use tokio::sync::Mutex;

use self::handler::ClientHandler;
pub(crate) use self::pool::{Handed, Outcome, Pool, SettleEffect};
pub(crate) use self::receipt::{Instance, Receipt};
use crate::problem::{Code, Problem};

/// How long a handler may wait for a client in all: a client's own time limit ends it earlier.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// How long a consumer stays that no client fetches from.
const IDLE: Duration = Duration::from_secs(30);
/// How often idle consumers are looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long handlers have to end once a consumer is stopped: clients had their time before.
const GRACE: Duration = Duration::from_millis(100);

/// The consumers of this process whose handlers are clients.
pub(crate) struct Consuming {
    bus: Bus,
    instance: Instance,
    groups: Mutex<HashMap<String, Group>>,
}

struct Group {
    consumer: Consumer,
    pool: Arc<Pool>,
}

impl Consuming {
    /// No consumers yet.
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus, instance: Instance::draw(), groups: Mutex::default() }
    }

    /// This instance of the server.
    pub(crate) fn instance(&self) -> Instance {
        self.instance
    }

    /// The pool of a group. A consumer is started where there is none.
    pub(crate) async fn pool(&self, name: &str) -> Result<Arc<Pool>, Problem> {
        let mut groups = self.groups.lock().await;
        if let Some(group) = groups.get(name).filter(|group| !group.consumer.has_ended()) {
            group.pool.touch();
            return Ok(Arc::clone(&group.pool));
        }
        let Some(status) = self.bus.store().group(name).await? else {
            return Err(Problem::new(Code::NotFound, format!("there is no group {name:?}"))
                .hint("POST /v1/groups makes one"));
        };
        let spec = status.record.spec;
        let pool = Arc::new(Pool::default());
        let handler = Arc::new(ClientHandler::new(Arc::clone(&pool)));
        let subscription = self
            .bus
            .subscribe(name)
            .on_all_of(spec.types.iter().map(|pattern| pattern.as_str().to_owned()), handler)
            .ordered_by(spec.key)
            .segments(spec.segments)
            .concurrency(MAX_CONCURRENCY)
            .timeout(LONGEST)
            .grace(GRACE);
        let consumer = subscription.start().await.map_err(|error| {
            Problem::new(Code::Conflict, format!("the group cannot be consumed: {error}"))
        })?;
        groups.insert(name.to_owned(), Group { consumer, pool: Arc::clone(&pool) });
        Ok(pool)
    }

    /// The pool of a group that this instance consumes.
    pub(crate) async fn known(&self, name: &str) -> Option<Arc<Pool>> {
        self.groups.lock().await.get(name).map(|group| Arc::clone(&group.pool))
    }

    /// Stops consumers that no client has fetched from for a while, for ever. Cancel-safe.
    pub(crate) async fn stop_idle(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut groups = self.groups.lock().await;
            let is_idle = |group: &Group| {
                group.consumer.has_ended() || (group.pool.is_idle_for(IDLE) && group.pool.handed_out() == 0)
            };
            let idle: Vec<String> =
                groups.iter().filter(|(_, group)| is_idle(group)).map(|(name, _)| name.clone()).collect();
            // The lock is held until they have stopped: a client that comes meanwhile starts a new one afterwards.
            for name in idle {
                if let Some(group) = groups.remove(&name) {
                    stop(group).await;
                }
            }
        }
    }

    /// Waits until clients have settled what they were handed, at most for so long.
    pub(crate) async fn drain(&self, at_most: Duration) {
        const LOOK: Duration = Duration::from_millis(20);
        let begun = Instant::now();
        while begun.elapsed() < at_most {
            let open: usize = self.groups.lock().await.values().map(|group| group.pool.handed_out()).sum();
            if open == 0 {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Stops every consumer. Deliveries that clients hold are delivered again.
    pub(crate) async fn stop(&self) {
        let groups = std::mem::take(&mut *self.groups.lock().await);
        futures_util::future::join_all(groups.into_values().map(stop)).await;
    }
}

async fn stop(group: Group) {
    if let Err(error) = group.consumer.stop().await {
        tracing::debug!(%error, "a consumer had ended before");
    }
}
