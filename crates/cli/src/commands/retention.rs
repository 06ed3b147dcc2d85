//! Retention: what the settings say is dropped, after every append from the command line and by `trim`.

use domain::RetentionRule;
use replay::{
    Cancel, Checkpoints, RetentionReport,
    retention::{self, RetentionOptions},
};

use super::Context;
use crate::{
    errors::CliError,
    output::plural::count,
    store::{self, Stores},
};

/// The settings' rules, and what the namespace has by itself.
pub(super) async fn rules(stores: &Stores, cx: &Context<'_>) -> Result<Vec<RetentionRule>, CliError> {
    Ok(retention::in_force(&*stores.events, &cx.settings.retention).await?.into_owned())
}

/// Drops what the settings' rules name.
pub(super) async fn apply_settings(stores: &Stores, cx: &Context<'_>) -> Result<(), CliError> {
    let rules = rules(stores, cx).await?;
    if rules.is_empty() {
        return Ok(());
    }
    let report = apply(stores, &rules, false, cx).await?;
    warn_of_holds(&report, cx);
    if report.events > 0 {
        cx.printer.say(&format!(
            "retention dropped {} ({})",
            count(report.events, "event"),
            count(report.bytes, "byte")
        ));
    }
    Ok(())
}

/// Drops what rules name, except what checkpoints, groups and replays hold; and dead letters that were closed long ago.
pub(super) async fn apply(
    stores: &Stores,
    rules: &[RetentionRule],
    dry_run: bool,
    cx: &Context<'_>,
) -> Result<RetentionReport, CliError> {
    let checkpoints = Checkpoints::new(stores.events.clone(), stores.checkpoints.clone(), store::clock());
    let options = RetentionOptions {
        dry_run,
        groups: cx.settings.holds,
        letters: Some(stores.dead_letters.clone()),
        now: store::clock().now(),
        stop: Cancel::default(),
    };
    let bar = cx.printer.bar("trimming", None);
    let watch = |report: &RetentionReport| bar.at(report.events);
    let report = retention::apply_with(&stores.events, &checkpoints, rules, &options, Some(&watch)).await?;
    bar.clear();
    Ok(report)
}

/// Says who kept events that should have gone.
pub(super) fn warn_of_holds(report: &RetentionReport, cx: &Context<'_>) {
    for holder in &report.held_by {
        cx.printer.warn(&format!("{holder} keeps events that retention would drop"));
    }
}
