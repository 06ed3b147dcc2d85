//! The audit of operators' actions.

use async_trait::async_trait;

use crate::{
    audit::{AuditEntry, AuditNote},
    error::StorageFailure,
};

/// Keeps the audit.
///
/// Laws:
/// - `append_audit` MUST number entries from 1 without gaps, and each MUST name the hash of the one before it
///   ([`AuditEntry::after`]), however many write at once.
/// - An entry MUST come back as it was written, and nothing MUST change or remove it: neither trimming nor erasing does.
/// - `append_audit` MUST also be done where the store is full, as far as the storage has room kept back.
/// - `audit` MUST give entries below a number, the newest first. What cannot be read is left out.
/// - [`super::EventStore::verify`] MUST name each entry that was altered, each that is missing, and each that does not follow the
///   one before it.
/// - After [`StorageFailure::Unknown`] the entry may be there: a repeated call may write it twice.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Writes an entry; it with its number, time and hash.
    async fn append_audit(&self, note: &AuditNote) -> Result<AuditEntry, StorageFailure>;

    /// Entries below a number, the newest first, at most `limit`. None: from the newest on.
    async fn audit(&self, below: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StorageFailure>;
}
