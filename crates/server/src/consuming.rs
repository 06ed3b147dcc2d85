//! Consuming over HTTP: clients fetch deliveries, and settle each delivery by its receipt.
//!
//! # Design
//! The server is an ordinary consumer of a group, and its handler waits for the answer of the client. Handlers put their
//! deliveries into a [`DeliveryPool`]. Each group from which clients fetch has one pool.
//!
//! A receipt names the server instance, the delivery, and the number of times that the delivery was handed out. A
//! receipt is expired if another instance issued it, the delivery was settled, or the deadline has passed. An expired
//! receipt changes nothing.
//!
//! A consumer without a fetching client stops after a time. Other consumers then take its share of the group.

mod receipt;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bus::{Bus, Consumer, DeliveryPool, MAX_CONCURRENCY};
use tokio::sync::Mutex;

pub(crate) use self::receipt::{Instance, Receipt};
use crate::problem::{Code, Problem};

/// Time after which a consumer without a fetching client stops.
const IDLE: Duration = Duration::from_secs(30);
/// Interval between two checks for idle consumers.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The consumers of this process whose handlers are HTTP clients.
pub(crate) struct Consuming {
    bus: Bus,
    instance: Instance,
    groups: Mutex<HashMap<String, Group>>,
}

struct Group {
    consumer: Consumer,
    pool: Arc<DeliveryPool>,
}

impl Consuming {
    /// Creates a set without consumers.
    pub(crate) fn new(bus: Bus) -> Self {
        Self { bus, instance: Instance::draw(), groups: Mutex::default() }
    }

    /// The instance id of this server.
    pub(crate) fn instance(&self) -> Instance {
        self.instance
    }

    /// Returns the pool of a group. Starts a consumer if the group has none in this process.
    pub(crate) async fn pool(&self, name: &str) -> Result<Arc<DeliveryPool>, Problem> {
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
        let pool = Arc::new(DeliveryPool::default());
        let subscription = self
            .bus
            .subscribe(name)
            .on_pool(spec.types.iter().map(|pattern| pattern.as_str().to_owned()), &pool)
            .ordered_by(spec.key)
            .segments(spec.segments)
            .concurrency(MAX_CONCURRENCY);
        let consumer = subscription.start().await.map_err(|error| {
            Problem::new(Code::Conflict, format!("the group cannot be consumed: {error}"))
        })?;
        groups.insert(name.to_owned(), Group { consumer, pool: Arc::clone(&pool) });
        Ok(pool)
    }

    /// Returns the pool of a group, if this process consumes the group.
    pub(crate) async fn known(&self, name: &str) -> Option<Arc<DeliveryPool>> {
        self.groups.lock().await.get(name).map(|group| Arc::clone(&group.pool))
    }

    /// Stops idle consumers, in an endless loop. Cancel-safe.
    pub(crate) async fn stop_idle(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let mut groups = self.groups.lock().await;
            let is_idle = |group: &Group| {
                group.consumer.has_ended() || (group.pool.is_idle_for(IDLE) && group.pool.handed_out() == 0)
            };
            let idle: Vec<String> =
                groups.iter().filter(|(_, group)| is_idle(group)).map(|(name, _)| name.clone()).collect();
            // The lock is held until the consumers have stopped. A client that fetches in the meantime then starts a
            // new consumer.
            for name in idle {
                if let Some(group) = groups.remove(&name) {
                    stop(group).await;
                }
            }
        }
    }

    /// Waits until clients have settled all deliveries that they hold, for at most `at_most`.
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

    /// Stops all consumers. Deliveries that clients hold are delivered again.
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
