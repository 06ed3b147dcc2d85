//! Waits for the head to move. A separate subscription reports appends, and slow polling finds the appends that it
//! misses.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::StorageFailure;
use futures_util::{StreamExt, future::join_all};
use redis::{Client, aio::PubSub};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout},
};

use crate::{
    client::{link::Link, node::CONNECT_WITHIN},
    engine::{partition::Partition, state::State},
};

/// The polling interval with a subscription. Messages that are published while it is being renewed are missed.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// The polling interval without a subscription.
const LOOK_WITHOUT: Duration = Duration::from_millis(50);
/// The pause between two tries to subscribe.
const SUBSCRIBE_AGAIN: Duration = Duration::from_millis(200);
/// The longest wait. It bounds waits with an end that a clock cannot represent.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Reports appends by any process. Its task starts with the first wait, and ends with the store.
pub(crate) struct AppendNotifier {
    link: Link,
    /// The channels, one for each partition.
    channels: Vec<String>,
    rings: watch::Sender<Rings>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rings {
    count: u64,
    subscribed: bool,
}

impl AppendNotifier {
    pub(crate) fn new(link: Link, channels: Vec<String>) -> Self {
        Self { link, channels, rings: watch::Sender::default(), task: Mutex::new(None) }
    }

    fn listen(&self) -> watch::Receiver<Rings> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        // A task ends with its runtime. The next wait starts a new one.
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(ring(self.link.clone(), self.channels.clone(), self.rings.clone())));
        }
        self.rings.subscribe()
    }

    pub(crate) async fn close(&self) {
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for AppendNotifier {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

async fn ring(link: Link, channels: Vec<String>, rings: watch::Sender<Rings>) {
    loop {
        if let Ok((client, address)) = link.server().await
            && let Some(subscription) = subscribed(&client, &channels).await
        {
            rings.send_modify(|rings| *rings = Rings { count: rings.count + 1, subscribed: true });
            let mut messages = subscription.into_on_message();
            // A lost server can stay silent forever. So the loop checks regularly whether it is still the right
            // server.
            while !link.is_elsewhere(&address) {
                match timeout(LOOK_WITHIN, messages.next()).await {
                    Ok(Some(_)) => rings.send_modify(|rings| rings.count += 1),
                    Ok(None) => break,
                    Err(_) => {}
                }
            }
        }
        rings.send_if_modified(|rings| std::mem::replace(&mut rings.subscribed, false));
        tokio::time::sleep(SUBSCRIBE_AGAIN).await;
    }
}

async fn subscribed(client: &Client, channels: &[String]) -> Option<PubSub> {
    let mut subscription = timeout(CONNECT_WITHIN, client.get_async_pubsub()).await.ok()?.ok()?;
    timeout(CONNECT_WITHIN, subscription.subscribe(channels)).await.ok()?.ok()?;
    Some(subscription)
}

/// Waits until the head of some partition is past its given head, at most this long.
///
/// A partition that is unreachable does not fail the wait. Its last known head is used.
///
/// # Errors
/// Returns an error when no partition can be reached, and for any other failure of a partition.
pub(crate) async fn wait(
    bell: &AppendNotifier,
    partitions: &[Partition],
    heads: &[u64],
    timeout: Duration,
) -> Result<(), StorageFailure> {
    if timeout.is_zero() {
        return Ok(());
    }
    let deadline = Instant::now() + timeout.min(LONGEST);
    let mut rings = bell.listen();
    loop {
        let subscribed = rings.borrow_and_update().subscribed;
        let is_past = is_past(partitions, heads).await?;
        let now = Instant::now();
        if is_past || now >= deadline {
            return Ok(());
        }
        let pause = if subscribed { LOOK_WITHIN } else { LOOK_WITHOUT };
        tokio::select! {
            _ = rings.changed() => {}
            () = tokio::time::sleep_until(deadline.min(now + pause)) => {}
        }
    }
}

async fn is_past(partitions: &[Partition], heads: &[u64]) -> Result<bool, StorageFailure> {
    let states = join_all(partitions.iter().map(Partition::state)).await;
    let is_away =
        |state: &Result<State, StorageFailure>| matches!(state, Err(StorageFailure::Unavailable(_)));
    let is_alone = states.iter().all(is_away);
    let mut is_past = false;
    for ((state, partition), head) in states.into_iter().zip(partitions).zip(heads) {
        let found = match state {
            Err(StorageFailure::Unavailable(_)) if !is_alone => partition.known().head,
            state => state?.head,
        };
        is_past |= found > *head;
    }
    Ok(is_past)
}
