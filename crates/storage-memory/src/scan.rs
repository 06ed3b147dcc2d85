//! Scans. A scan passes over the shortest index list that the filter names, and checks each event against the filter.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
};

use domain::{
    Filter,
    ports::{
        Order,
        engine::{Scan, ScanPage, log::bytes_of},
    },
};
use jiff::Timestamp;

use crate::{
    index::{Postings, Term},
    log::{Logged, Partition},
};

/// Most events that one page examines. The bound limits the time under the lock for a filter that matches few events.
const MAX_EXAMINED: usize = 4_096;

pub(crate) fn page(state: &Partition, request: &Scan<'_>, now: Timestamp) -> ScanPage {
    let mut range = SequenceRange::new(state, request);
    let candidates = Candidates::of(state, request.filter);
    let limit = request.limit.max(1);
    let mut page = ScanPage { entries: Vec::new(), next: None, state: state.state(now) };
    let (mut examined, mut bytes) = (0, 0);
    while let Some(sequence) = candidates.next(state, &range) {
        if page.entries.len() == limit || examined == MAX_EXAMINED || bytes >= request.max_bytes {
            page.next = range.reached;
            break;
        }
        examined += 1;
        range.reach(sequence);
        let Some(entry) = state.entry(sequence) else { continue };
        if entry.as_ref().map_or(true, |stored| request.filter.matches(&stored.event)) {
            bytes += bytes_of(&entry);
            page.entries.push(entry);
        }
    }
    page
}

pub(crate) fn count(state: &Partition, filter: &Filter, until: u64) -> u64 {
    let mut range = SequenceRange::forth(until.min(state.head));
    let candidates = Candidates::of(state, filter);
    let mut count = 0;
    while let Some(sequence) = candidates.next(state, &range) {
        range.reach(sequence);
        let counts = |logged: &Logged| logged.damage.is_none() && filter.matches(&logged.event);
        count += u64::from(state.log.get(&sequence).is_some_and(counts));
    }
    count
}

/// The rest of a scan: the sequences above `low` up to `high`.
struct SequenceRange {
    order: Order,
    low: u64,
    high: u64,
    reached: Option<u64>,
}

impl SequenceRange {
    fn forth(until: u64) -> Self {
        Self { order: Order::OldestFirst, low: 0, high: until, reached: None }
    }

    fn new(state: &Partition, request: &Scan<'_>) -> Self {
        let until = request.until.map_or(state.head, |until| until.min(state.head));
        let mut range = Self { order: request.order, ..Self::forth(until) };
        match (request.after, request.order) {
            (None, _) => {}
            (Some(after), Order::OldestFirst) => range.low = after,
            (Some(after), Order::NewestFirst) => range.high = until.min(after.saturating_sub(1)),
        }
        range
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

    fn next_in_log(&self, log: &BTreeMap<u64, Logged>) -> Option<u64> {
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
    /// Returns the shortest of the lists that the parts of the filter name.
    fn of(state: &'a Partition, filter: &Filter) -> Self {
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

    fn len(&self, state: &Partition) -> usize {
        match self {
            Self::All => state.log.len(),
            Self::Union(lists) => lists.iter().map(|postings| postings.len()).sum(),
            Self::Ids(sequences) => sequences.len(),
        }
    }

    /// Returns the first candidate in the rest of the range.
    fn next(&self, state: &Partition, range: &SequenceRange) -> Option<u64> {
        match self {
            Self::All => range.next_in_log(&state.log),
            Self::Union(lists) => lists
                .iter()
                .filter_map(|postings| range.next_in_set(postings))
                .reduce(|left, right| range.nearer(left, right)),
            Self::Ids(sequences) => range.next_in_set(sequences),
        }
    }
}
