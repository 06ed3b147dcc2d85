//! Dead letters: deliveries that groups gave up on.

use std::sync::Arc;

use domain::{DeadLetter, DeadLetterState, ports::DeadLetterQuery};
use event_replay::{
    app::{
        dead_letters::{self, LetterPages, PAGE},
        documents::{DeadLetterDocument, DeadLetterList, DeadLetterPage},
    },
    text::name,
};

use super::filter::{self, DEFAULT_LIMIT};
use crate::{
    answer::{json, link_next, rows},
    call::{Answer, Call},
    problem::{Code, Problem},
    query::Query,
};

/// Returns the dead letter query for the parameters of a request.
fn query_of(query: &Query) -> Result<DeadLetterQuery, Problem> {
    Ok(DeadLetterQuery {
        group: query.read("group", name::group)?,
        fingerprints: query.all("fingerprint", name::name)?.into_iter().collect(),
        states: states(query)?,
        filter: Arc::new(filter::of_query(query)?),
        after: query.read("after", name::name)?,
        limit: PAGE,
    })
}

/// Returns the states in a query. The default is open and redriving.
fn states(query: &Query) -> Result<Vec<DeadLetterState>, Problem> {
    let named = query.all("state", |text| match text {
        "open" => Ok(Some(DeadLetterState::Open)),
        "redriving" => Ok(Some(DeadLetterState::Redriving)),
        "handled" => Ok(Some(DeadLetterState::Handled)),
        "discarded" => Ok(Some(DeadLetterState::Discarded)),
        "all" => Ok(None),
        _ => Err("it is one of open, redriving, handled, discarded, all".to_owned()),
    })?;
    match named.is_empty() {
        true => Ok(dead_letters::NOT_CLOSED.to_vec()),
        // `all` gives an empty list, which means every state.
        false => Ok(named.into_iter().collect::<Option<Vec<_>>>().unwrap_or_default()),
    }
}

/// Handles `GET /v1/dead-letters`: returns a page of dead letters, oldest first.
pub(crate) async fn list(call: Call) -> Answer {
    let query = query_of(&call.query)?;
    let limit = call.query.read("limit", filter::limit)?.unwrap_or(DEFAULT_LIMIT);
    let store = &call.app.store;
    dead_letters::check_group(store, query.group.as_deref()).await?;
    let mut pages = LetterPages::new(query, Some(limit));
    let mut found: Vec<DeadLetter> = vec![];
    while let Some(page) = pages.page(store).await? {
        found.extend(page);
    }
    let next = pages.next(store).await?;
    let documents = found.iter().map(DeadLetterDocument::of).collect::<Vec<_>>();
    if call.accepts("application/x-ndjson") {
        return rows(&documents, true);
    }
    let mut answer = json(&DeadLetterPage { dead_letters: documents, next_cursor: next.as_deref() })?;
    if let Some(next) = next {
        let path = format!("{}/v1/dead-letters", call.app.options.base_path);
        link_next(&mut answer, &path, call.parts.uri.query(), &next);
    }
    Ok(answer)
}

/// Handles `GET /v1/dead-letters/groups`: counts dead letters by fingerprint, highest count first.
pub(crate) async fn by_fingerprint(call: Call) -> Answer {
    let query = query_of(&call.query)?;
    let limit = call.query.read("limit", filter::limit)?.unwrap_or(DEFAULT_LIMIT);
    dead_letters::check_group(&call.app.store, query.group.as_deref()).await?;
    let mut alike = dead_letters::failure_groups(&call.app.store, query).await?;
    alike.truncate(limit as usize);
    rows(&alike, call.accepts("application/x-ndjson"))
}

/// Handles `GET /v1/dead-letters/{id}`: returns one dead letter.
pub(crate) async fn show(call: Call) -> Answer {
    let id = call.read_path("id", name::name)?;
    let found = call.app.store.dead_letters_by_id(std::slice::from_ref(&id)).await?;
    if found.is_empty() {
        return Err(Problem::new(Code::NotFound, format!("no dead letter has the id {id:?}"))
            .hint("GET /v1/dead-letters?state=all lists them; closed ones go after a month"));
    }
    json(&DeadLetterList { dead_letters: found.iter().map(DeadLetterDocument::of).collect() })
}
