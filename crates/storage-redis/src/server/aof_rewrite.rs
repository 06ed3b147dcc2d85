//! After a server has come back: its append-only file may end in the midst of a batch.
//!
//! A server that loads such a file leaves the batch out. But Redis, up to 8.2 at least, leaves the beginning of the batch in
//! the file, and writes on behind it: when the file is loaded once more, that beginning is done together with what comes
//! next, and half a batch is in the store. (Valkey 9.1 takes it out.) It cannot be told from outside whether it is so. So a
//! server that came back and has not rewritten its file since is asked to.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use domain::StorageFailure;
use redis::cmd;
use tokio::task::JoinSet;

use crate::client::{failure, link::Link, reply::text};

/// How long a store that is closed waits until servers have been asked.
const ASKED_WITHIN: Duration = Duration::from_secs(2);

/// Tidies up after servers in the background; ends with the store.
#[derive(Debug, Default)]
pub(crate) struct AofRewrite {
    tasks: Mutex<JoinSet<()>>,
}

impl AofRewrite {
    /// Has all servers rewrite their append-only files, where that is due. Where it fails the store works as before.
    pub(crate) fn begin(&self, link: Link) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            match rewrite_all(&link).await {
                Ok(()) => {}
                Err(StorageFailure::Denied(_)) => tracing::warn!(
                    "the server has come back, and this user may not have its append-only file rewritten: if its machine \
                     lost power, run `BGREWRITEAOF` before it is started again"
                ),
                Err(failure) => tracing::warn!(%failure, "the server's append-only file was not rewritten"),
            }
        });
    }

    /// Ends what goes on. A command that is over at once must have asked first, so that is waited for a while.
    pub(crate) async fn close(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        let asked = async { while tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(ASKED_WITHIN, asked).await;
        tasks.shutdown().await;
    }
}

async fn rewrite_all(link: &Link) -> Result<(), StorageFailure> {
    let mut failed = None;
    for (_, server) in link.servers().await? {
        if let Err(failure) = rewrite(&server).await {
            failed = Some(failure::graver(failed, failure));
        }
    }
    failed.map_or(Ok(()), Err)
}

async fn rewrite(link: &Link) -> Result<(), StorageFailure> {
    let mut command = cmd("INFO");
    let answer = link.read(command.arg("persistence")).await?;
    let lines = text(&answer).unwrap_or_default().lines();
    let fields: HashMap<&str, &str> = lines.filter_map(|line| line.trim_end().split_once(':')).collect();
    let is = |name: &str, value: &str| fields.get(name) == Some(&value);
    // Counted since the server was started.
    let is_due = is("aof_enabled", "1") && is("aof_rewrites", "0") && is("aof_rewrite_in_progress", "0");
    if !is_due || is("aof_rewrite_scheduled", "1") {
        return Ok(());
    }
    match link.write(&cmd("BGREWRITEAOF")).await {
        // Another was quicker.
        Err(StorageFailure::Other(said)) if said.contains("in progress") => Ok(()),
        other => other.map(drop),
    }
}
