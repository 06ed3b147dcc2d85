//! Hosts waiting replays: replays without a runner, for example because their runner was killed.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use domain::ports::{ReplayRecord, ReplayState};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::Instant,
};

use crate::{
    backoff::repeated, cancel::Cancel, job::JobRunner, manager::ReplayManager, record::ReplaySummary,
};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The pause before a replay is tried again after its runner failed.
const AGAIN_AFTER: Duration = Duration::from_secs(30);
/// The most replays that one process runs at once.
const MOST_AT_ONCE: usize = 16;
/// The most time that the runners get to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Runs waiting replays until it is stopped. Any long-running process may have a host, and several hosts may share a
/// store.
#[derive(Debug)]
pub struct JobHost {
    stop: Cancel,
    task: Option<JoinHandle<()>>,
}

impl JobHost {
    /// Starts a host in a separate task.
    pub fn spawn(manager: ReplayManager) -> Self {
        Self::of(Host::new(manager, Cancel::default(), None))
    }

    /// Starts a host in a separate task. The host runs only replays into one of these groups.
    pub fn for_groups(manager: ReplayManager, groups: impl IntoIterator<Item = String>) -> Self {
        Self::of(Host::new(manager, Cancel::default(), Some(groups.into_iter().collect())))
    }

    fn of(host: Host) -> Self {
        let stop = host.stop.clone();
        Self { stop, task: Some(tokio::spawn(host.run())) }
    }

    /// Stops the host. Its replays are left to other runners at once.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(task) = self.task.take() {
            // The task was asked to stop, so it stops. If the task panics, its runners are dropped with it.
            let _ = task.await;
        }
    }
}

impl Drop for JobHost {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

/// Looks for waiting replays every second, and runs them. Stops with all its runners when `stop` is cancelled.
pub async fn resume_waiting(manager: ReplayManager, stop: Cancel) {
    Host::new(manager, stop, None).run().await;
}

struct Host {
    manager: ReplayManager,
    runner: JobRunner,
    stop: Cancel,
    /// The groups whose replays the host runs. None means all groups.
    groups: Option<BTreeSet<String>>,
    runners: JoinSet<(String, bool)>,
    running: BTreeSet<String>,
    /// Replays with a failed runner, each with the time of the next attempt.
    not_before: HashMap<String, Instant>,
    /// Whether the last request to the store failed. Such a failure is logged once.
    is_down: bool,
}

impl Host {
    fn new(manager: ReplayManager, stop: Cancel, groups: Option<BTreeSet<String>>) -> Self {
        Self {
            runner: JobRunner::new(manager.clone()),
            manager,
            stop,
            groups,
            runners: JoinSet::new(),
            running: BTreeSet::new(),
            not_before: HashMap::new(),
            is_down: false,
        }
    }

    async fn run(mut self) {
        while !self.stop.is_cancelled() {
            self.take_up().await;
            self.wait().await;
        }
        // Runners that do not stop in time are dropped with the set.
        let _ =
            tokio::time::timeout(GRACE, async { while self.runners.join_next().await.is_some() {} }).await;
    }

    /// Returns whether the host runs this replay. A host for certain groups does not run a replay with an unreadable
    /// record.
    fn is_hosted(&self, record: &ReplayRecord) -> bool {
        let Some(groups) = &self.groups else { return true };
        ReplaySummary::of(record).is_ok_and(|replay| replay.groups.iter().any(|name| groups.contains(name)))
    }

    async fn take_up(&mut self) {
        let waiting = match repeated(|| self.manager.replays().waiting_replays()).await {
            Ok(waiting) => waiting,
            Err(error) => {
                if !self.is_down {
                    tracing::warn!(%error, "replays that wait cannot be looked up");
                }
                self.is_down = true;
                return;
            }
        };
        self.is_down = false;
        let now = Instant::now();
        self.not_before.retain(|_, at| *at > now);
        for record in waiting {
            // A paused replay waits for a command to resume.
            let may_run = record.state != ReplayState::Paused
                && !self.not_before.contains_key(&record.id)
                && self.is_hosted(&record);
            if may_run && self.runners.len() < MOST_AT_ONCE && self.running.insert(record.id.clone()) {
                let (runner, stop) = (self.runner.clone(), self.stop.clone());
                self.runners.spawn(async move {
                    let run = runner.run_for_host(&record.id, &stop).await;
                    if let Err(error) = &run {
                        tracing::warn!(%error, replay = %record.id, "a replay was left for later");
                    }
                    (record.id, run.is_ok())
                });
            }
        }
    }

    /// Waits until the next look for replays.
    async fn wait(&mut self) {
        let until = Instant::now() + LOOK_EVERY;
        loop {
            let ended = tokio::select! {
                ended = self.runners.join_next(), if !self.runners.is_empty() => ended,
                () = tokio::time::sleep_until(until) => return,
                () = self.stop.cancelled() => return,
            };
            match ended {
                Some(Ok((id, went_well))) => {
                    self.running.remove(&id);
                    if !went_well {
                        self.not_before.insert(id, Instant::now() + AGAIN_AFTER);
                    }
                }
                Some(Err(error)) => tracing::error!(%error, "a replay's runner broke down"),
                None => {}
            }
        }
    }
}
