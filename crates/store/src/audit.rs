//! The audit, in partition 0: one row for each entry, by number, and the number of entries.

use async_trait::async_trait;
use domain::{
    StorageFailure,
    audit::{AuditEntry, AuditNote},
    ports::{
        AuditStore,
        engine::{Guard, Read, RowId, SpaceKind, Transaction},
    },
};

use crate::{
    Store,
    retry::OptimisticRetry,
    rows::{AUDIT, counter, from_json, number, number_key, to_json},
};

/// The most entries of one call.
const PAGE: u64 = 200;

fn row_of(entry: u64) -> RowId {
    RowId::of(SpaceKind::Audit, number_key(entry))
}

fn read(entry: u64, value: &[u8]) -> Result<AuditEntry, StorageFailure> {
    from_json(value, format_args!("the entry {entry} of the audit"))
}

impl Store {
    /// Returns the number of entries ever written.
    async fn audit_entries(&self) -> Result<u64, StorageFailure> {
        number(self.first().row(counter(AUDIT)).await?.as_deref())
    }

    /// Returns `count` entries from a number on, each with its number and its value. A missing entry has no value.
    async fn audit_page(&self, from: u64, count: u64) -> Result<Vec<(u64, Option<Vec<u8>>)>, StorageFailure> {
        let numbers = from..from + count;
        let reads: Vec<Read> = numbers.clone().map(|entry| Read::Row(row_of(entry))).collect();
        let mut found = self.first().get(&reads).await?;
        Ok(numbers.map(|entry| (entry, found.row())).collect())
    }

    /// Returns the faults of the audit, in the order of its entries.
    pub(crate) async fn audit_findings(&self) -> Result<Vec<String>, StorageFailure> {
        let entries = self.audit_entries().await?;
        let mut findings = Vec::new();
        let mut previous: Option<String> = Some(String::new());
        let mut from = 1;
        while from <= entries {
            let page = self.audit_page(from, PAGE.min(entries + 1 - from)).await?;
            from += page.len() as u64;
            for (entry, value) in page {
                let Some(value) = value else {
                    findings.push(format!("the entry {entry} of the audit is missing"));
                    previous = None;
                    continue;
                };
                let found = read(entry, &value).ok().filter(|found| found.number == entry);
                match found.filter(AuditEntry::is_unaltered) {
                    None => {
                        findings.push(format!("the entry {entry} of the audit was altered"));
                        previous = None;
                    }
                    Some(found) => {
                        // After a missing or altered entry the expected hash is unknown.
                        if previous.is_some_and(|previous| previous != found.previous) {
                            findings.push(format!(
                                "the entry {entry} of the audit does not follow the one before it: one of both was exchanged"
                            ));
                        }
                        previous = Some(found.hash);
                    }
                }
            }
        }
        Ok(findings)
    }
}

#[async_trait]
impl AuditStore for Store {
    async fn append_audit(&self, note: &AuditNote) -> Result<AuditEntry, StorageFailure> {
        let mut retry = OptimisticRetry::new();
        loop {
            let mut found = self.first().get(&[Read::Row(counter(AUDIT))]).await?;
            let (at, count) = (found.now, found.row());
            let last = number(count.as_deref())?;
            let newest = self.first().row(row_of(last)).await?;
            // The chain continues after a damaged entry. `verify` reports the damaged entry.
            let newest = newest.and_then(|value| read(last, &value).ok());
            let entry = AuditEntry::after(newest.as_ref(), last + 1, at, note.clone());
            let mut transaction = Transaction::durable().even_when_full();
            transaction.guard(Guard::still(counter(AUDIT), count.as_deref()));
            transaction.guard(Guard::Absent(row_of(entry.number)));
            transaction.put(row_of(entry.number), to_json(&entry)?).add(counter(AUDIT), 1);
            if self.first().is_committed(&transaction).await? {
                return Ok(entry);
            }
            retry.again().await?;
        }
    }

    async fn audit(&self, below: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StorageFailure> {
        let entries = self.audit_entries().await?;
        let mut end = below.map_or(entries, |below| entries.min(below.saturating_sub(1)));
        let mut all = Vec::new();
        while end > 0 && all.len() < limit {
            let count = PAGE.min(end);
            let page = self.audit_page(end + 1 - count, count).await?;
            end -= count;
            let readable = page.into_iter().rev().filter_map(|(entry, value)| read(entry, &value?).ok());
            all.extend(readable);
        }
        all.truncate(limit);
        Ok(all)
    }
}
