//! The port of the audit: the record of operators' actions.

use async_trait::async_trait;

use crate::{
    audit::{AuditEntry, AuditNote},
    error::StorageFailure,
};

/// Keeps the audit.
///
/// Laws:
/// - `append_audit` MUST number entries from 1 without gaps, and each entry MUST name the hash of the entry before it
///   ([`AuditEntry::after`]). This holds for any number of concurrent writers.
/// - An entry MUST be returned as it was written, and nothing MUST change or remove it. Trimming and erasing do
///   neither.
/// - `append_audit` MUST also succeed in a full store, as far as the storage has room in reserve.
/// - `audit` MUST return entries below a number, the newest first. Unreadable entries are left out.
/// - [`super::EventStore::verify`] MUST report each changed entry, each missing entry, and each entry that does not
///   follow the entry before it.
/// - After [`StorageFailure::Unknown`], the entry may be stored. A repeated call may write it twice.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Writes an entry. Returns the entry with its number, time and hash.
    async fn append_audit(&self, note: &AuditNote) -> Result<AuditEntry, StorageFailure>;

    /// Returns entries below a number, the newest first, at most `limit`. None starts at the newest entry.
    async fn audit(&self, below: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StorageFailure>;
}
