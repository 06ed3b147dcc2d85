//! Applies retention rules, one page of events at a time, to all events that nothing holds.

use std::{borrow::Cow, fmt, sync::Arc};

use domain::{
    RetentionRule,
    ports::{DeadLetterStore, EventStore, EventStoreError, GroupHolds, RetentionMode, TrimRequest},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{backoff::repeated, cancel::Cancel, checkpoints::Checkpoints, error::ReplayError};

/// The most events of one trim step. The number is small, so that writers hardly wait.
const PAGE: usize = 2_000;

/// The time for which a closed dead letter stays.
pub const CLOSED_LETTERS_STAY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// The options of a retention run.
#[derive(Clone)]
pub struct RetentionOptions {
    /// Whether only to count, and to remove nothing.
    pub dry_run: bool,
    /// The limits on how long consumer groups keep the events that they have not passed.
    pub groups: GroupHolds,
    /// The dead letter store, if closed dead letters are removed [`CLOSED_LETTERS_STAY`] after they were closed.
    pub letters: Option<Arc<dyn DeadLetterStore>>,
    /// The current time, from which the age of dead letters is counted.
    pub now: Timestamp,
    /// Ends the run after its current step.
    pub stop: Cancel,
}

impl fmt::Debug for RetentionOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetentionOptions")
            .field("dry_run", &self.dry_run)
            .field("groups", &self.groups)
            .field("now", &self.now)
            .finish_non_exhaustive()
    }
}

/// The events that were removed, or would be removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionReport {
    /// Whether the run only counted. An event that several rules would remove then counts once for each rule.
    pub dry_run: bool,
    /// The number of events.
    pub events: u64,
    /// Bytes of the events' JSON.
    pub bytes: u64,
    /// The holders of events that the rules would have removed.
    pub held_by: Vec<String>,
    /// Closed dead letters that were removed. A dry run does not count them.
    #[serde(skip_serializing_if = "is_zero")]
    pub dead_letters: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Returns the rules in force when these rules are set. A namespace that keeps events only until delivery
/// ([`RetentionMode::UntilDelivered`]) has a rule even if none is set. That rule sets no bound. Its trim removes the
/// events that every group has.
///
/// # Errors
/// Returns an error when the store fails.
pub async fn in_force<'a>(
    events: &dyn EventStore,
    rules: &'a [RetentionRule],
) -> Result<Cow<'a, [RetentionRule]>, EventStoreError> {
    let is_idle = rules.iter().all(RetentionRule::is_empty);
    if is_idle && repeated(|| events.info()).await?.keeps == RetentionMode::UntilDelivered {
        return Ok(Cow::Owned(vec![RetentionRule {
            max_events: Some(u64::MAX),
            ..RetentionRule::default()
        }]));
    }
    Ok(Cow::Borrowed(rules))
}

/// Receives the report so far after every step.
pub type RetentionProgress<'a> = &'a (dyn Fn(&RetentionReport) + Send + Sync);

/// Applies rules one after the other, with the default limits on the holds of groups. See [`apply_with`].
///
/// # Errors
/// Returns an error when the store fails. The events removed before the failure stay removed.
pub async fn apply(
    events: &Arc<dyn EventStore>,
    checkpoints: &Checkpoints,
    rules: &[RetentionRule],
    dry_run: bool,
    progress: Option<RetentionProgress<'_>>,
) -> Result<RetentionReport, ReplayError> {
    let groups = GroupHolds::default();
    let (now, stop) = (Timestamp::now(), Cancel::default());
    let options = RetentionOptions { dry_run, groups, letters: None, now, stop };
    apply_with(events, checkpoints, rules, &options, progress).await
}

/// Applies the rules that are [in force](in_force), one after the other. Events after the mark of a holding checkpoint
/// stay, even if the checkpoint is made during the run. Events that consumer groups and replays have not passed stay
/// too.
///
/// # Errors
/// Returns an error when the store fails. The events removed before the failure stay removed.
pub async fn apply_with(
    events: &Arc<dyn EventStore>,
    checkpoints: &Checkpoints,
    rules: &[RetentionRule],
    options: &RetentionOptions,
    progress: Option<RetentionProgress<'_>>,
) -> Result<RetentionReport, ReplayError> {
    let mut report = RetentionReport { dry_run: options.dry_run, ..RetentionReport::default() };
    for rule in in_force(&**events, rules).await?.iter().filter(|rule| !rule.is_empty()) {
        loop {
            let holds = checkpoints.holds().await?;
            let (dry_run, groups) = (options.dry_run, options.groups);
            let request = TrimRequest { rule: rule.clone(), holds, limit: PAGE, dry_run, groups };
            let trimmed = repeated(|| events.trim(&request)).await?;
            report.events += trimmed.events;
            report.bytes += trimmed.bytes;
            if let Some(holder) = trimmed.held_by.filter(|holder| !report.held_by.contains(holder)) {
                report.held_by.push(holder);
            }
            if let Some(progress) = progress {
                progress(&report);
            }
            if options.stop.is_cancelled() {
                return Ok(report);
            }
            if !trimmed.more {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    report.dead_letters = purge_letters(options).await?;
    Ok(report)
}

async fn purge_letters(options: &RetentionOptions) -> Result<u64, ReplayError> {
    let Some(letters) = options.letters.as_ref().filter(|_| !options.dry_run) else { return Ok(0) };
    let Ok(closed_before) = options.now.checked_sub(CLOSED_LETTERS_STAY) else { return Ok(0) };
    Ok(repeated(|| letters.purge_dead_letters(closed_before)).await?)
}
