//! Dead letters: how to select them, group them by failure, and discard them.

use std::collections::{BTreeMap, BTreeSet};

use domain::{DeadLetter, DeadLetterState, ports::DeadLetterQuery, stats::DEAD_LETTERS_CLOSED};
use jiff::Timestamp;
use replay::{
    Cancel,
    redrive::{DiscardReport, Letters, RedriveReport, RedriveWatcher, Redriver},
};
use serde::Serialize;

use super::{
    audit::{Action, Actor, audited, facts},
    confirmation::Confirmation,
    counting,
    error::{AppError, InvalidRequest, NotFound},
    prefix,
};
use crate::handle::StoreHandle;

/// Dead letters per read.
pub const PAGE: usize = 200;

/// The states that a list shows by default: all states that are not closed.
pub const NOT_CLOSED: [DeadLetterState; 2] = [DeadLetterState::Open, DeadLetterState::Redriving];

/// A selection of dead letters: by ids, by a query, or all.
#[derive(Debug, Clone, Default)]
pub struct LetterSelection {
    /// The ids of the dead letters.
    pub ids: Vec<String>,
    /// Whether all dead letters are selected if no other member selects.
    pub all: bool,
    /// The largest number of dead letters. The oldest come first.
    pub limit: Option<u64>,
    /// The query that the dead letters match.
    pub query: DeadLetterQuery,
}

impl LetterSelection {
    /// Returns the selected dead letters. `verb` names the operation in an error message.
    ///
    /// # Errors
    /// Returns [`InvalidRequest`] when the selection has both ids and a query, or neither.
    pub fn resolve(self, verb: &'static str) -> Result<Letters, InvalidRequest> {
        let Self { ids, all, limit, mut query } = self;
        let says_which =
            query.group.is_some() || !query.fingerprints.is_empty() || !query.filter.is_everything();
        if !ids.is_empty() {
            return match says_which || all || limit.is_some() {
                true => Err(InvalidRequest::LettersNamedTwice),
                false => Ok(Letters::Ids(ids)),
            };
        }
        if !says_which && !all {
            return Err(InvalidRequest::NoLetters { verb });
        }
        query.limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(Letters::Matching(query))
    }
}

/// Reads all dead letters of a query, page by page.
pub struct LetterPages {
    query: DeadLetterQuery,
    left: Option<u64>,
    done: bool,
}

impl LetterPages {
    /// Starts the read of at most `limit` dead letters.
    pub fn new(query: DeadLetterQuery, limit: Option<u64>) -> Self {
        Self { query, left: limit, done: false }
    }

    /// Returns the next page, or `None` at the end.
    ///
    /// # Errors
    /// Returns [`AppError`] when the store fails.
    pub async fn page(&mut self, store: &StoreHandle) -> Result<Option<Vec<DeadLetter>>, AppError> {
        if self.done || self.left == Some(0) {
            return Ok(None);
        }
        self.query.limit = self.left.map_or(PAGE, |left| left.min(PAGE as u64) as usize);
        let page = store.dead_letters(&self.query).await?;
        let Some(last) = page.last() else {
            self.done = true;
            return Ok(None);
        };
        self.query.after = Some(last.id.clone());
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(page.len() as u64);
        }
        Ok(Some(page))
    }

    /// Returns the id after which a later call continues, if dead letters remain after the limit. Returns `None` if
    /// none remain.
    ///
    /// # Errors
    /// Returns [`AppError`] when the store fails.
    pub async fn next(mut self, store: &StoreHandle) -> Result<Option<String>, AppError> {
        if self.done || self.left != Some(0) {
            return Ok(None);
        }
        self.query.limit = 1;
        let more = store.dead_letters(&self.query).await?;
        Ok(if more.is_empty() { None } else { self.query.after })
    }
}

/// The smallest length, in bytes, of a prefix of an id.
const SHORTEST_ID: usize = 6;
/// The smallest length, in bytes, of a prefix that is shown.
const SHOWN_ID: usize = 8;

/// Completes prefixes of ids to whole ids. An id without a match stays as it is.
///
/// # Errors
/// Returns [`NotFound::OneDeadLetter`] when several dead letters have the prefix. Returns another [`AppError`] when the
/// store fails.
pub async fn whole_ids(store: &StoreHandle, ids: &[String]) -> Result<Vec<String>, AppError> {
    let known = store.dead_letters_by_id(ids).await?;
    let mut whole = Vec::with_capacity(ids.len());
    for id in ids {
        if known.iter().any(|letter| letter.id == *id) || id.len() < SHORTEST_ID {
            whole.push(id.clone());
            continue;
        }
        let mut found = beginning_with(store, id).await?.into_iter();
        match (found.next(), found.next()) {
            (None, _) => whole.push(id.clone()),
            (Some(one), None) => whole.push(one),
            (Some(_), Some(_)) => return Err(NotFound::OneDeadLetter { beginning: id.clone() }.into()),
        }
    }
    Ok(whole)
}

/// Returns for each dead letter the unique prefix of its id, in a form that [`whole_ids`] accepts.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn prefixes(store: &StoreHandle, letters: &[DeadLetter]) -> Result<Vec<String>, AppError> {
    let shown: Vec<&str> = letters.iter().map(|letter| letter.id.as_str()).collect();
    let mut prefixes = Vec::with_capacity(shown.len());
    for id in &shown {
        let mut beginning = prefix::unique(id, shown.iter().copied(), SHOWN_ID);
        loop {
            let others = beginning_with(store, &beginning).await?;
            let longer = prefix::unique(id, others.iter().map(String::as_str), beginning.len());
            if longer.len() <= beginning.len() {
                break;
            }
            beginning = longer;
        }
        prefixes.push(beginning);
    }
    Ok(prefixes)
}

/// Returns the first two ids with a prefix, in the order of their creation.
async fn beginning_with(store: &StoreHandle, beginning: &str) -> Result<Vec<String>, AppError> {
    // Ids rise in the order of creation, so the ids with a prefix directly follow the prefix.
    let query = DeadLetterQuery { after: Some(beginning.to_owned()), limit: 2, ..DeadLetterQuery::default() };
    let found = store.dead_letters(&query).await?;
    Ok(found.into_iter().map(|letter| letter.id).filter(|id| id.starts_with(beginning)).collect())
}

/// Returns an error for a group that does not exist and has no dead letters. Without this check, a misspelt name would
/// look like a group without failures.
///
/// # Errors
/// Returns [`InvalidRequest::LettersOfNoGroup`] in this case. Returns another [`AppError`] when the store fails.
pub async fn check_group(store: &StoreHandle, group: Option<&str>) -> Result<(), AppError> {
    let Some(group) = group else { return Ok(()) };
    if store.group(group).await?.is_some() {
        return Ok(());
    }
    let mut known: BTreeSet<String> =
        store.groups().await?.into_iter().map(|record| record.spec.name).collect();
    known.extend(store.count_dead_letters().await?.into_iter().map(|count| count.group));
    if known.contains(group) {
        return Ok(());
    }
    let (group, known) = (group.to_owned(), known.into_iter().collect());
    Err(InvalidRequest::LettersOfNoGroup { group, known }.into())
}

/// Checks a selection of dead letters and completes its ids.
///
/// # Errors
/// The same errors as [`check_group`] and [`whole_ids`].
pub async fn check_chosen(store: &StoreHandle, letters: Letters) -> Result<Letters, AppError> {
    match letters {
        Letters::Ids(ids) => Ok(Letters::Ids(whole_ids(store, &ids).await?)),
        Letters::Matching(query) => {
            check_group(store, query.group.as_deref()).await?;
            Ok(Letters::Matching(query))
        }
    }
}

/// Returns the number of open dead letters in the selection.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn count_open(store: &StoreHandle, letters: &Letters) -> Result<u64, AppError> {
    match letters {
        Letters::Ids(ids) => {
            let found = store.dead_letters_by_id(ids).await?;
            Ok(found.iter().filter(|letter| letter.state == DeadLetterState::Open).count() as u64)
        }
        Letters::Matching(query) => {
            let mut pages = LetterPages::new(query.clone(), Some(query.limit as u64));
            let mut found = 0;
            while let Some(page) = pages.page(store).await? {
                found += page.len() as u64;
            }
            Ok(found)
        }
    }
}

/// Dead letters of a consumer group with similar failures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureGroup {
    /// The fingerprint of the failures.
    pub fingerprint: String,
    /// The consumer group.
    pub group: String,
    /// The event type of the first dead letter.
    pub event_type: String,
    /// The number of dead letters.
    pub count: u64,
    /// The first error of the newest failure.
    pub newest_error: String,
    /// The time of the newest failure.
    pub newest_at: Timestamp,
    /// The id of the dead letter with the newest failure.
    pub example: String,
}

/// Groups the dead letters of a query by consumer group and fingerprint, most frequent first. Memory is bounded by the
/// number of different failures, not by the number of dead letters.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn failure_groups(
    store: &StoreHandle,
    query: DeadLetterQuery,
) -> Result<Vec<FailureGroup>, AppError> {
    let mut pages = LetterPages::new(query, None);
    let mut found: BTreeMap<(String, String), FailureGroup> = BTreeMap::new();
    while let Some(page) = pages.page(store).await? {
        for letter in page {
            let newest_at = letter.last_failure().map_or(letter.updated_at, |failure| failure.at);
            let key = (letter.group.clone(), letter.fingerprint.clone());
            let entry = found.entry(key).or_insert_with(|| FailureGroup {
                fingerprint: letter.fingerprint.clone(),
                group: letter.group.clone(),
                event_type: letter.event.event_type().to_owned(),
                count: 0,
                newest_error: String::new(),
                newest_at: Timestamp::MIN,
                example: letter.id.clone(),
            });
            entry.count += 1;
            if newest_at >= entry.newest_at {
                entry.newest_at = newest_at;
                entry.newest_error = newest_error(&letter).to_owned();
                entry.example = letter.id;
            }
        }
    }
    let mut all: Vec<FailureGroup> = found.into_values().collect();
    // The sort is stable: entries with equal counts keep the order of group and fingerprint.
    all.sort_by_key(|alike| std::cmp::Reverse(alike.count));
    Ok(all)
}

/// Returns the first error of the last failure of a dead letter.
pub fn newest_error(letter: &DeadLetter) -> &str {
    letter.last_failure().and_then(|failure| failure.errors.first()).map_or("", String::as_str)
}

/// Returns the functions that redrive and discard dead letters.
pub fn redriver(store: &StoreHandle) -> Redriver {
    Redriver::new(store.ports().clone(), store.ports().clone())
}

/// Returns the confirmation that a discard needs, with the number of dead letters of the query. Returns `None` for a
/// selection by ids, and for an empty selection.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn confirmation(store: &StoreHandle, letters: &Letters) -> Result<Option<Confirmation>, AppError> {
    match letters {
        Letters::Ids(_) => Ok(None),
        Letters::Matching(_) => {
            let letters = count_open(store, letters).await?;
            Ok((letters > 0).then_some(Confirmation::DiscardLetters { letters }))
        }
    }
}

/// Discards dead letters with a reason, and counts them in the counter of closed dead letters.
///
/// # Errors
/// Returns [`AppError`] when the store fails.
pub async fn discard(
    store: &StoreHandle,
    by: &Actor,
    letters: Letters,
    reason: &str,
) -> Result<DiscardReport, AppError> {
    let by = Actor { reason: Some(reason.to_owned()), ..by.clone() };
    let action = of_letters("dead-letters discard", &letters);
    let outcome = |report: &DiscardReport| {
        facts([
            ("requested", report.requested.into()),
            ("discarded", report.discarded.into()),
            ("unchanged", report.unchanged.into()),
            ("unknown", report.unknown.into()),
        ])
    };
    audited(store, &by, action, close(store, letters, reason), outcome).await
}

/// Redrives dead letters to their groups; see [`Redriver::redrive`].
///
/// # Errors
/// The same errors as [`Redriver::redrive`].
pub async fn redrive(
    store: &StoreHandle,
    by: &Actor,
    letters: Letters,
    wait: bool,
    watcher: &dyn RedriveWatcher,
    cancel: &Cancel,
) -> Result<RedriveReport, AppError> {
    let action = of_letters("dead-letters redrive", &letters);
    let outcome = |report: &RedriveReport| {
        facts([
            ("requested", report.requested.into()),
            ("handled", report.handled.into()),
            ("failedAgain", report.failed_again.into()),
            ("unchanged", report.unchanged.into()),
            ("unknown", report.unknown.into()),
            ("noGroup", report.no_group.into()),
            ("remaining", report.remaining.into()),
        ])
    };
    let redriver = redriver(store);
    let redriving = async { redriver.redrive(letters, wait, watcher, cancel).await.map_err(AppError::from) };
    audited(store, by, action, redriving, outcome).await
}

/// The largest number of ids in one entry of the audit.
const MOST_IDS: usize = 100;

/// Returns the audited action on dead letters. The filter of a query is left out, because it may name entities. Each
/// dead letter has its own record of the change.
pub(super) fn of_letters(name: &'static str, letters: &Letters) -> Action {
    match letters {
        Letters::Ids(ids) => {
            let named: Vec<String> = ids.iter().take(MOST_IDS).cloned().collect();
            Action::new(name).with("ids", named).with("named", ids.len())
        }
        Letters::Matching(query) => {
            let action = Action::new(name).with("fingerprints", Vec::from_iter(query.fingerprints.clone()));
            match &query.group {
                Some(group) => action.to(group),
                None => action,
            }
        }
    }
}

async fn close(store: &StoreHandle, letters: Letters, reason: &str) -> Result<DiscardReport, AppError> {
    let before = discarded(store).await?;
    let report = redriver(store).discard(letters, reason).await?;
    let meter = counting::meter();
    for (group, after) in discarded(store).await? {
        let closed = after.saturating_sub(before.get(&group).copied().unwrap_or(0));
        if closed > 0 {
            meter.count(DEAD_LETTERS_CLOSED, &group, closed);
        }
    }
    counting::keep(&meter, store).await;
    Ok(report)
}

/// Returns the number of discarded dead letters of each group.
async fn discarded(store: &StoreHandle) -> Result<BTreeMap<String, u64>, AppError> {
    let counts = store.count_dead_letters().await?;
    let discarded = counts.into_iter().filter(|count| count.state == DeadLetterState::Discarded);
    Ok(discarded.map(|count| (count.group, count.count)).collect())
}
