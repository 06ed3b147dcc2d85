//! Reading: walk the shortest index that the filter names, and ask the filter about each event on the way.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use domain::{
    Cursor, Filter, Position, StorageFailure, StoredEvent,
    ports::{EventStoreError, Order, Page, ReadRequest},
};

use crate::{
    index::{Postings, Term},
    state::{Entry, State, sequence},
};

/// Most events that one page looks at, so that a filter which matches little does not hold the lock for long.
const MAX_EXAMINED: usize = 4_096;

pub(crate) fn page(state: &State, request: &ReadRequest) -> Result<Page, EventStoreError> {
    let mut walk = Walk::new(state, request)?;
    let candidates = Candidates::of(state, &request.filter);
    let limit = request.limit.max(1);
    let mut page = Page::default();
    let mut examined = 0;
    while let Some(sequence) = candidates.next(state, &walk) {
        if page.events.len() + page.corrupt.len() == limit || examined == MAX_EXAMINED {
            page.next = walk.reached.map(|reached| state.cursor(reached));
            break;
        }
        examined += 1;
        walk.reach(sequence);
        let Some(entry) = state.log.get(&sequence) else { continue };
        match entry.read(sequence) {
            Err(corrupt) => page.corrupt.push(corrupt),
            Ok(stored) if request.filter.matches(&stored.event) => page.events.push(stored),
            Ok(_) => {}
        }
    }
    Ok(page)
}

pub(crate) fn count(state: &State, filter: &Filter, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
    let mut walk = Walk::forth(until.map_or(Ok(state.last), |until| state.sequence_of(until))?);
    let candidates = Candidates::of(state, filter);
    let mut count = 0;
    while let Some(sequence) = candidates.next(state, &walk) {
        walk.reach(sequence);
        let counts = |entry: &Entry| entry.damage.is_none() && filter.matches(&entry.event);
        count += u64::from(state.log.get(&sequence).is_some_and(counts));
    }
    Ok(count)
}

pub(crate) fn get(state: &State, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
    let found = ids.iter().filter_map(|id| {
        let sequence = state.index.id(id)?;
        Some(state.log.get(&sequence)?.read(sequence))
    });
    found
        .map(|read| {
            read.map_err(|corrupt| {
                StorageFailure::Corrupt(format!("event at {}: {}", corrupt.position, corrupt.detail)).into()
            })
        })
        .collect()
}

pub(crate) fn at(state: &State, positions: &[Position]) -> Page {
    let mut page = Page::default();
    for sequence in positions.iter().copied().filter_map(sequence) {
        match state.log.get(&sequence).map(|entry| entry.read(sequence)) {
            Some(Ok(stored)) => page.events.push(stored),
            Some(Err(corrupt)) => page.corrupt.push(corrupt),
            None => {}
        }
    }
    page
}

/// What of the log is still to be walked: the sequences above `low` up to `high`.
struct Walk {
    order: Order,
    low: u64,
    high: u64,
    reached: Option<u64>,
}

impl Walk {
    fn forth(until: u64) -> Self {
        Self { order: Order::OldestFirst, low: 0, high: until, reached: None }
    }

    fn new(state: &State, request: &ReadRequest) -> Result<Self, EventStoreError> {
        let after = request.after.as_ref().map(|after| state.sequence_of(after)).transpose()?;
        let until = request.until.as_ref().map_or(Ok(state.last), |until| state.sequence_of(until))?;
        let mut walk = Self { order: request.order, ..Self::forth(until) };
        match (after, request.order) {
            (None, _) => {}
            (Some(after), Order::OldestFirst) => walk.low = after,
            (Some(after), Order::NewestFirst) => walk.high = until.min(after.saturating_sub(1)),
        }
        Ok(walk)
    }

    fn reach(&mut self, sequence: u64) {
        self.reached = Some(sequence);
        match self.order {
            Order::OldestFirst => self.low = sequence,
            Order::NewestFirst => self.high = sequence - 1,
        }
    }

    fn range(&self) -> Option<(Bound<u64>, Bound<u64>)> {
        (self.low < self.high).then_some((Bound::Excluded(self.low), Bound::Included(self.high)))
    }

    fn next_in_set(&self, set: &BTreeSet<u64>) -> Option<u64> {
        let mut range = set.range(self.range()?);
        match self.order {
            Order::OldestFirst => range.next().copied(),
            Order::NewestFirst => range.next_back().copied(),
        }
    }

    fn next_in_log(&self, log: &BTreeMap<u64, Entry>) -> Option<u64> {
        let mut range = log.range(self.range()?).map(|(sequence, _)| *sequence);
        match self.order {
            Order::OldestFirst => range.next(),
            Order::NewestFirst => range.next_back(),
        }
    }

    fn nearer(&self, left: u64, right: u64) -> u64 {
        match self.order {
            Order::OldestFirst => left.min(right),
            Order::NewestFirst => left.max(right),
        }
    }
}

/// The sequences that can match a filter.
enum Candidates<'a> {
    All,
    Union(Vec<&'a Postings>),
    Ids(Postings),
}

impl<'a> Candidates<'a> {
    /// The shortest of the lists that the filter's parts name.
    fn of(state: &'a State, filter: &Filter) -> Self {
        let terms = |terms: &mut dyn Iterator<Item = Term>| {
            Self::Union(terms.filter_map(|term| state.index.term(&term)).collect())
        };
        let mut lists = vec![Self::All];
        if !filter.event_ids.is_empty() {
            lists.push(Self::Ids(filter.event_ids.iter().filter_map(|id| state.index.id(id)).collect()));
        }
        if !filter.types.is_empty() {
            let matches = |event_type: &str| filter.types.iter().any(|pattern| pattern.matches(event_type));
            let types = state.index.types().filter(|(event_type, _)| matches(event_type));
            lists.push(Self::Union(types.map(|(_, postings)| postings).collect()));
        }
        if !filter.sources.is_empty() {
            lists.push(terms(&mut filter.sources.iter().cloned().map(Term::Source)));
        }
        if !filter.correlation_ids.is_empty() {
            lists.push(terms(&mut filter.correlation_ids.iter().cloned().map(Term::Correlation)));
        }
        for (kind, ids) in &filter.entities {
            lists.push(terms(&mut ids.iter().map(|id| Term::Entity(kind.clone(), id.clone()))));
        }
        lists.into_iter().min_by_key(|list| list.len(state)).unwrap_or(Self::All)
    }

    fn len(&self, state: &State) -> usize {
        match self {
            Self::All => state.log.len(),
            Self::Union(lists) => lists.iter().map(|postings| postings.len()).sum(),
            Self::Ids(sequences) => sequences.len(),
        }
    }

    /// The first candidate that the walk has not reached.
    fn next(&self, state: &State, walk: &Walk) -> Option<u64> {
        match self {
            Self::All => walk.next_in_log(&state.log),
            Self::Union(lists) => lists
                .iter()
                .filter_map(|postings| walk.next_in_set(postings))
                .reduce(|left, right| walk.nearer(left, right)),
            Self::Ids(sequences) => walk.next_in_set(sequences),
        }
    }
}
