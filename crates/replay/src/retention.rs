//! Applying retention rules, page by page, to whatever nothing holds.

use std::{borrow::Cow, fmt, sync::Arc};

use domain::{
    RetentionRule,
    ports::{DeadLetterStore, EventStore, EventStoreError, GroupHolds, RetentionMode, TrimRequest},
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::{backoff::repeated, cancel::Cancel, checkpoints::Checkpoints, error::ReplayError};

/// Events that one step of trimming may remove: few enough that writers hardly wait.
const PAGE: usize = 2_000;

/// How long a dead letter stays after it was closed.
pub const CLOSED_LETTERS_STAY: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How retention is applied.
#[derive(Clone)]
pub struct RetentionOptions {
    /// Remove nothing, only count.
    pub dry_run: bool,
    /// How far consumer groups keep what they have not passed.
    pub groups: GroupHolds,
    /// Where dead letters are kept: those that were closed more than [`CLOSED_LETTERS_STAY`] ago go.
    pub letters: Option<Arc<dyn DeadLetterStore>>,
    /// The present instant, from which that is counted.
    pub now: Timestamp,
    /// Ends it after the step it is at.
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

/// What was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RetentionReport {
    /// Whether nothing was removed, only counted. An event that several rules would remove counts for each of them then.
    pub dry_run: bool,
    /// Events.
    pub events: u64,
    /// Bytes of their JSON.
    pub bytes: u64,
    /// Who kept events that the rules would have removed.
    pub held_by: Vec<String>,
    /// Dead letters, closed long ago, that were removed. A dry run does not count them.
    #[serde(skip_serializing_if = "is_zero")]
    pub dead_letters: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The rules that are in force where these are set. A namespace that keeps events only until they are delivered
/// ([`RetentionMode::UntilDelivered`]) has one without any being set: it names nothing by itself, and its trim lets go of what every
/// group has.
///
/// # Errors
/// When the store fails.
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

/// Is told, after every step, what was removed so far.
pub type RetentionProgress<'a> = &'a (dyn Fn(&RetentionReport) + Send + Sync);

/// Applies rules one after the other, with groups holding as they do by default. See [`apply_with`].
///
/// # Errors
/// When the store fails; what was removed until then is gone.
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

/// Applies the rules that are [in force](in_force) one after the other. What comes after the mark of a checkpoint that asks for it stays, also if the
/// checkpoint is made while this runs; so does what consumer groups and replays have not passed.
///
/// # Errors
/// When the store fails; what was removed until then is gone.
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
