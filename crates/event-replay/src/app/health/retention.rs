//! Whether held events prevent retention from meeting its bounds.

use domain::{RetentionRule, ports::StoreInfo};

use crate::{
    app::error::AppError,
    check::{Check, Status},
    handle::StoreHandle,
    settings::Settings,
};

/// The percentage of a bound from which the check warns.
pub(super) const RETENTION_WARNING: u64 = 70;

/// At its bound, retention removes events, which is normal. If a checkpoint holds the events, the disk fills.
pub(super) async fn checks(
    store: &StoreHandle,
    info: &StoreInfo,
    settings: &Settings,
) -> Result<Vec<Check>, AppError> {
    let checkpoints = store.list_checkpoints().await?;
    let holders: Vec<&str> = checkpoints
        .iter()
        .filter(|checkpoint| checkpoint.hold)
        .map(|checkpoint| checkpoint.name.as_str())
        .collect();
    let whole = |rule: &&RetentionRule| rule.types.is_empty();
    let mut checks = vec![];
    for rule in settings.retention.iter().filter(whole) {
        let bounds = [(rule.max_events, info.events, "events"), (rule.max_bytes, info.bytes, "bytes")];
        for (bound, present, unit) in bounds {
            let Some(bound) = bound else { continue };
            let share =
                (u128::from(present) * 100 / u128::from(bound.max(1))).min(u128::from(u64::MAX)) as u64;
            let said = format!("{present} of {bound} {unit}");
            let check = match holders.is_empty() || share < RETENTION_WARNING {
                true => Check::new("retention", Status::Pass, said),
                false => {
                    let names = holders.join(", ");
                    let message = format!("{said}, and checkpoints hold events back: {names}");
                    Check::new("retention", Status::Warn, message)
                }
            };
            checks.push(check.observed(share, "percent").threshold(RETENTION_WARNING));
        }
    }
    Ok(checks)
}
