//! Dead letters: which ones are meant, what they have in common, and closing them.

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

/// Dead letters read in one step.
pub const PAGE: usize = 200;

/// The states that are shown where nothing else is asked for: those that are not closed.
pub const NOT_CLOSED: [DeadLetterState; 2] = [DeadLetterState::Open, DeadLetterState::Redriving];

/// Which dead letters something is to be done with: those of these ids, those that a query names, or all.
#[derive(Debug, Clone, Default)]
pub struct LetterSelection {
    /// Their ids.
    pub ids: Vec<String>,
    /// Whether all are meant, should nothing else say which.
    pub all: bool,
    /// At most this many, the oldest first.
    pub limit: Option<u64>,
    /// What they have in common.
    pub query: DeadLetterQuery,
}

impl LetterSelection {
    /// The letters; `verb` says what is to be done with them.
    ///
    /// # Errors
    /// When it names them in two ways, or in none.
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

/// Goes through all letters of a query, a page at a time.
pub struct LetterPages {
    query: DeadLetterQuery,
    left: Option<u64>,
    done: bool,
}

impl LetterPages {
    /// At most `limit` letters.
    pub fn new(query: DeadLetterQuery, limit: Option<u64>) -> Self {
        Self { query, left: limit, done: false }
    }

    /// The next page; none at the end.
    ///
    /// # Errors
    /// When the store fails.
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

    /// Whether there are more after the limit was reached: where a later call goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn next(mut self, store: &StoreHandle) -> Result<Option<String>, AppError> {
        if self.done || self.left != Some(0) {
            return Ok(None);
        }
        self.query.limit = 1;
        let more = store.dead_letters(&self.query).await?;
        Ok(if more.is_empty() { None } else { self.query.after })
    }
}

/// Bytes that the beginning of an id has at least.
const SHORTEST_ID: usize = 6;
/// Bytes that it has at least where it is shown.
const SHOWN_ID: usize = 8;

/// Whole ids for ids of which some may be beginnings. An id that nothing begins with stays as it is.
///
/// # Errors
/// [`NotFound::OneDeadLetter`] where several letters begin with one; when the store fails.
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

/// For each letter the beginning of its id that tells it from all others, and that [`whole_ids`] takes.
///
/// # Errors
/// When the store fails.
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

/// The first two ids that begin with a text, in the order in which their letters were made.
async fn beginning_with(store: &StoreHandle, beginning: &str) -> Result<Vec<String>, AppError> {
    // Ids rise as letters are made: those that begin with a text come right after it.
    let query = DeadLetterQuery { after: Some(beginning.to_owned()), limit: 2, ..DeadLetterQuery::default() };
    let found = store.dead_letters(&query).await?;
    Ok(found.into_iter().map(|letter| letter.id).filter(|id| id.starts_with(beginning)).collect())
}

/// Refuses letters of a group that has none and does not exist: a misspelt name would else look as if all were well.
///
/// # Errors
/// [`InvalidRequest::LettersOfNoGroup`] where it is so; when the store fails.
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

/// Checks letters that are chosen, and gives them whole ids.
///
/// # Errors
/// As [`check_group`] and [`whole_ids`].
pub async fn check_chosen(store: &StoreHandle, letters: Letters) -> Result<Letters, AppError> {
    match letters {
        Letters::Ids(ids) => Ok(Letters::Ids(whole_ids(store, &ids).await?)),
        Letters::Matching(query) => {
            check_group(store, query.group.as_deref()).await?;
            Ok(Letters::Matching(query))
        }
    }
}

/// How many open letters are among those that are chosen.
///
/// # Errors
/// When the store fails.
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

/// Dead letters of a group that failed alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FailureGroup {
    /// Their fingerprint.
    pub fingerprint: String,
    /// Their group.
    pub group: String,
    /// The type of the first of them.
    pub event_type: String,
    /// How many there are.
    pub count: u64,
    /// What the newest failure said first.
    pub newest_error: String,
    /// When that was.
    pub newest_at: Timestamp,
    /// The letter of the newest failure.
    pub example: String,
}

/// The letters of a query by what they have in common, the most frequent first. Memory is bounded by how many ways to fail
/// there are, not by how many letters.
///
/// # Errors
/// When the store fails.
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
    // Stable: those of equal count stay in the order of group and fingerprint.
    all.sort_by_key(|alike| std::cmp::Reverse(alike.count));
    Ok(all)
}

/// What the last attempt of a letter said first.
pub fn newest_error(letter: &DeadLetter) -> &str {
    letter.last_failure().and_then(|failure| failure.errors.first()).map_or("", String::as_str)
}

/// What sends dead letters again, and closes them.
pub fn redriver(store: &StoreHandle) -> Redriver {
    Redriver::new(store.ports().clone(), store.ports().clone())
}

/// What is to be confirmed before letters are closed: how many a query names. None where they are named by their ids, or there
/// are none.
///
/// # Errors
/// When the store fails.
pub async fn confirmation(store: &StoreHandle, letters: &Letters) -> Result<Option<Confirmation>, AppError> {
    match letters {
        Letters::Ids(_) => Ok(None),
        Letters::Matching(_) => {
            let letters = count_open(store, letters).await?;
            Ok((letters > 0).then_some(Confirmation::DiscardLetters { letters }))
        }
    }
}

/// Closes letters unhandled, with a reason, and counts what was closed against what was dead-lettered.
///
/// # Errors
/// When the store fails.
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

/// Sends letters to their groups again; see [`Redriver::redrive`].
///
/// # Errors
/// As [`Redriver::redrive`].
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

/// Ids of letters that an entry of the audit names.
const MOST_IDS: usize = 100;

/// An action on letters. The filter of a query is left out, for it may name entities: what was done to which letter stands beside
/// each.
fn of_letters(name: &'static str, letters: &Letters) -> Action {
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

/// How many dead letters each group has that were discarded.
async fn discarded(store: &StoreHandle) -> Result<BTreeMap<String, u64>, AppError> {
    let counts = store.count_dead_letters().await?;
    let discarded = counts.into_iter().filter(|count| count.state == DeadLetterState::Discarded);
    Ok(discarded.map(|count| (count.group, count.count)).collect())
}
