//! Waiting for the head to move: a subscription of its own tells of appends, and a slow look makes up for what it misses.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::{Cursor, ports::EventStoreError};
use futures_util::StreamExt;
use redis::Client;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::store::RedisStore;

/// The longest that a wait goes on without looking itself: what is published while a subscription is made anew is missed.
const LOOK_WITHIN: Duration = Duration::from_secs(1);
/// As long as there is no subscription.
const LOOK_WITHOUT: Duration = Duration::from_millis(50);
/// Between two tries to subscribe.
const SUBSCRIBE_AGAIN: Duration = Duration::from_millis(200);
/// A wait that no clock can end is as good as one of years.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// Tells of appends by anybody. Its task begins with the first who waits, and ends with the store.
pub(crate) struct Bell {
    client: Client,
    channel: String,
    rings: watch::Sender<Rings>,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Rings {
    count: u64,
    subscribed: bool,
}

impl Bell {
    pub(crate) fn new(client: Client, channel: String) -> Self {
        Self { client, channel, rings: watch::Sender::default(), task: Mutex::new(None) }
    }

    fn listen(&self) -> watch::Receiver<Rings> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        // A task ends with its runtime; the next who waits begins another.
        if task.as_ref().is_none_or(JoinHandle::is_finished) {
            *task = Some(tokio::spawn(ring(self.client.clone(), self.channel.clone(), self.rings.clone())));
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

impl Drop for Bell {
    fn drop(&mut self) {
        if let Some(task) = self.task.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

async fn ring(client: Client, channel: String, rings: watch::Sender<Rings>) {
    loop {
        if let Ok(mut subscription) = client.get_async_pubsub().await
            && subscription.subscribe(&channel).await.is_ok()
        {
            rings.send_modify(|rings| *rings = Rings { count: rings.count + 1, subscribed: true });
            let mut messages = subscription.into_on_message();
            while messages.next().await.is_some() {
                rings.send_modify(|rings| rings.count += 1);
            }
        }
        rings.send_if_modified(|rings| std::mem::replace(&mut rings.subscribed, false));
        tokio::time::sleep(SUBSCRIBE_AGAIN).await;
    }
}

impl RedisStore {
    pub(crate) async fn wait_for_change(
        &self,
        after: &Cursor,
        timeout: Duration,
    ) -> Result<Cursor, EventStoreError> {
        if timeout.is_zero() {
            // Nobody waits: nothing need tell of news.
            let state = self.state().await?;
            return state.mark_of(after).map(|_| state.cursor(state.head));
        }
        let deadline = Instant::now() + timeout.min(LONGEST);
        let mut rings = self.bell().listen();
        loop {
            let subscribed = rings.borrow_and_update().subscribed;
            let state = self.state().await?;
            let reached = state.mark_of(after)?;
            let now = Instant::now();
            if state.head > reached || now >= deadline {
                return Ok(state.cursor(state.head));
            }
            let pause = if subscribed { LOOK_WITHIN } else { LOOK_WITHOUT };
            tokio::select! {
                _ = rings.changed() => {}
                () = tokio::time::sleep_until(deadline.min(now + pause)) => {}
            }
        }
    }
}
