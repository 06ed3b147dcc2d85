//! The state of the store itself.

use domain::{
    Filter,
    ports::{EventStoreError, Order, ReadRequest},
    time::until,
};

use super::{disk, retention};
use crate::{
    adapters::{self, Adapter},
    app::{
        error::AppError,
        schemas::{self, SchemaFault},
        store::clock,
    },
    check::{Check, Status},
    handle::StoreHandle,
    settings::Settings,
    text::{plural::count, time},
};

/// Checks the store.
pub(super) async fn checks(store: &StoreHandle, settings: &Settings) -> Result<Vec<Check>, AppError> {
    let info = store.info().await?;
    let divided = match info.head.sequences.len() {
        1 => String::new(),
        several => format!(" in {several} partitions"),
    };
    let reached = format!("{} answers and holds {}{divided}", settings.store, count(info.events, "event"));
    let mut checks = vec![Check::new("store", Status::Pass, reached).observed(info.events, "events")];
    match store.adapter() {
        Adapter::Redis(server) => {
            checks.extend(adapters::redis::checks(server).await.map_err(EventStoreError::from)?);
        }
        Adapter::Sqlite(_) | Adapter::Memory => {
            checks.push(writable(settings));
            checks.extend(disk_space(settings));
        }
    }
    checks.extend([of_schemas(store, settings).await?, newest(store).await?]);
    checks.extend(retention::checks(store, &info, settings).await?);
    Ok(checks)
}

/// Opens the file for writing, which changes nothing in it.
fn writable(settings: &Settings) -> Check {
    let opened = match settings.store.path() {
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

/// The check is left out if the file system does not report its free space.
fn disk_space(settings: &Settings) -> Option<Check> {
    let path = settings.store.path()?;
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

async fn of_schemas(store: &StoreHandle, settings: &Settings) -> Result<Check, AppError> {
    let records = store.list_schemas().await?;
    let faults = schemas::faults(settings.engine, &records);
    Ok(match faults.first() {
        None => {
            Check::new("schemas", Status::Pass, format!("all schemas are valid, {} added", records.len()))
        }
        Some(SchemaFault { event_type, error, .. }) => {
            let message =
                format!("{} cannot be used; {event_type}: {error}", count(faults.len() as u64, "schema"));
            Check::new("schemas", Status::Fail, message)
        }
    }
    .observed(faults.len() as u64, "invalid schemas")
    .threshold(0))
}

/// For information only: the normal age of the newest event depends on the business.
async fn newest(store: &StoreHandle) -> Result<Check, AppError> {
    let mut request = ReadRequest::new(Filter::default(), 1);
    request.order = Order::NewestFirst;
    let page = store.read(&request).await?;
    Ok(match page.events.first() {
        None => Check::new("newest-event", Status::Pass, "no event is stored yet"),
        Some(stored) => {
            let age = until(stored.stored_at, clock().now()).as_secs();
            Check::new(
                "newest-event",
                Status::Pass,
                format!("the newest event was stored at {}", time::to_milliseconds(stored.stored_at)),
            )
            .observed(age, "seconds")
        }
    })
}
