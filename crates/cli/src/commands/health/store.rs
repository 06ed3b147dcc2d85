//! Whether the store itself is as it should be.

use domain::{
    Filter, RetentionRule,
    ports::{Order, ReadRequest, StoreInfo},
};

use super::{
    check::{Check, Status},
    redis,
};
use crate::{
    commands::{Context, disk, validate_schemas},
    errors::CliError,
    output::plural::count,
    store::{self, Stores},
};

/// From this share of a bound on, what holds events back is worth a look, in percent.
pub(super) const RETENTION_WARNING: u64 = 70;

/// Checks the store.
pub(super) async fn checks(stores: &Stores, cx: &Context<'_>) -> Result<Vec<Check>, CliError> {
    let info = stores.events.info().await?;
    let divided = match info.head.sequences.len() {
        1 => String::new(),
        several => format!(" in {several} partitions"),
    };
    let reached = format!("{} answers and holds {}{divided}", cx.settings.store, count(info.events, "event"));
    let mut checks = vec![Check::new("store", Status::Pass, reached).observed(info.events, "events")];
    match &stores.redis {
        Some(redis) => checks.extend(redis::checks(redis).await?),
        None => {
            checks.push(writable(cx));
            checks.extend(disk_space(cx));
        }
    }
    checks.extend([schemas(stores, cx).await?, newest(stores).await?]);
    checks.extend(retention(stores, &info, cx).await?);
    Ok(checks)
}

/// Opening a file to write changes nothing in it.
fn writable(cx: &Context<'_>) -> Check {
    let opened = match cx.settings.store.path() {
        Some(path) => std::fs::OpenOptions::new().append(true).open(path).map(drop),
        None => Ok(()),
    };
    match opened {
        Ok(()) => Check::new("writable", Status::Pass, "this user may write to the store"),
        Err(error) => {
            let message = format!("this user can only read the store: {error}");
            Check::new("writable", Status::Warn, message)
        }
    }
}

/// What a file system does not tell is not checked.
fn disk_space(cx: &Context<'_>) -> Option<Check> {
    let path = cx.settings.store.path()?;
    let room = disk::room_for(path)?;
    let check = match room.is_short() {
        false => Check::new("disk-space", Status::Pass, room.to_string()),
        true => {
            let message = format!(
                "{room}: make room on that disk, or drop old events with `event-replay trim` and set \
                 retention.max_bytes"
            );
            Check::new("disk-space", Status::Warn, message)
        }
    };
    Some(check.observed(room.free, "bytes").threshold(room.wanted()))
}

async fn schemas(stores: &Stores, cx: &Context<'_>) -> Result<Check, CliError> {
    let records = stores.schemas.list_schemas().await?;
    let faults = validate_schemas::faults(cx.settings.engine, &records);
    Ok(match faults.first() {
        None => {
            Check::new("schemas", Status::Pass, format!("all schemas are sound, {} added", records.len()))
        }
        Some((event_type, _, error)) => {
            let message =
                format!("{} cannot be used; {event_type}: {error}", count(faults.len() as u64, "schema"));
            Check::new("schemas", Status::Fail, message)
        }
    }
    .observed(faults.len() as u64, "unsound schemas")
    .threshold(0))
}

/// For information: how old the newest event is depends on the business.
async fn newest(stores: &Stores) -> Result<Check, CliError> {
    let mut request = ReadRequest::new(Filter::default(), 1);
    request.order = Order::NewestFirst;
    let page = stores.events.read(&request).await?;
    Ok(match page.events.first() {
        None => Check::new("newest-event", Status::Pass, "no event is stored yet"),
        Some(stored) => {
            let age = store::clock().now().duration_since(stored.stored_at).as_secs().max(0);
            Check::new(
                "newest-event",
                Status::Pass,
                format!("the newest event was stored at {}", stored.stored_at),
            )
            .observed(age as u64, "seconds")
        }
    })
}

/// A bound that is reached is retention at work; one that is reached while a checkpoint holds events fills the disk.
async fn retention(stores: &Stores, info: &StoreInfo, cx: &Context<'_>) -> Result<Vec<Check>, CliError> {
    let checkpoints = stores.checkpoints.list_checkpoints().await?;
    let holders: Vec<&str> = checkpoints
        .iter()
        .filter(|checkpoint| checkpoint.hold)
        .map(|checkpoint| checkpoint.name.as_str())
        .collect();
    let whole = |rule: &&RetentionRule| rule.types.is_empty();
    let mut checks = vec![];
    for rule in cx.settings.retention.iter().filter(whole) {
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
