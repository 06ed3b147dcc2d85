//! Verifying: the log and its indexes by the engine, rows here: that each can be read, and that what leads to another leads there.
//!
//! Others write meanwhile, and rows are read one after the other. So rows are checked twice where anything was found, and only
//! what was found both times is reported.

mod groups;
mod ids;
mod letters;
mod rest;

use domain::{
    StorageFailure,
    ports::{VerifyReport, event_store::ProgressCallback},
};

use crate::{Store, partition::Partition, rows::Rows};

/// What was found in the rows of a partition.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<String>);

impl Findings {
    pub(crate) fn add(&mut self, detail: impl Into<String>) {
        self.0.push(detail.into());
    }

    /// A value, if it can be read: what cannot be read is a finding, an engine that cannot be asked is a failure.
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

    /// What can be read of each row.
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

/// Says of what cannot be read what it belongs to.
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

/// Adds what was found in a partition's log.
fn merge(report: &mut VerifyReport, of_log: VerifyReport) {
    report.events += of_log.events;
    report.index_entries += of_log.index_entries;
    report.total_findings += of_log.total_findings;
    let room = VerifyReport::MAX_FINDINGS.saturating_sub(report.findings.len());
    report.findings.extend(of_log.findings.into_iter().take(room));
}

/// What is wrong with the rows of a partition.
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
