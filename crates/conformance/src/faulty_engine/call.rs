//! What a call asks for, and what a transaction is about.

use std::{sync::Arc, time::Duration};

use domain::{
    Event, Filter,
    ports::{
        Atomicity,
        engine::{Guard, Read, Removal, RowId, Scan, SpaceKind, Transaction, Write},
    },
};

/// One call of an engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineCall<'a> {
    /// The partition that it concerns; none where it concerns all of them.
    pub partition: Option<u16>,
    /// What it asks for.
    pub request: EngineRequest<'a>,
}

/// What a call asks for, as the caller asked it.
#[derive(Debug, Clone, Copy)]
pub enum EngineRequest<'a> {
    /// The state of a partition.
    State,
    /// To wait for a change.
    Changed {
        /// The heads that are known.
        heads: &'a [u64],
        /// For how long.
        timeout: Duration,
    },
    /// To append.
    Append {
        /// The events.
        batch: &'a [Event],
        /// Whether they are all or nothing.
        atomicity: Atomicity,
        /// The transaction that goes with them.
        with: &'a Transaction,
    },
    /// To remove.
    Remove(&'a Removal<'a>),
    /// A page.
    Scan(&'a Scan<'a>),
    /// Events by their sequences.
    At(&'a [u64]),
    /// To look ids up.
    Locate(&'a [&'a str]),
    /// To count.
    Count {
        /// Which events.
        filter: &'a Arc<Filter>,
        /// Up to which sequence.
        until: u64,
    },
    /// To verify.
    Verify,
    /// To scrub.
    Scrub {
        /// Whether it follows a removal.
        erased: bool,
    },
    /// The bytes that are occupied.
    Occupied,
    /// Rows.
    Get(&'a [Read]),
    /// To commit.
    Commit(&'a [Transaction]),
}

impl<'a> EngineCall<'a> {
    pub(super) fn of(partition: u16, request: EngineRequest<'a>) -> Self {
        Self { partition: Some(partition), request }
    }

    /// The name of the port's method.
    pub fn name(&self) -> &'static str {
        match self.request {
            EngineRequest::State => "state",
            EngineRequest::Changed { .. } => "changed",
            EngineRequest::Append { .. } => "append",
            EngineRequest::Remove(_) => "remove",
            EngineRequest::Scan(_) => "scan",
            EngineRequest::At(_) => "at",
            EngineRequest::Locate(_) => "locate",
            EngineRequest::Count { .. } => "count",
            EngineRequest::Verify => "verify",
            EngineRequest::Scrub { .. } => "scrub",
            EngineRequest::Occupied => "occupied",
            EngineRequest::Get(_) => "get",
            EngineRequest::Commit(_) => "commit",
        }
    }

    /// The transactions that it performs, alone or beside something else.
    pub fn transactions(&self) -> &'a [Transaction] {
        match self.request {
            EngineRequest::Commit(transactions) => transactions,
            EngineRequest::Append { with, .. } => std::slice::from_ref(with),
            EngineRequest::Remove(removal) => std::slice::from_ref(removal.with),
            _ => &[],
        }
    }

    /// The ids of the events that it appends.
    pub fn appended_ids(&self) -> Vec<&'a str> {
        match self.request {
            EngineRequest::Append { batch, .. } => batch.iter().map(Event::id).collect(),
            _ => Vec::new(),
        }
    }

    /// Whether it changes something, if it succeeds.
    pub fn is_write(&self) -> bool {
        matches!(
            self.request,
            EngineRequest::Append { .. }
                | EngineRequest::Remove(_)
                | EngineRequest::Commit(_)
                | EngineRequest::Scrub { .. }
        )
    }

    /// Whether a transaction of it changes rows of a kind.
    pub fn writes(&self, kind: SpaceKind) -> bool {
        self.transactions().iter().any(|transaction| transaction.writes_to(kind))
    }

    /// Whether it reads rows of a kind.
    pub fn reads(&self, kind: SpaceKind) -> bool {
        let EngineRequest::Get(reads) = self.request else { return false };
        reads.iter().any(|read| match read {
            Read::Row(row) => row.space.kind == kind,
            Read::Range { space, .. } | Read::Count(space) => space.kind == kind,
            Read::Scopes(of) => *of == kind,
        })
    }

    /// Whether a consumer commits to segments with it.
    pub fn is_segment_commit(&self) -> bool {
        self.transactions().iter().any(TransactionExt::is_segment_commit)
    }

    /// Whether a consumer takes leases with it. To renew them it reads [`SpaceKind::Fence`] and writes no row of it.
    pub fn takes_leases(&self) -> bool {
        self.transactions().iter().any(TransactionExt::takes_leases)
    }

    /// Whether it puts batches into lanes.
    pub fn enqueues(&self) -> bool {
        self.transactions().iter().any(TransactionExt::enqueues)
    }

    /// Whether it raises replay counts.
    pub fn counts_replays(&self) -> bool {
        let counts = |write: &Write| matches!(write, Write::CountReplay { .. });
        self.transactions().iter().any(|transaction| transaction.all_writes().any(counts))
    }
}

fn kind_of(write: &Write) -> Option<SpaceKind> {
    match write {
        Write::Put(row, _) | Write::Delete(row) | Write::Add(row, _) => Some(row.space.kind),
        Write::Clear(space) => Some(space.kind),
        Write::Tombstone(_) | Write::CountReplay { .. } => None,
    }
}

fn guarded_kind(guard: &Guard) -> Option<SpaceKind> {
    match guard {
        Guard::Is(row, _) | Guard::Absent(row) | Guard::Present(row) => Some(row.space.kind),
        Guard::Generation(_) | Guard::Id(..) | Guard::NoneNewer(_) => None,
    }
}

/// What a transaction is about, and the same transaction with something taken out.
pub trait TransactionExt {
    /// The writes of every step.
    fn all_writes(&self) -> impl Iterator<Item = &Write>;

    /// The guards of every step.
    fn all_guards(&self) -> impl Iterator<Item = &Guard>;

    /// The rows of a kind that it puts, with their values.
    fn puts(&self, kind: SpaceKind) -> impl Iterator<Item = (&RowId, &[u8])> {
        self.all_writes().filter_map(move |write| match write {
            Write::Put(row, value) if row.space.kind == kind => Some((row, value.as_slice())),
            _ => None,
        })
    }

    /// Whether it changes rows of a kind.
    fn writes_to(&self, kind: SpaceKind) -> bool {
        self.all_writes().any(|write| kind_of(write) == Some(kind))
    }

    /// Whether it is guarded by rows of a kind.
    fn is_guarded_by(&self, kind: SpaceKind) -> bool {
        self.all_guards().any(|guard| guarded_kind(guard) == Some(kind))
    }

    /// Whether a consumer commits to a segment with it: it puts a segment's row under the segment's lease. Making, resetting,
    /// and deleting a group change segments without one.
    fn is_segment_commit(&self) -> bool {
        self.is_guarded_by(SpaceKind::Fence)
            && !self.writes_to(SpaceKind::Fence)
            && self.puts(SpaceKind::Segment).next().is_some()
    }

    /// Whether a consumer takes leases with it.
    fn takes_leases(&self) -> bool {
        self.puts(SpaceKind::Fence).next().is_some() && self.puts(SpaceKind::Lease).next().is_some()
    }

    /// Whether it puts batches into lanes.
    fn enqueues(&self) -> bool {
        self.puts(SpaceKind::Lane).next().is_some()
    }

    /// The same without the guards that are not to be kept.
    #[must_use]
    fn keeping_guards(&self, keep: impl Fn(&Guard) -> bool) -> Transaction;

    /// The same without the writes that are not to be kept.
    #[must_use]
    fn keeping_writes(&self, keep: impl Fn(&Write) -> bool) -> Transaction;

    /// The same without the guards on rows of a kind: as a store whose fencing is gone.
    #[must_use]
    fn without_guards_on(&self, kind: SpaceKind) -> Transaction {
        self.keeping_guards(|guard| guarded_kind(guard) != Some(kind))
    }

    /// The same without the writes to rows of a kind.
    #[must_use]
    fn without_writes_to(&self, kind: SpaceKind) -> Transaction {
        self.keeping_writes(|write| kind_of(write) != Some(kind))
    }
}

impl TransactionExt for Transaction {
    fn all_writes(&self) -> impl Iterator<Item = &Write> {
        self.steps.iter().flat_map(|step| &step.writes)
    }

    fn all_guards(&self) -> impl Iterator<Item = &Guard> {
        self.steps.iter().flat_map(|step| &step.guards)
    }

    fn keeping_guards(&self, keep: impl Fn(&Guard) -> bool) -> Transaction {
        let mut kept = self.clone();
        kept.steps.iter_mut().for_each(|step| step.guards.retain(&keep));
        kept
    }

    fn keeping_writes(&self, keep: impl Fn(&Write) -> bool) -> Transaction {
        let mut kept = self.clone();
        kept.steps.iter_mut().for_each(|step| step.writes.retain(&keep));
        kept
    }
}
