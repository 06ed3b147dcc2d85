//! A stream of new events, as server-sent events.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use domain::{
    Cursor, Filter, StoredEvent,
    ports::{Order, StoreInfo},
};
use event_replay::app::walk::EventWalk;
use http::{HeaderMap, HeaderName};

use super::{events::cursor, filter};
use crate::{
    app::App,
    call::{Answer, Call},
    problem::Problem,
    query::bad,
    streaming::{Parts, server_sent},
};

/// Idle time after which a stream sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The header with the id of the last server-sent event that the client received.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Handles `GET /v1/events/stream`: sends matching events after a place. The default place is the head of the log.
pub(crate) async fn follow(call: Call) -> Answer {
    let wanted = filter::of_query(&call.query)?;
    let after = match last_id(call.headers()) {
        Some(id) => Some(cursor(id).map_err(|error| bad("Last-Event-ID", &error))?),
        None => call.query.read("after", cursor)?,
    };
    let info = call.app.store.info().await?;
    let seen = after.unwrap_or_else(|| info.head.clone());
    // The count refuses a foreign cursor, or a cursor that the log lost, before the stream begins.
    call.app.store.count(&Arc::new(Filter::default()), Some(&seen)).await?;
    let state = Following { app: call.app, wanted, opening: Some(opening(&seen, &info)), seen };
    server_sent(state)
}

pub(crate) fn last_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(LAST_EVENT_ID)?.to_str().ok().filter(|id| !id.is_empty())
}

/// Returns the first part of a stream: its id. It contains a `gone` event if retention removed events after the cursor.
fn opening(seen: &Cursor, info: &StoreInfo) -> Bytes {
    let is_gone =
        (0u16..).zip(&info.trimmed_through).any(|(partition, trimmed)| seen.sequence(partition) < *trimmed);
    let gone = match is_gone {
        true => {
            let trimmed = serde_json::json!({ "trimmedThrough": info.trimmed_through });
            format!("event: gone\ndata: {trimmed}\n\n")
        }
        false => String::new(),
    };
    format!(": follows\nid: {seen}\n\n{gone}").into()
}

/// The state of a running stream.
struct Following {
    app: Arc<App>,
    wanted: Filter,
    seen: Cursor,
    opening: Option<Bytes>,
}

impl Parts for Following {
    const NAME: &'static str = "events";

    /// Returns the next part of the stream, or `None` after the server begins to stop.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if let Some(opening) = self.opening.take() {
            return Ok(Some(opening));
        }
        if self.app.is_stopping() {
            return Ok(None);
        }
        let app = Arc::clone(&self.app);
        let head = tokio::select! {
            () = app.stopped() => return Ok(None),
            head = app.store.changed(&self.seen, HEARTBEAT) => head?,
        };
        if head == self.seen {
            return Ok(Some(Bytes::from_static(b": alive\n\n")));
        }
        self.page(head).await.map(Some)
    }
}

impl Following {
    /// Returns the next page, up to a head. Events that do not match advance the id, too.
    async fn page(&mut self, head: Cursor) -> Result<Bytes, Problem> {
        let mut walk = EventWalk::new(
            self.app.store.ports().clone(),
            self.wanted.clone(),
            Order::OldestFirst,
            Some(PAGE),
        )
        .after(Some(self.seen.clone()))
        .until(Some(head.clone()));
        let mut text = Vec::new();
        let mut at = self.seen.clone();
        while let Some(page) = walk.page().await? {
            for stored in &page.events {
                advance(&mut at, stored);
                write(stored, &at, &mut text);
            }
        }
        self.seen = walk.next_cursor().cloned().unwrap_or(head);
        if text.is_empty() {
            text = format!(": passed\nid: {}\n\n", self.seen).into_bytes();
        }
        Ok(text.into())
    }
}

/// Maximum number of events in one part.
const PAGE: u64 = 200;

/// Moves a cursor past an event. Within a partition, events arrive in order.
fn advance(at: &mut Cursor, stored: &StoredEvent) {
    if let Some(sequence) = at.sequences.get_mut(usize::from(stored.position.partition)) {
        *sequence = stored.position.sequence;
    }
}

fn write(stored: &StoredEvent, at: &Cursor, text: &mut Vec<u8>) {
    text.extend_from_slice(format!("id: {at}\nevent: event\ndata: ").as_bytes());
    targets::write_stored(stored, text);
    text.extend_from_slice(b"\n\n");
}
