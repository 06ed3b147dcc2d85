//! Retention: what the settings or a request say is dropped.

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

/// What a trim is asked to drop. Without any bound the settings' rules are applied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TrimRequest {
    /// What was stored longer ago than this.
    pub max_age: Option<Duration>,
    /// All but this many events, the newest.
    pub max_events: Option<u64>,
    /// All but this many bytes of events, the newest.
    pub max_bytes: Option<u64>,
    /// What this checkpoint covers.
    pub to_checkpoint: Option<String>,
    /// Only events of these types; none: of all.
    pub types: Vec<String>,
}

impl TrimRequest {
    fn has_bound(&self) -> bool {
        self.max_age.is_some()
            || self.max_events.is_some()
            || self.max_bytes.is_some()
            || self.to_checkpoint.is_some()
    }

    /// Refuses what makes no sense whatever is in the store.
    ///
    /// # Errors
    /// When it names types and no bound.
    pub fn check(&self) -> Result<(), InvalidRequest> {
        match self.has_bound() || self.types.is_empty() {
            true => Ok(()),
            false => Err(InvalidRequest::TypesWithoutBound),
        }
    }

    /// The rules that it comes to: its own, or those in force.
    ///
    /// # Errors
    /// When its checkpoint is unknown, or there are no rules at all.
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

/// The rules in force: those of the settings, and what the namespace has by itself.
///
/// # Errors
/// When the store fails.
pub async fn rules(store: &StoreHandle, settings: &Settings) -> Result<Vec<RetentionRule>, AppError> {
    Ok(retention::in_force(&**store.ports(), &settings.retention).await?.into_owned())
}

/// Drops what rules name, except what checkpoints, groups and replays hold; and dead letters that were closed long ago. A dry
/// run counts what would go, and changes nothing.
///
/// # Errors
/// When the store fails; what was removed until then is gone.
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

/// Drops what rules name because an operator asks for it: as [`apply`], and written down.
///
/// # Errors
/// As [`apply`].
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

/// What is to be confirmed before rules are applied, after a dry run has counted what would go; none where nothing would.
pub fn confirmation(would: &RetentionReport, settings: &Settings) -> Option<Confirmation> {
    let RetentionReport { events, bytes, .. } = *would;
    (events > 0).then(|| Confirmation::DropEvents { events, bytes, store: settings.store.clone() })
}
