//! Redrives and discards dead letters.
//!
//! # Design
//! Dead letters are changed one page at a time, and the number in flight is limited. So the use of memory does not
//! depend on the number of dead letters. A dead letter that fails again is open again and keeps its place in the list,
//! before the next page. So one redrive sends each dead letter once.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use domain::{
    DeadLetter, DeadLetterState,
    ports::{DeadLetterChange, DeadLetterQuery, DeadLetterStore, GroupStore},
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{backoff::repeated, cancel::Cancel, error::ReplayError};

/// The most dead letters in flight, if the caller waits for them.
const MOST_PENDING: usize = 2_000;
/// The most dead letters in one read or change. Each is read with its event.
const PAGE: usize = 100;
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(250);

/// A selection of dead letters.
#[derive(Debug, Clone)]
pub enum Letters {
    /// The dead letters with these ids.
    Ids(Vec<String>),
    /// The dead letters that match. The query's limit is the most dead letters to take. The caller chooses the states.
    Matching(DeadLetterQuery),
}

impl Letters {
    /// Refuses a query that can match nothing, because its result would look like success.
    fn check(&self) -> Result<(), ReplayError> {
        match self {
            Self::Matching(query) if query.limit == 0 => Err(ReplayError::InvalidOption(
                "a query for dead letters has a limit of at least 1".to_owned(),
            )),
            Self::Ids(_) | Self::Matching(_) => Ok(()),
        }
    }
}

/// A dead letter that failed again after its redrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedriveError {
    /// The dead letter.
    pub dead_letter_id: String,
    /// The event of the dead letter.
    pub event_id: String,
    /// The error of the last attempt.
    pub error: String,
}

/// The report of a redrive. Handled, failed again, unchanged, unknown, without a group and remaining add up to the
/// requested number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedriveReport {
    /// Dead letters that were named, or that matched.
    pub requested: u64,
    /// Dead letters with a handled event.
    pub handled: u64,
    /// Dead letters with an event that was given up on again. They are open again.
    pub failed_again: u64,
    /// Dead letters that were already in flight, or closed.
    pub unchanged: u64,
    /// Dead letters that do not exist, or were erased meanwhile.
    pub unknown: u64,
    /// Dead letters of a deleted group. They can only be discarded.
    pub no_group: u64,
    /// Dead letters that are still in flight, because the caller did not wait for them.
    pub remaining: u64,
    /// The first 1,000 errors of events that failed again.
    pub errors: Vec<RedriveError>,
    /// Whether more events failed again than `errors` names.
    pub errors_truncated: bool,
    /// Groups of the dead letters that have no consumer now. The user must start a consumer for each.
    pub groups_without_consumers: Vec<String>,
}

impl RedriveReport {
    /// The most errors in a report.
    pub const MAX_ERRORS: usize = 1000;

    fn failed(&mut self, letter: &DeadLetter) {
        self.failed_again += 1;
        if self.errors.len() >= Self::MAX_ERRORS {
            self.errors_truncated = true;
            return;
        }
        let error = letter.last_failure().map(|failure| failure.errors.join(": ")).unwrap_or_default();
        let (dead_letter_id, event_id) = (letter.id.clone(), letter.event.id().to_owned());
        self.errors.push(RedriveError { dead_letter_id, event_id, error });
    }
}

/// The report of a discard. Discarded, unchanged and unknown add up to the requested number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscardReport {
    /// Dead letters that were named, or that matched.
    pub requested: u64,
    /// Dead letters that were closed.
    pub discarded: u64,
    /// Dead letters that were in flight to their consumer, or already closed.
    pub unchanged: u64,
    /// Dead letters that do not exist.
    pub unknown: u64,
}

/// Receives the progress of a redrive. `remaining` is the number of dead letters in flight. Every `Fn(&RedriveReport)`
/// implements it.
pub trait RedriveWatcher: Send + Sync {
    /// Receives the report after a change.
    fn progressed(&self, report: &RedriveReport);
}

impl<F: Fn(&RedriveReport) + Send + Sync> RedriveWatcher for F {
    fn progressed(&self, report: &RedriveReport) {
        self(report);
    }
}

/// Ignores the progress.
impl RedriveWatcher for () {
    fn progressed(&self, _: &RedriveReport) {}
}

/// Redrives and discards dead letters.
#[derive(Clone)]
pub struct Redriver {
    letters: Arc<dyn DeadLetterStore>,
    groups: Arc<dyn GroupStore>,
}

impl fmt::Debug for Redriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redriver").finish_non_exhaustive()
    }
}

impl Redriver {
    /// Creates a redriver of the dead letters in these stores.
    pub fn new(letters: Arc<dyn DeadLetterStore>, groups: Arc<dyn GroupStore>) -> Self {
        Self { letters, groups }
    }

    /// Redrives dead letters. With `wait` it returns when each of them was handled or has failed again, or after a
    /// cancellation. Without `wait` it returns when all are in flight. A cancellation takes nothing back. The dead
    /// letters in flight stay in flight, and count as remaining.
    ///
    /// # Errors
    /// Returns an error when the limit is 0, or when the store fails. The dead letters sent before the failure are in
    /// flight. A repeated call does not send them again.
    pub async fn redrive(
        &self,
        letters: Letters,
        wait: bool,
        watcher: &dyn RedriveWatcher,
        cancel: &Cancel,
    ) -> Result<RedriveReport, ReplayError> {
        letters.check()?;
        Redrive {
            redriver: self,
            watcher,
            wait,
            report: RedriveReport::default(),
            pending: Vec::new(),
            groups: BTreeSet::new(),
        }
        .run(Source::new(letters), cancel)
        .await
    }

    /// Closes dead letters that are not to be handled. A key that was parked behind a dead letter continues.
    ///
    /// # Errors
    /// Returns an error when the reason is empty, when the limit is 0, or when the store fails. The dead letters closed
    /// before the failure stay closed.
    pub async fn discard(&self, letters: Letters, reason: &str) -> Result<DiscardReport, ReplayError> {
        if reason.trim().is_empty() {
            return Err(ReplayError::InvalidOption("say why the dead letters are discarded".to_owned()));
        }
        letters.check()?;
        let mut report = DiscardReport::default();
        let mut source = Source::new(letters);
        while let Some((ids, _)) = source.next(&*self.letters).await? {
            report.requested += ids.len() as u64;
            for change in repeated(|| self.letters.discard(&ids, reason)).await? {
                match change {
                    DeadLetterChange::Done => report.discarded += 1,
                    DeadLetterChange::Unknown => report.unknown += 1,
                    DeadLetterChange::Unchanged(_) | DeadLetterChange::NoGroup => report.unchanged += 1,
                }
            }
        }
        Ok(report)
    }

    /// Returns those of these groups that exist and have no consumer.
    ///
    /// # Errors
    /// Returns an error when the store fails.
    pub async fn without_consumers<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<String>, ReplayError> {
        without_consumers(&*self.groups, names).await
    }
}

/// Returns those of these groups that exist and have no consumer.
pub(crate) async fn without_consumers<'a>(
    groups: &dyn GroupStore,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<String>, ReplayError> {
    let mut without = Vec::new();
    for name in names {
        let status = repeated(|| groups.group(name)).await?;
        if status.is_some_and(|status| status.consumers.is_empty()) {
            without.push(name.to_owned());
        }
    }
    Ok(without)
}

/// The ids of the selected dead letters, one page at a time, with the groups of these dead letters.
enum Source {
    Ids(std::vec::IntoIter<String>),
    Matching { query: DeadLetterQuery, left: usize },
}

impl Source {
    fn new(letters: Letters) -> Self {
        match letters {
            Letters::Ids(ids) => {
                // An id that is named twice is one dead letter.
                let mut seen = BTreeSet::new();
                let unique: Vec<String> = ids.into_iter().filter(|id| seen.insert(id.clone())).collect();
                Self::Ids(unique.into_iter())
            }
            Letters::Matching(query) => Self::Matching { left: query.limit, query },
        }
    }

    async fn next(
        &mut self,
        letters: &dyn DeadLetterStore,
    ) -> Result<Option<(Vec<String>, BTreeSet<String>)>, ReplayError> {
        let (ids, groups): (Vec<String>, BTreeSet<String>) = match self {
            Self::Ids(ids) => {
                let ids: Vec<String> = ids.take(PAGE).collect();
                let known = repeated(|| letters.dead_letters_by_id(&ids)).await?;
                (ids, known.into_iter().map(|letter| letter.group).collect())
            }
            Self::Matching { left: 0, .. } => return Ok(None),
            Self::Matching { query, left } => {
                query.limit = (*left).min(PAGE);
                let page = repeated(|| letters.dead_letters(query)).await?;
                *left -= page.len().min(*left);
                query.after = page.last().map(|letter| letter.id.clone()).or(query.after.take());
                let groups = page.iter().map(|letter| letter.group.clone()).collect();
                (page.into_iter().map(|letter| letter.id).collect(), groups)
            }
        };
        Ok((!ids.is_empty()).then_some((ids, groups)))
    }
}

/// A running redrive.
struct Redrive<'a> {
    redriver: &'a Redriver,
    watcher: &'a dyn RedriveWatcher,
    wait: bool,
    report: RedriveReport,
    /// Dead letters in flight, in the order in which they were sent.
    pending: Vec<String>,
    /// Groups of the dead letters that were sent.
    groups: BTreeSet<String>,
}

impl Redrive<'_> {
    async fn run(mut self, mut source: Source, cancel: &Cancel) -> Result<RedriveReport, ReplayError> {
        while !cancel.is_cancelled() {
            let Some((ids, groups)) = self.next(&mut source).await? else { break };
            self.send(&ids, groups).await?;
            while self.wait && self.pending.len() >= MOST_PENDING && self.look_after(cancel).await? {}
        }
        while self.wait && !self.pending.is_empty() && self.look_after(cancel).await? {}
        Ok(self.report)
    }

    async fn next(
        &self,
        source: &mut Source,
    ) -> Result<Option<(Vec<String>, BTreeSet<String>)>, ReplayError> {
        source.next(&*self.redriver.letters).await
    }

    async fn send(&mut self, ids: &[String], groups: BTreeSet<String>) -> Result<(), ReplayError> {
        self.report.requested += ids.len() as u64;
        let mut calls = 0;
        let changes = repeated(|| {
            calls += 1;
            self.redriver.letters.redrive(ids)
        });
        let changes = changes.await?;
        for (id, change) in ids.iter().zip(changes) {
            match change {
                // After a lost answer, the earlier call may have put the dead letter in flight.
                DeadLetterChange::Unchanged(DeadLetterState::Redriving) if calls == 1 => {
                    self.report.unchanged += 1;
                }
                DeadLetterChange::Done | DeadLetterChange::Unchanged(DeadLetterState::Redriving) => {
                    self.report.remaining += 1;
                    if self.wait {
                        self.pending.push(id.clone());
                    }
                }
                DeadLetterChange::Unchanged(_) => self.report.unchanged += 1,
                DeadLetterChange::Unknown => self.report.unknown += 1,
                DeadLetterChange::NoGroup => self.report.no_group += 1,
            }
        }
        let new: Vec<&str> = groups.difference(&self.groups).map(String::as_str).collect();
        let without = self.redriver.without_consumers(new).await?;
        self.report.groups_without_consumers.extend(without);
        self.groups.extend(groups);
        self.watcher.progressed(&self.report);
        Ok(())
    }

    /// Polls the dead letters in flight until at least one has a result. Returns false after a cancellation.
    async fn look_after(&mut self, cancel: &Cancel) -> Result<bool, ReplayError> {
        let mut pause = FIRST_LOOK;
        loop {
            // One pass reads every pending dead letter, page by page.
            let before = self.pending.len();
            let mut at = 0;
            while at < self.pending.len() {
                at = self.look_at(at).await?;
            }
            if self.pending.len() < before {
                self.watcher.progressed(&self.report);
                return Ok(!cancel.is_cancelled());
            }
            let until = Instant::now() + pause;
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = cancel.cancelled() => return Ok(false),
            }
            pause = (pause * 2).min(LAST_LOOK);
        }
    }

    /// Reads the state of one page of dead letters, from an index on. Returns the index of the next page.
    async fn look_at(&mut self, at: usize) -> Result<usize, ReplayError> {
        let ids: Vec<String> = self.pending.iter().skip(at).take(PAGE).cloned().collect();
        let found = repeated(|| self.redriver.letters.dead_letters_by_id(&ids)).await?;
        let on_their_way: BTreeSet<&str> =
            found.iter().filter(|l| l.state == DeadLetterState::Redriving).map(|l| l.id.as_str()).collect();
        let settled = ids.iter().filter(|id| !on_their_way.contains(id.as_str())).count();
        for letter in &found {
            match letter.state {
                DeadLetterState::Redriving => {}
                DeadLetterState::Handled => self.report.handled += 1,
                DeadLetterState::Open => self.report.failed(letter),
                DeadLetterState::Discarded => self.report.unchanged += 1,
            }
        }
        self.report.unknown += (ids.len() - found.len()) as u64;
        self.report.remaining -= settled as u64;
        self.pending.retain(|id| !ids.contains(id) || on_their_way.contains(id.as_str()));
        Ok(at + ids.len() - settled)
    }
}
