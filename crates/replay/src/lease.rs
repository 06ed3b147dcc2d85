//! A runner's lease on its replay. It is renewed while the runner lives.

use std::{sync::Arc, time::Duration};

use domain::ports::{ReplayLease, ReplayStore, ReplayStoreError};
use tokio::{sync::watch, task::JoinSet};

use crate::backoff::repeated;

/// The lease time. Another runner takes over at most this long after a runner was killed.
pub(crate) const LEASE: Duration = Duration::from_secs(10);
const RENEW_EVERY: Duration = Duration::from_secs(3);
const RENEW_AGAIN: Duration = Duration::from_secs(1);

/// Renews a lease until it is dropped.
pub(crate) struct LeaseRenewer {
    replays: Arc<dyn ReplayStore>,
    lease: ReplayLease,
    lost: watch::Receiver<bool>,
    /// Stops the renewal when the renewer is dropped.
    renewing: JoinSet<()>,
}

impl LeaseRenewer {
    /// Takes the lease, if no other runner holds it and the replay is not finished.
    pub(crate) async fn take(
        replays: &Arc<dyn ReplayStore>,
        id: &str,
        token: u64,
    ) -> Result<Option<Self>, ReplayStoreError> {
        let Some(lease) = repeated(|| replays.lease_replay(id, token, LEASE)).await? else { return Ok(None) };
        let (sender, lost) = watch::channel(false);
        let mut renewing = JoinSet::new();
        renewing.spawn(renew(Arc::clone(replays), lease.clone(), sender));
        Ok(Some(Self { replays: Arc::clone(replays), lease, lost, renewing }))
    }

    pub(crate) fn lease(&self) -> &ReplayLease {
        &self.lease
    }

    /// Returns whether another runner may have had the replay since. The store refuses every write under a lost lease.
    /// This check only stops the runner sooner.
    pub(crate) fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Ends the lease early, so that another runner need not wait for its expiry.
    pub(crate) async fn give_back(mut self) {
        self.renewing.shutdown().await;
        let (id, token) = (&self.lease.replay_id, self.lease.token);
        if let Err(error) = self.replays.lease_replay(id, token, Duration::from_millis(1)).await {
            tracing::debug!(%error, replay = %id, "the lease ends by itself");
        }
    }
}

async fn renew(replays: Arc<dyn ReplayStore>, lease: ReplayLease, lost: watch::Sender<bool>) {
    let mut pause = RENEW_EVERY;
    loop {
        tokio::time::sleep(pause).await;
        match replays.lease_replay(&lease.replay_id, lease.token, LEASE).await {
            Ok(Some(same)) if same == lease => pause = RENEW_EVERY,
            // A newer epoch under the same token means that the old lease expired. Another runner may have had the
            // replay meanwhile.
            Ok(_) => {
                lost.send_replace(true);
                return;
            }
            Err(error) => {
                tracing::warn!(%error, replay = %lease.replay_id, "a lease was not renewed; trying again");
                pause = RENEW_AGAIN;
            }
        }
    }
}
