//! The read calls that the rows of all stores share.

use anyhow::{Context, Result, ensure};
use domain::{
    Filter,
    ports::{EventStore, ReadRequest},
};

/// Reads and decodes all events that a filter matches, in pages of `page` events. There must be `count` events.
pub(crate) async fn scan(store: &dyn EventStore, filter: Filter, page: usize, count: u64) -> Result<()> {
    let mut request = ReadRequest::new(filter, page);
    let mut seen = 0;
    loop {
        let page = store.read(&request).await?;
        seen += page.events.len() as u64;
        match page.next {
            Some(next) => request.after = Some(next),
            None => break,
        }
    }
    ensure!(seen == count, "a scan saw {seen} of {count} events");
    Ok(())
}

/// Reads at most `limit` events of each correlation id. There must be at least one.
pub(crate) async fn look_up(store: &dyn EventStore, ids: &[&str], limit: usize) -> Result<()> {
    for id in ids {
        let page = store.read(&ReadRequest::new(Filter::correlation(*id), limit)).await?;
        page.events.first().context("a correlation id without events")?;
    }
    Ok(())
}
