//! A fault: reads the newest lease of a segment directly from the store, so that commits pass the fence.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{
    StorageFailure,
    group::Lease,
    ports::{
        GroupStoreError, SegmentCommit,
        engine::{
            SpaceKind,
            rows::{Part, key},
        },
    },
};
use rusqlite::{Connection, OptionalExtension};

/// The place of the leases.
pub(crate) enum Unfenced {
    /// A SQLite file.
    Sqlite(String),
    /// A Redis server.
    Redis(String),
}

impl Unfenced {
    /// Returns the place for a store.
    pub(crate) fn of(store: &str) -> Self {
        if super::is_redis(store) { Self::Redis(store.to_owned()) } else { Self::Sqlite(store.to_owned()) }
    }

    /// Returns the commits with the newest lease of each segment, of any consumer.
    pub(crate) async fn all_as_newest(
        &self,
        commits: &[SegmentCommit],
    ) -> Result<Vec<SegmentCommit>, GroupStoreError> {
        let mut rewritten = Vec::with_capacity(commits.len());
        for commit in commits {
            let newest = self.newest(&commit.lease).await;
            let newest = newest.map_err(|error| StorageFailure::Unavailable(error.to_string()))?;
            let (epoch, token) = newest.unwrap_or((commit.lease.epoch, commit.lease.token));
            let lease = Lease { epoch, token, ..commit.lease.clone() };
            rewritten.push(SegmentCommit { lease, ..commit.clone() });
        }
        Ok(rewritten)
    }

    async fn newest(&self, lease: &Lease) -> Result<Option<(u64, u64)>> {
        match self {
            Self::Sqlite(file) => {
                let (file, lease) = (file.clone(), lease.clone());
                tokio::task::spawn_blocking(move || Ok(in_file(&file, &lease)?)).await?
            }
            Self::Redis(url) => on_server(url, lease).await,
        }
    }
}

fn in_file(file: &str, lease: &Lease) -> rusqlite::Result<Option<(u64, u64)>> {
    let newest = "SELECT epoch, token FROM segment WHERE grp = ?1 AND segment = ?2 AND token IS NOT NULL";
    // The column is text, because a token needs all 64 bits.
    let read = |row: &rusqlite::Row<'_>| {
        let token: String = row.get(1)?;
        Ok((row.get::<_, i64>(0)? as u64, token.parse().unwrap_or_default()))
    };
    Connection::open(file)?.query_row(newest, (&lease.group, lease.segment), read).optional()
}

/// Reads the fence of a segment on Redis, which is `EPOCH:TOKEN` in the row of the segment.
async fn on_server(url: &str, lease: &Lease) -> Result<Option<(u64, u64)>> {
    let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
    let scope = key(&[Part::Text(&lease.group)]);
    let name = format!("{{default:0}}:r:{}:{}", SpaceKind::Fence.name(), URL_SAFE_NO_PAD.encode(scope));
    let row = key(&[Part::Number(lease.segment.into())]);
    let mut command = redis::cmd("HGET");
    let owner: Option<String> = command.arg(name).arg(row).query_async(&mut connection).await?;
    let read = |owner: String| {
        let mut parts = owner.split(':');
        let (epoch, token) = (parts.next().context("epoch")?, parts.next().context("token")?);
        Ok((epoch.parse()?, token.parse()?))
    };
    owner.map(read).transpose()
}
