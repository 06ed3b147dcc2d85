//! The request of an engine call, and the purpose of a transaction.

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
    /// Partition of the call. None if the call covers all partitions.
    pub partition: Option<u16>,
    /// Request of the call.
    pub request: EngineRequest<'a>,
}

/// The request of a call, with the caller's arguments.
#[derive(Debug, Clone, Copy)]
pub enum EngineRequest<'a> {
    /// Reads the state of a partition.
    State,
    /// Waits for a change.
    Changed {
        /// Heads that the caller knows.
        heads: &'a [u64],
        /// Longest wait.
        timeout: Duration,
    },
    /// Appends events.
    Append {
        /// The events.
        batch: &'a [Event],
        /// Whether the batch is all or nothing.
        atomicity: Atomicity,
        /// Transaction that is performed with the append.
        with: &'a Transaction,
    },
    /// Removes events.
    Remove(&'a Removal<'a>),
    /// Reads a page.
    Scan(&'a Scan<'a>),
    /// Reads events by their sequences.
    At(&'a [u64]),
    /// Looks up the states of ids.
    Locate(&'a [&'a str]),
    /// Counts events.
    Count {
        /// Filter of the events.
        filter: &'a Arc<Filter>,
        /// Last sequence of the count.
        until: u64,
    },
    /// Verifies the partition.
    Verify,
    /// Scrubs the partition.
    Scrub {
        /// Whether the scrub follows an erasure.
        erased: bool,
    },
    /// Reads the number of occupied bytes.
    Occupied,
    /// Reads rows.
    Get(&'a [Read]),
    /// Commits transactions.
    Commit(&'a [Transaction]),
}

impl<'a> EngineCall<'a> {
    pub(super) fn of(partition: u16, request: EngineRequest<'a>) -> Self {
        Self { partition: Some(partition), request }
    }

    /// Returns the name of the port's method.
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

    /// Returns the transactions that the call performs, alone or with an append or a removal.
    pub fn transactions(&self) -> &'a [Transaction] {
        match self.request {
            EngineRequest::Commit(transactions) => transactions,
            EngineRequest::Append { with, .. } => std::slice::from_ref(with),
            EngineRequest::Remove(removal) => std::slice::from_ref(removal.with),
            _ => &[],
        }
    }

    /// Returns the ids of the events that the call appends.
    pub fn appended_ids(&self) -> Vec<&'a str> {
        match self.request {
            EngineRequest::Append { batch, .. } => batch.iter().map(Event::id).collect(),
            _ => Vec::new(),
        }
    }

    /// Returns whether a successful call changes data.
    pub fn is_write(&self) -> bool {
        matches!(
            self.request,
            EngineRequest::Append { .. }
                | EngineRequest::Remove(_)
                | EngineRequest::Commit(_)
                | EngineRequest::Scrub { .. }
        )
    }

    /// Returns whether a transaction of the call changes rows of a kind.
    pub fn writes(&self, kind: SpaceKind) -> bool {
        self.transactions().iter().any(|transaction| transaction.writes_to(kind))
    }

    /// Returns whether the call reads rows of a kind.
    pub fn reads(&self, kind: SpaceKind) -> bool {
        let EngineRequest::Get(reads) = self.request else { return false };
        reads.iter().any(|read| match read {
            Read::Row(row) => row.space.kind == kind,
            Read::Range { space, .. } | Read::Count(space) => space.kind == kind,
            Read::Scopes(of) => *of == kind,
        })
    }

    /// Returns whether a consumer commits to segments with the call.
    pub fn is_segment_commit(&self) -> bool {
        self.transactions().iter().any(TransactionExt::is_segment_commit)
    }

    /// Returns whether a consumer takes leases with the call. A renewal of leases reads [`SpaceKind::Fence`] rows but
    /// writes none.
    pub fn takes_leases(&self) -> bool {
        self.transactions().iter().any(TransactionExt::takes_leases)
    }

    /// Returns whether the call adds batches to lanes.
    pub fn enqueues(&self) -> bool {
        self.transactions().iter().any(TransactionExt::enqueues)
    }

    /// Returns whether the call raises replay counts.
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

/// The purpose of a transaction, and variants of the transaction without some of its parts.
pub trait TransactionExt {
    /// Returns the writes of every step.
    fn all_writes(&self) -> impl Iterator<Item = &Write>;

    /// Returns the guards of every step.
    fn all_guards(&self) -> impl Iterator<Item = &Guard>;

    /// Returns the rows of a kind that the transaction puts, with their values.
    fn puts(&self, kind: SpaceKind) -> impl Iterator<Item = (&RowId, &[u8])> {
        self.all_writes().filter_map(move |write| match write {
            Write::Put(row, value) if row.space.kind == kind => Some((row, value.as_slice())),
            _ => None,
        })
    }

    /// Returns whether the transaction changes rows of a kind.
    fn writes_to(&self, kind: SpaceKind) -> bool {
        self.all_writes().any(|write| kind_of(write) == Some(kind))
    }

    /// Returns whether the transaction has a guard on rows of a kind.
    fn is_guarded_by(&self, kind: SpaceKind) -> bool {
        self.all_guards().any(|guard| guarded_kind(guard) == Some(kind))
    }

    /// Returns whether a consumer commits to a segment with the transaction. Such a transaction puts the segment's row
    /// under the segment's lease. Creating, resetting or deleting a group changes segments without a lease.
    fn is_segment_commit(&self) -> bool {
        self.is_guarded_by(SpaceKind::Fence)
            && !self.writes_to(SpaceKind::Fence)
            && self.puts(SpaceKind::Segment).next().is_some()
    }

    /// Returns whether a consumer takes leases with the transaction.
    fn takes_leases(&self) -> bool {
        self.puts(SpaceKind::Fence).next().is_some() && self.puts(SpaceKind::Lease).next().is_some()
    }

    /// Returns whether the transaction adds batches to lanes.
    fn enqueues(&self) -> bool {
        self.puts(SpaceKind::Lane).next().is_some()
    }

    /// Returns the transaction with only the guards that `keep` accepts.
    #[must_use]
    fn keeping_guards(&self, keep: impl Fn(&Guard) -> bool) -> Transaction;

    /// Returns the transaction with only the writes that `keep` accepts.
    #[must_use]
    fn keeping_writes(&self, keep: impl Fn(&Write) -> bool) -> Transaction;

    /// Returns the transaction without the guards on rows of a kind. This simulates a store without fencing.
    #[must_use]
    fn without_guards_on(&self, kind: SpaceKind) -> Transaction {
        self.keeping_guards(|guard| guarded_kind(guard) != Some(kind))
    }

    /// Returns the transaction without the writes to rows of a kind.
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
