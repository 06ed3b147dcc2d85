//! The audit: who did what, why, and what came of it.
//!
//! An action is written down before it begins, and again when it is over: one that was cut short by the end of its process shows as
//! unfinished. Where it cannot be written down that an action begins, the action does not take place.

use std::{collections::BTreeMap, fmt};

use domain::{
    StorageFailure,
    audit::{AuditEntry, AuditNote, AuditPhase},
};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::error::AppError;
use crate::handle::StoreHandle;

/// The variable that names the operator, where nothing else does.
pub const OPERATOR_VARIABLE: &str = "EVENT_REPLAY_OPERATOR";
/// Longest name of an operator and longest reason, in bytes: both are kept.
pub const MAX_TEXT_BYTES: usize = 2_048;
/// Entries read in one step.
const PAGE: usize = 200;

/// Who does something, and why. Both are recorded as they are given; nothing proves them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub operator: String,
    /// Why, if that was said.
    pub reason: Option<String>,
}

impl Actor {
    /// Who runs this process: as was said, else as [`OPERATOR_VARIABLE`] says, else `user@host`.
    pub fn of_process(operator: Option<String>, reason: Option<String>) -> Self {
        let said = |text: &String| !text.trim().is_empty();
        let operator = operator.filter(said);
        let operator = operator.or_else(|| std::env::var(OPERATOR_VARIABLE).ok().filter(said));
        Self { operator: operator.unwrap_or_else(user_at_host), reason: reason.filter(said) }
    }
}

fn user_at_host() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = variable("USER").or_else(|| variable("LOGNAME")).or_else(|| variable("USERNAME"));
    format!("{}@{}", user.unwrap_or_else(user_id), host())
}

#[cfg(unix)]
fn user_id() -> String {
    format!("uid-{}", rustix::process::getuid().as_raw())
}

#[cfg(not(unix))]
fn user_id() -> String {
    "unknown".to_owned()
}

#[cfg(unix)]
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".to_owned())
}

/// Facts about an action, by name.
pub type Facts = BTreeMap<String, Value>;

/// What is about to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    name: &'static str,
    subject: Option<String>,
    plan_hash: Option<String>,
    details: Facts,
}

impl Action {
    /// An action, such as `groups reset`.
    pub fn new(name: &'static str) -> Self {
        Self { name, subject: None, plan_hash: None, details: Facts::new() }
    }

    /// What it is done to.
    #[must_use]
    pub fn to(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// The plan that it follows.
    #[must_use]
    pub fn planned(mut self, hash: &str) -> Self {
        self.plan_hash = Some(hash.to_owned());
        self
    }

    /// With a further fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// Facts from names and values.
pub fn facts<const N: usize>(facts: [(&str, Value); N]) -> Facts {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Does something that is written down: that it begins, and what came of it.
///
/// # Errors
/// When it cannot be written down that it begins, in which case nothing was done; or when it fails.
pub async fn audited<T, E>(
    store: &StoreHandle,
    by: &Actor,
    action: Action,
    work: impl Future<Output = Result<T, E>>,
    outcome: impl FnOnce(&T) -> Facts,
) -> Result<T, E>
where
    E: From<StorageFailure> + fmt::Display,
{
    let begun = begin(store, by, &action).await?;
    let done = work.await;
    let (phase, facts) = match &done {
        Ok(done) => (AuditPhase::Done { begun }, outcome(done)),
        Err(error) => (AuditPhase::Failed { begun, error: bounded(&error.to_string()) }, Facts::new()),
    };
    end(store, by, &action, phase, facts).await;
    done
}

/// Writes down that an action begins; the number of the entry.
///
/// # Errors
/// When the store fails.
pub async fn begin(store: &StoreHandle, by: &Actor, action: &Action) -> Result<u64, StorageFailure> {
    let note = note(by, action, AuditPhase::Begun, action.details.clone());
    Ok(store.append_audit(&note).await?.number)
}

/// Writes down what came of an action. What was done is done: where this fails, the action shows as unfinished.
pub async fn end(store: &StoreHandle, by: &Actor, action: &Action, phase: AuditPhase, facts: Facts) {
    if let Err(error) = store.append_audit(&note(by, action, phase, facts)).await {
        tracing::warn!(%error, action = action.name, "the audit does not say what came of an action");
    }
}

fn note(by: &Actor, action: &Action, phase: AuditPhase, details: Facts) -> AuditNote {
    AuditNote {
        operator: bounded(&by.operator),
        action: action.name.to_owned(),
        subject: action.subject.as_deref().map(bounded),
        reason: by.reason.as_deref().map(bounded),
        plan_hash: action.plan_hash.clone(),
        phase,
        details,
    }
}

fn bounded(text: &str) -> String {
    let end = (0..=MAX_TEXT_BYTES.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text.get(..end.unwrap_or(0)).unwrap_or_default().to_owned()
}

/// What came of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// It failed; part of it may have been done.
    Failed,
    /// It is not over, or its process ended before it was.
    Unfinished,
}

/// An action, as the audit tells it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditedAction {
    /// The number of the entry that says that it began.
    pub number: u64,
    /// When it began.
    pub at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// Who did it.
    pub operator: String,
    /// What.
    pub action: String,
    /// To what.
    pub subject: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The hash of the plan that it followed.
    pub plan_hash: Option<String>,
    /// What was asked for.
    pub request: Facts,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// Counts of what came of it.
    pub result: Facts,
    /// Why it failed.
    pub error: Option<String>,
    /// The hash of the newest of its entries.
    pub hash: String,
}

/// Which actions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// Of these operators; of all when empty.
    pub operators: Vec<String>,
    /// These actions, each by its whole name or its first word; all when empty.
    pub actions: Vec<String>,
    /// To this.
    pub subject: Option<String>,
    /// Begun then or later.
    pub from: Option<Timestamp>,
    /// Begun then or earlier.
    pub to: Option<Timestamp>,
    /// At most this many; none: all.
    pub limit: Option<u64>,
}

impl AuditQuery {
    fn fits(&self, entry: &AuditEntry) -> bool {
        let note = &entry.note;
        let is_named = |action: &String| {
            *action == note.action || note.action.split(' ').next() == Some(action.as_str())
        };
        (self.operators.is_empty() || self.operators.contains(&note.operator))
            && (self.actions.is_empty() || self.actions.iter().any(is_named))
            && self.subject.as_ref().is_none_or(|subject| note.subject.as_ref() == Some(subject))
            && self.from.is_none_or(|from| entry.at >= from)
            && self.to.is_none_or(|to| entry.at <= to)
    }
}

/// Actions that match, the newest first.
///
/// # Errors
/// When the store fails.
pub async fn list(store: &StoreHandle, query: &AuditQuery) -> Result<Vec<AuditedAction>, AppError> {
    let mut found: Vec<AuditedAction> = Vec::new();
    // What came of actions is met before that they began.
    let mut ends: BTreeMap<u64, AuditEntry> = BTreeMap::new();
    let mut below = None;
    let is_full = |found: &Vec<AuditedAction>| query.limit.is_some_and(|limit| found.len() as u64 >= limit);
    while !is_full(&found) {
        let page = store.audit(below, PAGE).await?;
        let Some(last) = page.last() else { break };
        below = Some(last.number);
        for entry in page {
            match entry.note.phase {
                AuditPhase::Done { begun } | AuditPhase::Failed { begun, .. } => {
                    ends.insert(begun, entry);
                }
                AuditPhase::Begun => {
                    let end = ends.remove(&entry.number);
                    if query.fits(&entry) && !is_full(&found) {
                        found.push(told(entry, end));
                    }
                }
            }
        }
    }
    Ok(found)
}

fn told(begun: AuditEntry, end: Option<AuditEntry>) -> AuditedAction {
    let (outcome, error) = match end.as_ref().map(|end| &end.note.phase) {
        Some(AuditPhase::Done { .. }) => (AuditOutcome::Done, None),
        Some(AuditPhase::Failed { error, .. }) => (AuditOutcome::Failed, Some(error.clone())),
        Some(AuditPhase::Begun) | None => (AuditOutcome::Unfinished, None),
    };
    let hash = end.as_ref().map_or_else(|| begun.hash.clone(), |end| end.hash.clone());
    AuditedAction {
        number: begun.number,
        at: begun.at,
        ended_at: end.as_ref().map(|end| end.at),
        operator: begun.note.operator,
        action: begun.note.action,
        subject: begun.note.subject,
        reason: begun.note.reason,
        plan_hash: begun.note.plan_hash,
        request: begun.note.details,
        outcome,
        result: end.map(|end| end.note.details).unwrap_or_default(),
        error,
        hash,
    }
}
