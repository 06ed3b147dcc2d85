//! Retention: the removal of events by the rules of the settings or of a request.

use std::time::Duration;

use domain::{RetentionRule, TypePattern, ports::EventStore};
use replay::{
    Cancel, RetentionReport,
    retention::{self, RetentionOptions, RetentionProgress},
};

use super::{
    audit::{Action, Actor, audited, facts},
    checkpoints::{self, checkpoints},
    confirmation::Confirmation,
    error::{AppError, InvalidRequest, NotFound},
    store::clock,
};
use crate::{handle::StoreHandle, settings::Settings};

/// The bounds of a trim. Without any bound, the rules of the settings apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrimRequest {
    /// The largest age, from the stored time.
    pub max_age: Option<Duration>,
    /// The largest number of events. The newest events stay.
    pub max_events: Option<u64>,
    /// The largest size in bytes. The newest events stay.
    pub max_bytes: Option<u64>,
    /// The checkpoint up to which events are removed.
    pub to_checkpoint: Option<String>,
    /// The event types that the trim removes. Empty: all.
    pub types: Vec<String>,
}

impl TrimRequest {
    fn has_bound(&self) -> bool {
        self.max_age.is_some()
            || self.max_events.is_some()
            || self.max_bytes.is_some()
            || self.to_checkpoint.is_some()
    }

    /// Checks the request without the store.
    ///
    /// # Errors
    /// Returns [`InvalidRequest`] when the request names types but no bound.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match self.has_bound() || self.types.is_empty() {
            true => Ok(()),
            false => Err(InvalidRequest::TypesWithoutBound),
        }
    }

    /// Returns the rule of the request, or the rules in force if the request has no bound.
    ///
    /// # Errors
    /// Returns [`AppError`] when the checkpoint is unknown, or when no rule exists.
    pub async fn rules(
        &self,
        store: &StoreHandle,
        settings: &Settings,
    ) -> Result<Vec<RetentionRule>, AppError> {
        self.check()?;
        let rules = match self.has_bound() {
            true => vec![self.rule(store).await?],
            false => rules(store, settings).await?,
        };
        match rules.is_empty() {
            true => Err(InvalidRequest::NoRetentionRules.into()),
            false => Ok(rules),
        }
    }

    async fn rule(&self, store: &StoreHandle) -> Result<RetentionRule, AppError> {
        let through = match &self.to_checkpoint {
            None => None,
            Some(name) => match store.find_checkpoint(name).await? {
                Some(checkpoint) => Some(checkpoint.mark),
                None => {
                    let near = checkpoints::near(store, name).await?;
                    return Err(NotFound::Checkpoint { name: name.clone(), near }.into());
                }
            },
        };
        Ok(RetentionRule {
            types: self.types.iter().map(TypePattern::new).collect(),
            max_age: self.max_age,
            max_events: self.max_events,
            max_bytes: self.max_bytes,
            through,
        })
    }
}

/// Returns the rules in force: the rules of the settings and the rules of the namespace.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn rules(store: &StoreHandle, settings: &Settings) -> Result<Vec<RetentionRule>, AppError> {
    Ok(retention::in_force(&**store.ports(), &settings.retention).await?.into_owned())
}

/// Removes events by rules, except for events that a checkpoint, a group or a replay holds. Also removes dead letters
/// that were closed long ago. A dry run counts the events and changes nothing.
///
/// # Errors
/// Returns [`AppError`] when the store fails. Events that were removed before the failure stay removed.
pub async fn apply(
    store: &StoreHandle,
    settings: &Settings,
    rules: &[RetentionRule],
    dry_run: bool,
    progress: Option<RetentionProgress<'_>>,
) -> Result<RetentionReport, AppError> {
    let events: std::sync::Arc<dyn EventStore> = store.ports().clone();
    let options = RetentionOptions {
        dry_run,
        groups: settings.holds,
        letters: Some(store.ports().clone()),
        now: clock().now(),
        stop: Cancel::default(),
    };
    Ok(retention::apply_with(&events, &checkpoints(store), rules, &options, progress).await?)
}

/// Removes events by rules at the request of an operator. It does the same as [`apply`], with an entry in the audit.
///
/// # Errors
/// The same errors as [`apply`].
pub async fn trim(
    store: &StoreHandle,
    by: &Actor,
    settings: &Settings,
    rules: &[RetentionRule],
    progress: Option<RetentionProgress<'_>>,
) -> Result<RetentionReport, AppError> {
    let written: Vec<String> = rules.iter().map(|rule| format!("{rule:?}")).collect();
    let outcome = |report: &RetentionReport| {
        facts([
            ("events", report.events.into()),
            ("bytes", report.bytes.into()),
            ("deadLetters", report.dead_letters.into()),
        ])
    };
    let trimming = apply(store, settings, rules, false, progress);
    audited(store, by, Action::new("trim").with("rules", written), trimming, outcome).await
}

/// Returns the confirmation for the result of a dry run. Returns `None` if no event would be removed.
pub fn confirmation(would: &RetentionReport, settings: &Settings) -> Option<Confirmation> {
    let RetentionReport { events, bytes, .. } = *would;
    (events > 0).then(|| Confirmation::DropEvents { events, bytes, store: settings.store.clone() })
}
