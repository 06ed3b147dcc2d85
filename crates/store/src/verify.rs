//! Verification. The engine checks the log and its indexes. This module checks that each row can be read, and that each
//! reference leads to its row.
//!
//! Other callers may write during the check, and rows are read one after the other. So the rows of a partition are
//! checked twice if the first check found anything. Only findings of both checks are reported.

mod groups;
mod ids;
mod letters;
mod rest;

use domain::{
    StorageFailure,
    ports::{VerifyReport, event_store::ProgressCallback},
};

use crate::{Store, partition::Partition, rows::Rows};

/// The findings in the rows of a partition.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    pub(crate) fn add(&mut self, detail: impl Into<String>) {
        self.0.push(detail.into());
    }

    /// Returns a value if it is readable. A corrupt value becomes a finding. Any other failure of the engine is
    /// returned.
    pub(crate) fn readable<T>(
        &mut self,
        read: Result<T, StorageFailure>,
    ) -> Result<Option<T>, StorageFailure> {
        match read {
            Ok(value) => Ok(Some(value)),
            Err(StorageFailure::Corrupt(detail)) => {
                self.add(detail);
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// Decodes each row, and skips unreadable rows, which become findings.
    fn read_all<T>(
        &mut self,
        rows: &Rows,
        read: impl Fn(&[u8], &[u8]) -> Result<T, StorageFailure>,
    ) -> Result<Vec<T>, StorageFailure> {
        let mut all = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            all.extend(self.readable(read(key, value))?);
        }
        Ok(all)
    }
}

/// Adds the owner of a corrupt value to its error.
fn within<T>(owner: &str, read: Result<T, StorageFailure>) -> Result<T, StorageFailure> {
    read.map_err(|failure| match failure {
        StorageFailure::Corrupt(detail) => StorageFailure::Corrupt(format!("{owner}: {detail}")),
        other => other,
    })
}

/// Checks every event, index entry and row.
pub(crate) async fn verify(
    store: &Store,
    progress: Option<ProgressCallback>,
) -> Result<VerifyReport, StorageFailure> {
    let total: u64 = store.states().await?.iter().map(|state| state.events).sum();
    let mut report = VerifyReport::default();
    for partition in store.partitions() {
        let done = report.events;
        let checked = |events: u64| {
            if let Some(progress) = &progress {
                progress(done + events, total);
            }
        };
        let of_log = store.engine().verify(partition.number, &checked).await?;
        merge(&mut report, of_log);
        for detail in rows(store, partition).await? {
            report.add(None, detail);
        }
    }
    if !store.is_single() {
        ids::check(store, total, &mut report).await?;
    }
    Ok(report)
}

/// Adds the findings in a partition's log.
fn merge(report: &mut VerifyReport, of_log: VerifyReport) {
    report.events += of_log.events;
    report.index_entries += of_log.index_entries;
    report.total_findings += of_log.total_findings;
    let room = VerifyReport::MAX_FINDINGS.saturating_sub(report.findings.len());
    report.findings.extend(of_log.findings.into_iter().take(room));
}

/// Returns the findings in the rows of a partition.
async fn rows(store: &Store, partition: Partition<'_>) -> Result<Vec<String>, StorageFailure> {
    let found = rows_once(store, partition).await?;
    if found.is_empty() {
        return Ok(found);
    }
    let again = rows_once(store, partition).await?;
    Ok(found.into_iter().filter(|detail| again.contains(detail)).collect())
}

async fn rows_once(store: &Store, partition: Partition<'_>) -> Result<Vec<String>, StorageFailure> {
    let mut findings = Findings::default();
    groups::check(partition, store.partition_count(), &mut findings).await?;
    letters::check(partition, &mut findings).await?;
    rest::check_schedule(partition, &mut findings).await?;
    rest::check_replays(partition, &mut findings).await?;
    if partition.number == 0 {
        let checkpoints = store.checkpoints().await;
        findings.readable(checkpoints)?;
        rest::check_schemas(store, &mut findings).await?;
        rest::check_tokens(store, &mut findings).await?;
        rest::check_plans(store, &mut findings).await?;
        rest::check_requests(partition, &mut findings).await?;
        store.audit_findings().await?.into_iter().for_each(|detail| findings.add(detail));
    }
    Ok(findings.0)
}
