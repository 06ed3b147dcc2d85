//! Events: pages, streams of lines, and single events.

use axum::{
    body::{Body, Bytes},
    response::Response,
};
use domain::{Cursor, StoredEvent, ports::Order};
use event_replay::{
    app::{documents, trace, walk::EventWalk},
    text::name,
};
use futures_util::stream;
use http::{HeaderValue, StatusCode};

use super::filter::{self, DEFAULT_LIMIT};
use crate::{
    answer::{DAMAGED, json, link_next, raw},
    app::App,
    call::{Answer, Call},
    cloudevents::{self, Mode},
    problem::{Code, Problem},
    query::Parameter,
    shape::Shape,
};

/// The query parameter that selects the CloudEvents mode of one event.
pub(crate) const CLOUDEVENT: Parameter = Parameter::new(
    "cloudevent",
    Shape::Word(&["structured", "binary"]),
    "structured or binary: answer with the event as a CloudEvent in this mode.",
);

/// Handles `GET /v1/events`: returns a page, newest first by default. With NDJSON it returns all matching events.
pub(crate) async fn list(call: Call) -> Answer {
    let wanted = filter::of_query(&call.query)?;
    let order = call.query.choice("order", &[("asc", Order::OldestFirst), ("desc", Order::NewestFirst)])?;
    let order = order.unwrap_or(Order::NewestFirst);
    let after = call.query.read("after", cursor)?;
    let limit = call.query.read("limit", filter::limit)?;
    let bounds = filter::bounds_of_query(&call.query)?.resolve(&call.app.store).await?;
    let walk = |limit| EventWalk::new(call.app.store.ports().clone(), wanted, order, limit).after(after);
    if call.accepts("application/x-ndjson") {
        // The end is fixed here, so that a download from a busy store ends.
        let head = call.app.store.head().await?;
        return lines(walk(limit).until(Some(head)).within(&bounds)).await;
    }
    let path = format!("{}/v1/events", call.app.options.base_path);
    let query = call.parts.uri.query().map(str::to_owned);
    let walk = walk(Some(limit.unwrap_or(DEFAULT_LIMIT))).within(&bounds);
    match call.accepts(cloudevents::BATCH) {
        true => batch(walk, &path, query.as_deref()).await,
        false => page(walk, &path, query.as_deref()).await,
    }
}

/// Returns a page of events with the cursor of the next page. `path` and `query` belong to the request.
pub(super) async fn page(mut walk: EventWalk, path: &str, query: Option<&str>) -> Answer {
    let mut text = Vec::new();
    let mut written = 0u64;
    while let Some(page) = walk.page().await? {
        for stored in &page.events {
            text.extend_from_slice(documents::event_page_separator(written == 0));
            targets::write_stored(stored, &mut text);
            written += 1;
        }
    }
    text.extend_from_slice(documents::event_page_end(written == 0, walk.next_cursor()).as_bytes());
    Ok(of_page(&walk, path, query, raw(StatusCode::OK, "application/json", text)))
}

/// Returns a page of CloudEvents. The `Link` header names the next page.
async fn batch(mut walk: EventWalk, path: &str, query: Option<&str>) -> Answer {
    let mut events = Vec::new();
    while let Some(page) = walk.page().await? {
        events.extend(page.events);
    }
    let text = cloudevents::batch(&events)?;
    Ok(of_page(&walk, path, query, raw(StatusCode::OK, cloudevents::BATCH, text)))
}

/// Adds the headers of a page to a response.
fn of_page(walk: &EventWalk, path: &str, query: Option<&str>, mut answer: Response) -> Response {
    if let Some(next) = walk.next_cursor() {
        link_next(&mut answer, path, query, &next.to_string());
    }
    if walk.corrupt() > 0 {
        answer.headers_mut().insert(DAMAGED, HeaderValue::from(walk.corrupt()));
    }
    answer
}

pub(crate) fn cursor(text: &str) -> Result<Cursor, String> {
    text.parse().map_err(|error: domain::position::CursorError| error.to_string())
}

/// Streams all matching events, one per line. If the walk fails later, the connection is cut. The client then knows
/// that the response is incomplete.
async fn lines(mut walk: EventWalk) -> Answer {
    let first = chunk(&mut walk).await?;
    let chunks = stream::unfold(Some((walk, first)), |state| async move {
        let (mut walk, ready) = state?;
        let ready = ready?;
        match chunk(&mut walk).await {
            Ok(next) => Some((Ok(ready), Some((walk, next)))),
            Err(problem) => {
                tracing::warn!(?problem, "a stream of events was cut");
                Some((Err(std::io::Error::other("the store failed")), None))
            }
        }
    });
    Ok(raw(StatusCode::OK, "application/x-ndjson", Body::from_stream(chunks)))
}

/// Returns the lines of the next page, or `None` at the end.
async fn chunk(walk: &mut EventWalk) -> Result<Option<Bytes>, Problem> {
    let Some(page) = walk.page().await? else { return Ok(None) };
    let mut lines = Vec::new();
    for stored in &page.events {
        targets::write_stored(stored, &mut lines);
        lines.push(b'\n');
    }
    Ok(Some(lines.into()))
}

/// Handles `GET /v1/events/{id}`: returns one event.
pub(crate) async fn show(call: Call) -> Answer {
    let found = find(&call.app, call.read_path("id", name::name)?).await?;
    let forms = [("structured", Mode::Structured), ("binary", Mode::Binary)];
    let accepted = call.accepts(cloudevents::STRUCTURED).then_some(Mode::Structured);
    match (call.query.choice(CLOUDEVENT.name, &forms)?.or(accepted), found.first()) {
        (Some(Mode::Binary), Some(stored)) => return cloudevents::binary_of(stored),
        (Some(_), Some(stored)) => return cloudevents::structured_of(stored),
        _ => {}
    }
    let facts = trace::facts(&call.app.store, &found).await?;
    Ok(raw(StatusCode::OK, "application/json", documents::event_list(&found, &facts)))
}

/// Returns the event with an id, in a list of one.
async fn find(app: &App, id: String) -> Result<Vec<StoredEvent>, Problem> {
    let found = app.store.get(std::slice::from_ref(&id)).await?;
    match found.is_empty() {
        false => Ok(found),
        true => Err(Problem::new(Code::NotFound, format!("no event has the id {id:?}"))
            .hint("ids are compared byte for byte; an event that was erased or trimmed is not found either")),
    }
}

/// Handles `GET /v1/events/{id}/deliveries`: returns the state of an event in each group, without the content of the
/// event.
pub(crate) async fn deliveries(call: Call) -> Answer {
    let found = find(&call.app, call.read_path("id", name::name)?).await?;
    let facts = trace::facts(&call.app.store, &found).await?;
    let facts = facts.first().ok_or_else(|| Problem::new(Code::NotFound, "the event was just removed"))?;
    json(facts)
}
