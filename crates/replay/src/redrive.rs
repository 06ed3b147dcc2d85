//! Redrive: dead letters go to their consumers again; and discard: dead letters that are not to be handled any more.
//!
//! # Design
//! Letters are marked a page at a time, and only so many wait at once: memory does not grow with their number. A letter
//! that fails again is open again, and stays where it is in the list, behind the page that comes next: one redrive sends
//! each letter once.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use domain::{
    DeadLetter, DeadLetterState,
    ports::{DeadLetterChange, DeadLetterQuery, DeadLetterStore, GroupStore},
};
use serde::Serialize;
use tokio::time::Instant;

use crate::{backoff::repeated, cancel::Cancel, error::ReplayError};

/// The most letters in flight at a time, if the caller waits for them.
const MOST_PENDING: usize = 2_000;
/// Letters marked, or looked after, at once: each comes with its event.
const PAGE: usize = 100;
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LAST_LOOK: Duration = Duration::from_millis(250);

/// Which dead letters.
#[derive(Debug, Clone)]
pub enum Letters {
    /// Those of these ids.
    Ids(Vec<String>),
    /// Those that match. The query's limit is how many are taken at most; the states are the caller's choice.
    Matching(DeadLetterQuery),
}

impl Letters {
    /// Checks that they may be some: a query that can match nothing would look like success.
    fn check(&self) -> Result<(), ReplayError> {
        match self {
            Self::Matching(query) if query.limit == 0 => Err(ReplayError::InvalidOption(
                "a query for dead letters has a limit of at least 1".to_owned(),
            )),
            Self::Ids(_) | Self::Matching(_) => Ok(()),
        }
    }
}

/// A redriven letter whose event was given up on again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedriveError {
    /// The letter.
    pub dead_letter_id: String,
    /// Its event.
    pub event_id: String,
    /// What the last attempt said.
    pub error: String,
}

/// What came of a redrive. Handled, failed again, unchanged, unknown, without a group and remaining add up to those
/// requested.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RedriveReport {
    /// Letters that were named, or matched.
    pub requested: u64,
    /// Letters whose event was handled.
    pub handled: u64,
    /// Letters whose event was given up on again; they are open again.
    pub failed_again: u64,
    /// Letters that were on their way already, or closed.
    pub unchanged: u64,
    /// Letters that do not exist, or were erased meanwhile.
    pub unknown: u64,
    /// Letters whose group was deleted: they can only be discarded.
    pub no_group: u64,
    /// Letters that are still in flight: the caller did not wait for them.
    pub remaining: u64,
    /// Why events failed again: the first 1,000.
    pub errors: Vec<RedriveError>,
    /// Whether more failed again than `errors` names.
    pub errors_truncated: bool,
    /// Groups that letters were sent to and that have no consumer now: one has to be started.
    pub groups_without_consumers: Vec<String>,
}

impl RedriveReport {
    /// Most errors that a report names.
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

/// What came of a discard. Discarded, unchanged and unknown add up to those requested.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscardReport {
    /// Letters that were named, or matched.
    pub requested: u64,
    /// Letters that were closed.
    pub discarded: u64,
    /// Letters that were on their way to their consumer, or closed already.
    pub unchanged: u64,
    /// Letters that do not exist.
    pub unknown: u64,
}

/// Is told how a redrive goes; `remaining` is how many are on their way. Any `Fn(&RedriveReport)` is one.
pub trait RedriveWatcher: Send + Sync {
    /// Something has changed.
    fn progressed(&self, report: &RedriveReport);
}

impl<F: Fn(&RedriveReport) + Send + Sync> RedriveWatcher for F {
    fn progressed(&self, report: &RedriveReport) {
        self(report);
    }
}

/// Ignores progress.
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
    /// A redriver of the letters of these stores.
    pub fn new(letters: Arc<dyn DeadLetterStore>, groups: Arc<dyn GroupStore>) -> Self {
        Self { letters, groups }
    }

    /// Sends letters to their consumers again. With `wait` it answers once each of them was handled or has failed again,
    /// or when it is cancelled; else as soon as all are on their way. Cancelling takes nothing back: what is on its way
    /// stays so, and is counted as remaining.
    ///
    /// # Errors
    /// When the limit is 0, or the store fails. What was sent until then is on its way; the same call again leaves that alone.
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

    /// Closes letters that are not to be handled; where a key was parked behind one, it goes on.
    ///
    /// # Errors
    /// When the reason is empty or the limit is 0, or the store fails; what was closed until then stays closed.
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

    /// Of these groups, those that no consumer looks after.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn without_consumers<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<Vec<String>, ReplayError> {
        without_consumers(&*self.groups, names).await
    }
}

/// Of these groups, those that exist and that no consumer looks after.
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

/// The ids of the chosen letters, a page at a time, with the groups that are known of them.
enum Source {
    Ids(std::vec::IntoIter<String>),
    Matching { query: DeadLetterQuery, left: usize },
}

impl Source {
    fn new(letters: Letters) -> Self {
        match letters {
            Letters::Ids(ids) => {
                // An id that is named twice is one letter.
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

/// A redrive under way.
struct Redrive<'a> {
    redriver: &'a Redriver,
    watcher: &'a dyn RedriveWatcher,
    wait: bool,
    report: RedriveReport,
    /// Letters that are on their way, the first sent first.
    pending: Vec<String>,
    /// Groups that letters were sent to.
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
                // Where an answer was lost, what is on its way may be so by the call before.
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

    /// Looks, until something has changed, what has become of the letters sent first. False when it was cancelled.
    async fn look_after(&mut self, cancel: &Cancel) -> Result<bool, ReplayError> {
        let mut pause = FIRST_LOOK;
        loop {
            // A redrive of a thousand letters reads all of them in turn.
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

    /// Looks at the letters from one on; where to go on.
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
