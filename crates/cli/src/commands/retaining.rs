//! Retention from the command line: after commands that store events, and by `trim`.

use domain::RetentionRule;
use event_replay::{StoreHandle, app::retention};
use replay::RetentionReport;

use crate::{context::Context, errors::CliError, output::plural::count};

/// Applies the retention rules of the settings after events were stored. A failure is only a warning, because the
/// events are stored. The next command that stores events tries again.
pub(super) async fn apply_settings_after_storing(stores: &StoreHandle, cx: &Context<'_>) {
    if let Err(error) = apply_settings(stores, cx).await {
        let error = error.naming(&cx.settings.store);
        cx.printer.warn(&format!(
            "retention was not applied: {error}; what is reported as stored is stored, and the next `publish`, `import` \
             or `trim` applies it"
        ));
    }
}

/// Applies the retention rules of the settings, and prints the number of removed events.
async fn apply_settings(stores: &StoreHandle, cx: &Context<'_>) -> Result<(), CliError> {
    let rules = retention::rules(stores, &cx.settings).await?;
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

/// Applies rules, and shows the progress.
pub(super) async fn apply(
    stores: &StoreHandle,
    rules: &[RetentionRule],
    dry_run: bool,
    cx: &Context<'_>,
) -> Result<RetentionReport, CliError> {
    let bar = cx.printer.bar("trimming", None);
    let watch = |report: &RetentionReport| bar.at(report.events);
    let report = retention::apply(stores, &cx.settings, rules, dry_run, Some(&watch)).await?;
    bar.clear();
    Ok(report)
}

/// Applies rules at an operator's request, and shows the progress.
pub(super) async fn trim(
    stores: &StoreHandle,
    rules: &[RetentionRule],
    cx: &Context<'_>,
) -> Result<RetentionReport, CliError> {
    let bar = cx.printer.bar("trimming", None);
    let watch = |report: &RetentionReport| bar.at(report.events);
    let report = retention::trim(stores, &cx.actor, &cx.settings, rules, Some(&watch)).await?;
    bar.clear();
    Ok(report)
}

/// Warns about each holder of events that the rules would remove.
pub(super) fn warn_of_holds(report: &RetentionReport, cx: &Context<'_>) {
    for holder in &report.held_by {
        cx.printer.warn(&format!("{holder} keeps events that retention would drop"));
    }
}
