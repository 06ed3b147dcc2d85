//! The slices of the log that a group missed, one for each cause and range.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{
    Cursor, Figure, Filter, TypePattern,
    group::{GroupSpec, PassedEvents},
    ports::Order,
};

use super::{Bounds, MissedCause, MissedPart};
use crate::{
    app::{error::AppError, walk::EventWalk},
    handle::StoreHandle,
};

/// A range of the log: after the first mark, up to the second.
type Range = (Cursor, Cursor);

/// A group and the request for its missed events.
pub(super) struct Finder<'a> {
    store: &'a StoreHandle,
    spec: &'a GroupSpec,
    /// The passed events of each partition.
    passed: Vec<PassedEvents>,
    filter: &'a Filter,
    bounds: Bounds,
    head: Cursor,
    /// The types of stored events that the group takes and that the filter selects.
    taken: BTreeSet<String>,
}

impl<'a> Finder<'a> {
    pub(super) async fn new(
        store: &'a StoreHandle,
        spec: &'a GroupSpec,
        passed: Vec<PassedEvents>,
        filter: &'a Filter,
        bounds: Bounds,
    ) -> Result<Self, AppError> {
        let head = store.head().await?;
        let is_selected =
            |name: &str| filter.types.is_empty() || filter.types.iter().any(|own| own.matches(name));
        let mut taken = types_in_log(store).await?;
        let others: Vec<String> =
            taken.iter().filter(|name| !(spec.takes(name) && is_selected(name))).cloned().collect();
        taken.retain(|name| {
            let pattern = TypePattern::new(name.as_str());
            // A type that contains `*` is a pattern as well. It is left out if it would select other types.
            spec.takes(name) && is_selected(name) && !others.iter().any(|other| pattern.matches(other))
        });
        Ok(Self { store, spec, passed, filter, bounds, head, taken })
    }

    /// Returns every slice that has events.
    pub(super) async fn parts(&self) -> Result<Vec<MissedPart>, AppError> {
        let mut parts = Vec::new();
        let begin = |_: &PassedEvents| 0;
        let start = self.between(begin, |passed| passed.before_start);
        parts.extend(self.of_all_types(MissedCause::Start, start).await?);
        let skipped =
            |passed: &PassedEvents| passed.skipped.map_or((0, 0), |range| (range.after, range.through));
        let reset = self.between(|passed| skipped(passed).0, |passed| skipped(passed).1);
        parts.extend(self.of_all_types(MissedCause::Reset, reset).await?);
        for (types, bounds) in self.by_added_types().await? {
            parts.extend(self.part(MissedCause::Types, types, bounds).await?);
        }
        Ok(parts)
    }

    /// Returns the range between two sequences of each partition, within the bounds of the request.
    fn between(&self, after: impl Fn(&PassedEvents) -> u64, until: impl Fn(&PassedEvents) -> u64) -> Range {
        let cursor = |of: &dyn Fn(&PassedEvents) -> u64| Cursor {
            sequences: self.passed.iter().map(of).collect(),
            ..self.head.clone()
        };
        let (mut after, mut until) = (cursor(&after), cursor(&until));
        if let Some(own) = &self.bounds.after {
            after = after.later(own);
        }
        if let Some(own) = &self.bounds.until {
            until = until.earlier(own);
        }
        // In a partition without events of the range, the range ends where it begins.
        let until = until.later(&after);
        (after, until)
    }

    async fn of_all_types(&self, cause: MissedCause, bounds: Range) -> Result<Option<MissedPart>, AppError> {
        let types: Vec<String> = match self.filter.types.is_empty() {
            true => self.spec.types.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            false if self.taken.is_empty() => return Ok(None),
            false => self.taken.iter().cloned().collect(),
        };
        self.part(cause, types, bounds).await
    }

    /// Returns the types that the group did not take while it passed their events. Types with the same range are
    /// together.
    async fn by_added_types(&self) -> Result<Vec<(Vec<String>, Range)>, AppError> {
        let mut ranges: BTreeMap<Vec<u64>, Vec<String>> = BTreeMap::new();
        for name in &self.taken {
            let range = self.passed.iter().map(|passed| passed.passed_without(name)).collect();
            ranges.entry(range).or_default().push(name.clone());
        }
        let mut parts = Vec::new();
        for types in ranges.into_values() {
            // Types of one range have the same sequences, so the first type stands for all.
            let Some(first) = types.first().cloned() else { continue };
            let through = |passed: &PassedEvents| passed.passed_without(&first);
            let bounds = self.between(|passed| passed.before_start.min(through(passed)), through);
            let mut with_events = Vec::new();
            for name in types {
                if self.count(&self.filter_of(std::slice::from_ref(&name)), &bounds).await? > 0 {
                    with_events.push(name);
                }
            }
            if !with_events.is_empty() {
                parts.push((with_events, bounds));
            }
        }
        Ok(parts)
    }

    /// Returns a slice with its number of events, or none if it has no event.
    async fn part(
        &self,
        cause: MissedCause,
        types: Vec<String>,
        bounds: Range,
    ) -> Result<Option<MissedPart>, AppError> {
        let filter = self.filter_of(&types);
        let events = self.count(&filter, &bounds).await?;
        let (after, until) = bounds;
        let after = Some(after).filter(|after| after.sequences.iter().any(|sequence| *sequence > 0));
        let bounds = Bounds { after, until: Some(until) };
        Ok((events > 0).then_some(MissedPart { cause, events, types, filter, bounds }))
    }

    fn filter_of(&self, types: &[String]) -> Filter {
        Filter { types: types.iter().map(TypePattern::new).collect(), ..self.filter.clone() }
    }

    async fn count(&self, filter: &Filter, (after, until): &Range) -> Result<u64, AppError> {
        let filter = Arc::new(filter.clone());
        let to = self.store.count(&filter, Some(until)).await?;
        let from = self.store.count(&filter, Some(after)).await?;
        Ok(to.saturating_sub(from))
    }
}

/// Returns the types of all stored events. Without counters it reads the log.
async fn types_in_log(store: &StoreHandle) -> Result<BTreeSet<String>, AppError> {
    if let Some(tally) = store.event_counts().await? {
        return Ok(tally.by(Figure::Type).into_keys().collect());
    }
    let mut walk = EventWalk::new(store.ports().clone(), Filter::default(), Order::OldestFirst, None);
    let mut types = BTreeSet::new();
    while let Some(page) = walk.page().await? {
        for stored in &page.events {
            if !types.contains(stored.event.event_type()) {
                types.insert(stored.event.event_type().to_owned());
            }
        }
    }
    Ok(types)
}
