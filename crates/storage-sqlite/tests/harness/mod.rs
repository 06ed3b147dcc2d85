//! The harness of this adapter for the suite. It makes fresh files and more handles on them, and damages them by plain SQL.
#![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use conformance::{EngineHarness, EngineStorage, Faults, Harness, ManualClock, Storage, Stores};
use domain::{
    Position,
    ports::{RetentionMode, StorageEngine},
};
use event_replay_storage_sqlite::{SqliteEngine, SqliteOptions};
use rusqlite::Connection;
use store::Store;
use tempfile::TempDir;

pub(crate) struct SqliteHarness {
    pub(crate) tail_events: u64,
    pub(crate) bulk_tail_events: u64,
}

#[async_trait]
impl Harness for SqliteHarness {
    async fn fresh(&self, clock: ManualClock) -> Box<dyn Storage> {
        Box::new(self.file(clock, RetentionMode::History))
    }

    async fn fresh_keeping(&self, clock: ManualClock, keeps: RetentionMode) -> Option<Box<dyn Storage>> {
        Some(Box::new(self.file(clock, keeps)))
    }
}

#[async_trait]
impl EngineHarness for SqliteHarness {
    async fn fresh(&self, clock: ManualClock) -> Box<dyn EngineStorage> {
        Box::new(self.file(clock, RetentionMode::History))
    }
}

impl SqliteHarness {
    fn file(&self, clock: ManualClock, keeps: RetentionMode) -> File {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.db");
        File {
            path,
            clock,
            keeps,
            tail_events: self.tail_events,
            bulk_tail_events: self.bulk_tail_events,
            _folder: folder,
        }
    }
}

struct File {
    path: PathBuf,
    clock: ManualClock,
    keeps: RetentionMode,
    tail_events: u64,
    bulk_tail_events: u64,
    _folder: TempDir,
}

impl File {
    async fn engine(&self) -> SqliteEngine {
        let options = SqliteOptions {
            clock: Arc::new(self.clock.clone()),
            tail_events: self.tail_events,
            bulk_tail_events: self.bulk_tail_events,
            keeps: self.keeps,
            ..SqliteOptions::new(&self.path)
        };
        SqliteEngine::create(options).await.unwrap()
    }
}

#[async_trait]
impl Storage for File {
    async fn open(&self) -> Arc<dyn Stores> {
        Arc::new(Store::new(self.engine().await))
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }
}

#[async_trait]
impl EngineStorage for File {
    async fn open(&self) -> Arc<dyn StorageEngine> {
        Arc::new(self.engine().await)
    }

    fn faults(&self) -> Option<&dyn Faults> {
        Some(self)
    }

    async fn holds_bytes(&self, bytes: &[u8]) -> Option<bool> {
        let files = [self.path.clone(), self.path.with_extension("db-wal")];
        let mut contents = files.iter().map(|file| std::fs::read(file).unwrap_or_default());
        Some(contents.any(|file| file.windows(bytes.len()).any(|window| window == bytes)))
    }
}

#[async_trait]
impl Faults for File {
    async fn damage_event(&self, at: Position) {
        let sql = "UPDATE event SET json = replace(json, substr(json, 3, 1), '~') WHERE seq = ?1";
        assert_eq!(execute(&self.path, sql, at), 1);
    }

    async fn drop_index_entry(&self, at: Position) {
        assert_eq!(execute(&self.path, "DELETE FROM event_id WHERE seq = ?1", at), 1);
    }

    async fn plant_index_entry(&self, at: Position) {
        assert_eq!(execute(&self.path, "INSERT INTO event_id (id, seq) VALUES ('planted', ?1)", at), 1);
    }
}

fn execute(path: &Path, sql: &str, at: Position) -> usize {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    connection.execute(sql, [at.sequence as i64]).unwrap()
}
