//! The audit: the operator, the reason and the outcome of each action.
//!
//! The audit records an action before it begins, and again after its end. If the process ends in between, the action
//! shows as unfinished. If the first entry cannot be stored, the action does not run.

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

/// The variable with the name of the operator, used if no other source gives one.
pub const OPERATOR_VARIABLE: &str = "EVENT_REPLAY_OPERATOR";
/// The largest length of an operator's name or of a reason, in bytes. The audit stores both.
pub const MAX_TEXT_BYTES: usize = 2_048;
/// Entries per read.
const PAGE: usize = 200;

/// The operator of an action and the reason. The audit records both as given and does not verify them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The name of the operator.
    pub operator: String,
    /// The reason, if one was given.
    pub reason: Option<String>,
}

impl Actor {
    /// Returns the operator of this process: the given name, else the value of [`OPERATOR_VARIABLE`], else `user@host`.
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

/// An action that is about to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    name: &'static str,
    subject: Option<String>,
    plan_hash: Option<String>,
    details: Facts,
}

impl Action {
    /// Makes an action with a name, such as `groups reset`.
    pub fn new(name: &'static str) -> Self {
        Self { name, subject: None, plan_hash: None, details: Facts::new() }
    }

    /// Sets the subject of the action.
    #[must_use]
    pub fn to(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Sets the hash of the plan that the action follows.
    #[must_use]
    pub fn planned(mut self, hash: &str) -> Self {
        self.plan_hash = Some(hash.to_owned());
        self
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.details.insert(name.to_owned(), value.into());
        self
    }
}

/// Makes facts from names and values.
pub fn facts<const N: usize>(facts: [(&str, Value); N]) -> Facts {
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Runs an action and records its beginning and its outcome in the audit.
///
/// # Errors
/// Returns an error when the beginning cannot be recorded. Then the action has not run. Returns the action's own error
/// when the action fails.
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

/// Records the beginning of an action. Returns the number of the entry.
///
/// # Errors
/// Returns [`StorageFailure`] when the store fails.
pub async fn begin(store: &StoreHandle, by: &Actor, action: &Action) -> Result<u64, StorageFailure> {
    let note = note(by, action, AuditPhase::Begun, action.details.clone());
    Ok(store.append_audit(&note).await?.number)
}

/// Records the outcome of an action. A failure of this write does not undo the action, which then shows as unfinished.
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

/// The outcome of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum AuditOutcome {
    /// The action succeeded.
    Done,
    /// The action failed. A part of it may have taken effect.
    Failed,
    /// The action still runs, or its process ended before the action did.
    Unfinished,
}

/// An action with its outcome, from its entries in the audit.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditedAction {
    /// The number of the entry for the beginning.
    pub number: u64,
    /// The time of the beginning.
    pub at: Timestamp,
    /// The time of the end.
    pub ended_at: Option<Timestamp>,
    /// The operator.
    pub operator: String,
    /// The name of the action.
    pub action: String,
    /// The subject of the action.
    pub subject: Option<String>,
    /// The reason.
    pub reason: Option<String>,
    /// The hash of the plan that the action followed.
    pub plan_hash: Option<String>,
    /// The facts of the request.
    pub request: Facts,
    /// The outcome.
    pub outcome: AuditOutcome,
    /// The facts of the outcome, such as counts.
    pub result: Facts,
    /// The error, if the action failed.
    pub error: Option<String>,
    /// The hash of the newest of its entries.
    pub hash: String,
}

/// A selection of actions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// The operators. Empty: all.
    pub operators: Vec<String>,
    /// The actions, each by its whole name or its first word. Empty: all.
    pub actions: Vec<String>,
    /// The subject of the action.
    pub subject: Option<String>,
    /// The earliest beginning, inclusive.
    pub from: Option<Timestamp>,
    /// The latest beginning, inclusive.
    pub to: Option<Timestamp>,
    /// The largest number of actions. `None`: no limit.
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

/// Returns the matching actions, newest first.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn list(store: &StoreHandle, query: &AuditQuery) -> Result<Vec<AuditedAction>, AppError> {
    let mut found: Vec<AuditedAction> = Vec::new();
    // The newest entries come first, so the end of an action is read before its beginning.
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
