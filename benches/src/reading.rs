//! What every store's rows of reading do: the same calls of the port.

use anyhow::{Context, Result, ensure};
use domain::{
    Filter,
    ports::{EventStore, ReadRequest},
};

/// Reads all that a filter matches, decoded, in pages of so many events; there must be so many in all.
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

/// Reads at most so many events of each correlation id, of which there must be some.
pub(crate) async fn look_up(store: &dyn EventStore, ids: &[&str], limit: usize) -> Result<()> {
    for id in ids {
        let page = store.read(&ReadRequest::new(Filter::correlation(*id), limit)).await?;
        page.events.first().context("a correlation id without events")?;
    }
    Ok(())
}
