//! Retention: what the settings say is dropped, after every append from the command line and by `trim`.

use domain::{RetentionRule, ports::CheckpointStore};
use replay::{Checkpoints, RetentionReport, retention};

use super::Context;
use crate::{
    errors::CliError,
    output::plural::count,
    store::{self, Stores},
};

/// Drops what the settings' rules name.
pub(super) async fn apply_settings(stores: &Stores, cx: &Context<'_>) -> Result<(), CliError> {
    if cx.settings.retention.is_empty() {
        return Ok(());
    }
    let report = apply(stores, &cx.settings.retention, false, cx).await?;
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

/// Drops what rules name, except what checkpoints hold.
pub(super) async fn apply(
    stores: &Stores,
    rules: &[RetentionRule],
    dry_run: bool,
    cx: &Context<'_>,
) -> Result<RetentionReport, CliError> {
    let keeper: std::sync::Arc<dyn CheckpointStore> = stores.checkpoints.clone();
    let checkpoints = Checkpoints::new(stores.events.clone(), keeper, store::clock());
    let bar = cx.printer.bar("trimming", None);
    let watch = |report: &RetentionReport| bar.at(report.events);
    let report = retention::apply(&stores.events, &checkpoints, rules, dry_run, Some(&watch)).await?;
    bar.clear();
    Ok(report)
}

/// Says who kept events that should have gone.
pub(super) fn warn_of_holds(report: &RetentionReport, cx: &Context<'_>) {
    for holder in &report.held_by {
        cx.printer.warn(&format!("{holder} keeps events that retention would drop"));
    }
}
