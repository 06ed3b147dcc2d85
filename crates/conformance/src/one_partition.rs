//! One partition of a store with several partitions, shown as a complete store.
//!
//! Laws of groups name sequences and segments by number, as in a store of one partition. This module runs such a law on
//! one partition among others. Every event gets an ordering key of that partition, and numbers are translated in both
//! directions. A law about the store thus tests that partition through every call.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{
    Checkpoint, Cursor, DeadLetter, Entity, Event, Expectation, Filter, Position, StorageFailure,
    StoredEvent, Tally, UnexpectedEvent,
    audit::{AuditEntry, AuditNote},
    dead_letter::LetterEdit,
    group::{
        BlockedKey, ConsumerStatus, EventDelivery, Gap, GroupPause, GroupRecord, GroupSpec, GroupStatus,
        LaneBatch, LaneResult, Lease, NewLaneBatch, PassedEvents, Pending, partition_of,
    },
    ordering::{KeySource, OrderingKey},
    plan::PlanRecord,
    ports::{
        AppendOutcome, Atomicity, AuditStore, CheckpointStore, CheckpointStoreError, CommitOutcome,
        DeadLetterChange, DeadLetterCount, DeadLetterQuery, DeadLetterStore, EnqueueOutcome, Erased,
        EventStore, EventStoreError, GroupStore, GroupStoreError, LeaseRequest, Leases, MadeGroup, Page,
        PauseStore, PlanStore, ReadRequest, ReplayCommand, ReplayLease, ReplayRecord, ReplayState,
        ReplayStore, ReplayStoreError, ReplayUpdate, RequestClaim, RequestStore, ScheduleOutcome,
        ScheduleStore, ScheduledEvent, SchemaRecord, SchemaStore, SegmentCommit, StatSample, StatsStore,
        StoreInfo, TokenStore, TrimRequest, Trimmed, VerifyReport, event_store::ProgressCallback,
    },
    request::{RecordedAnswer, RequestId, RequestState},
    retention::{Hold, RetentionRule},
    token::TokenRecord,
};
use jiff::Timestamp;

use crate::{Faults, Storage, Stores, draft::HOME};

/// A storage whose handles show one partition.
pub(crate) struct OnePartition {
    storage: Box<dyn Storage>,
    place: Place,
}

impl OnePartition {
    pub(crate) fn of(storage: Box<dyn Storage>, partitions: u16) -> Self {
        let (kind, id) = HOME;
        let partition = partition_of(&OrderingKey { kind, id }, partitions);
        assert_ne!(partition, 0, "a partition that is told from the first");
        Self { storage, place: Place { partition, partitions } }
    }
}

#[async_trait]
impl Storage for OnePartition {
    async fn open(&self) -> Arc<dyn Stores> {
        Arc::new(Part { store: self.storage.open().await, place: self.place })
    }

    fn faults(&self) -> Option<&dyn Faults> {
        None
    }
}

/// The number of the partition, and the total number of partitions.
#[derive(Debug, Clone, Copy)]
struct Place {
    partition: u16,
    partitions: u16,
}

struct Part {
    store: Arc<dyn Stores>,
    place: Place,
}

impl Place {
    /// Returns the event with an ordering key that belongs to the partition.
    fn at_home(self, event: &Event) -> Event {
        if partition_of(&event.ordering_key(), self.partitions) == self.partition {
            return event.clone();
        }
        let home = event.entities().position(|entity| entity == HOME).expect("a draft's event");
        event.clone().with_key_source(KeySource::Entity(home as u16))
    }

    fn cursor_in(self, cursor: &Cursor) -> Cursor {
        let [sequence] = cursor.sequences[..] else { return cursor.clone() };
        let mut sequences = vec![0; usize::from(self.partitions)];
        sequences[usize::from(self.partition)] = sequence;
        Cursor { sequences, ..cursor.clone() }
    }

    fn cursor_out(self, cursor: &Cursor) -> Cursor {
        Cursor::new(cursor.store, cursor.epoch, vec![cursor.sequence(self.partition)])
    }

    /// Translates a position. An invalid partition of a law stays invalid.
    fn position_in(self, position: Position) -> Position {
        let partition = match position.partition {
            0 => self.partition,
            other => self.partitions + other,
        };
        Position { partition, ..position }
    }

    fn position_out(self, position: Position) -> Position {
        assert_eq!(position.partition, self.partition, "{position} is of another partition");
        Position { partition: 0, ..position }
    }

    fn stored(self, mut stored: StoredEvent) -> StoredEvent {
        stored.position = self.position_out(stored.position);
        stored
    }

    fn page(self, page: Page) -> Page {
        let mut corrupt = page.corrupt;
        for damaged in &mut corrupt {
            damaged.position = self.position_out(damaged.position);
        }
        Page {
            events: page.events.into_iter().map(|stored| self.stored(stored)).collect(),
            corrupt,
            next: page.next.map(|next| self.cursor_out(&next)),
        }
    }

    fn outcome(self, outcome: AppendOutcome) -> AppendOutcome {
        match outcome {
            AppendOutcome::Stored(at) => AppendOutcome::Stored(self.position_out(at)),
            AppendOutcome::AlreadyStored(at) => AppendOutcome::AlreadyStored(self.position_out(at)),
            AppendOutcome::Conflict(at) => AppendOutcome::Conflict(Position { partition: 0, ..at }),
            other => other,
        }
    }

    fn segment_in(self, segment: u16) -> u16 {
        // On overflow, the result is a number beyond the last segment. Such a segment does not exist.
        segment.checked_mul(self.partitions).and_then(|it| it.checked_add(self.partition)).unwrap_or(u16::MAX)
    }

    /// Translates the number of a segment. Returns none for a segment of another partition.
    fn segment_out(self, segment: u16) -> Option<u16> {
        (segment % self.partitions == self.partition).then_some(segment / self.partitions)
    }

    fn spec_in(self, spec: &GroupSpec) -> GroupSpec {
        GroupSpec { segments: spec.segments * self.partitions, ..spec.clone() }
    }

    fn record_out(self, mut record: GroupRecord) -> GroupRecord {
        record.spec.segments /= self.partitions;
        record.gaps = self.gaps(record.gaps);
        record
    }

    /// Translates gaps. Other partitions have no events and therefore no gaps.
    fn gaps(self, gaps: Vec<Gap>) -> Vec<Gap> {
        let own = |gap: Gap| {
            assert_eq!(gap.partition, self.partition, "{gap:?}");
            Gap { partition: 0, ..gap }
        };
        gaps.into_iter().map(own).collect()
    }

    fn lease_in(self, lease: &Lease) -> Lease {
        Lease { segment: self.segment_in(lease.segment), ..lease.clone() }
    }

    fn lease_out(self, lease: Lease) -> Option<Lease> {
        Some(Lease { segment: self.segment_out(lease.segment)?, ..lease })
    }

    /// Returns a consumer's share of this partition's segments. The remainder of the division goes to different
    /// consumers in each partition.
    fn share(self, status: &GroupStatus, consumer: &str) -> u16 {
        let segments = usize::from(status.record.spec.segments / self.partitions);
        let mut alive: Vec<&str> = status.consumers.iter().map(|it| it.name.as_str()).collect();
        alive.sort_unstable();
        let rank = alive.iter().position(|name| *name == consumer).expect("a consumer that just asked");
        let first = usize::from(self.partition) * (segments % alive.len()) % alive.len();
        let turn = (rank + alive.len() - first) % alive.len();
        (segments / alive.len() + usize::from(turn < segments % alive.len())) as u16
    }

    fn letter(self, mut letter: DeadLetter) -> DeadLetter {
        letter.position = self.position_out(letter.position);
        letter
    }

    fn replay(self, mut record: ReplayRecord) -> ReplayRecord {
        record.hold = record.hold.map(|hold| self.cursor_out(&hold));
        record
    }

    fn checkpoint(self, mut checkpoint: Checkpoint) -> Checkpoint {
        checkpoint.mark = self.cursor_out(&checkpoint.mark);
        checkpoint
    }
}

#[async_trait]
impl EventStore for Part {
    async fn append(
        &self,
        batch: &[Event],
        atomicity: Atomicity,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let batch: Vec<Event> = batch.iter().map(|event| self.place.at_home(event)).collect();
        let outcomes = self.store.append(&batch, atomicity).await?;
        Ok(outcomes.into_iter().map(|outcome| self.place.outcome(outcome)).collect())
    }

    async fn append_expecting(
        &self,
        batch: &[Event],
        expectation: &Expectation,
    ) -> Result<Vec<AppendOutcome>, EventStoreError> {
        let batch: Vec<Event> = batch.iter().map(|event| self.place.at_home(event)).collect();
        let after = expectation.after.as_ref().map(|after| self.place.cursor_in(after));
        let expectation = Expectation { after, ..expectation.clone() };
        match self.store.append_expecting(&batch, &expectation).await {
            Ok(outcomes) => Ok(outcomes.into_iter().map(|outcome| self.place.outcome(outcome)).collect()),
            Err(EventStoreError::Unexpected(event)) => {
                let position = self.place.position_out(event.position);
                Err(EventStoreError::Unexpected(UnexpectedEvent { position, ..event }))
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&self, request: &ReadRequest) -> Result<Page, EventStoreError> {
        let request = ReadRequest {
            after: request.after.as_ref().map(|after| self.place.cursor_in(after)),
            until: request.until.as_ref().map(|until| self.place.cursor_in(until)),
            ..request.clone()
        };
        Ok(self.place.page(self.store.read(&request).await?))
    }

    async fn get(&self, ids: &[String]) -> Result<Vec<StoredEvent>, EventStoreError> {
        let found = EventStore::get(&*self.store, ids).await?;
        Ok(found.into_iter().map(|stored| self.place.stored(stored)).collect())
    }

    async fn at(&self, positions: &[Position]) -> Result<Page, EventStoreError> {
        let positions: Vec<Position> = positions.iter().map(|at| self.place.position_in(*at)).collect();
        Ok(self.place.page(self.store.at(&positions).await?))
    }

    async fn count(&self, filter: &Arc<Filter>, until: Option<&Cursor>) -> Result<u64, EventStoreError> {
        let until = until.map(|until| self.place.cursor_in(until));
        self.store.count(filter, until.as_ref()).await
    }

    async fn head(&self) -> Result<Cursor, EventStoreError> {
        Ok(self.place.cursor_out(&self.store.head().await?))
    }

    async fn changed(&self, after: &Cursor, timeout: std::time::Duration) -> Result<Cursor, EventStoreError> {
        let head = self.store.changed(&self.place.cursor_in(after), timeout).await?;
        Ok(self.place.cursor_out(&head))
    }

    async fn trim(&self, request: &TrimRequest) -> Result<Trimmed, EventStoreError> {
        let hold = |hold: &Hold| Hold { mark: self.place.cursor_in(&hold.mark), holder: hold.holder.clone() };
        let through = request.rule.through.as_ref().map(|through| self.place.cursor_in(through));
        let request = TrimRequest {
            rule: RetentionRule { through, ..request.rule.clone() },
            holds: request.holds.iter().map(hold).collect(),
            ..request.clone()
        };
        self.store.trim(&request).await
    }

    async fn erase(&self, entity: &Entity) -> Result<Erased, EventStoreError> {
        self.store.erase(entity).await
    }

    async fn verify(&self, progress: Option<ProgressCallback>) -> Result<VerifyReport, EventStoreError> {
        self.store.verify(progress).await
    }

    async fn info(&self) -> Result<StoreInfo, EventStoreError> {
        let info = self.store.info().await?;
        Ok(StoreInfo {
            head: self.place.cursor_out(&info.head),
            trimmed_through: vec![info.trimmed_through[usize::from(self.place.partition)]],
            ..info
        })
    }
}

#[async_trait]
impl GroupStore for Part {
    async fn make_group(&self, spec: &GroupSpec, at: &Cursor) -> Result<MadeGroup, GroupStoreError> {
        let made = self.store.make_group(&self.place.spec_in(spec), &self.place.cursor_in(at)).await?;
        Ok(MadeGroup { record: self.place.record_out(made.record), ..made })
    }

    async fn groups(&self) -> Result<Vec<GroupRecord>, GroupStoreError> {
        let groups = self.store.groups().await?;
        Ok(groups.into_iter().map(|record| self.place.record_out(record)).collect())
    }

    async fn group(&self, name: &str) -> Result<Option<GroupStatus>, GroupStoreError> {
        let Some(status) = self.store.group(name).await? else { return Ok(None) };
        let mut segments = status.segments;
        segments.retain_mut(|segment| match self.place.segment_out(segment.segment) {
            Some(own) => {
                assert_eq!(segment.partition, self.place.partition);
                (segment.segment, segment.partition) = (own, 0);
                true
            }
            None => false,
        });
        let holds = |name: &str| segments.iter().filter(|it| it.consumer.as_deref() == Some(name)).count();
        let consumers = status.consumers.into_iter();
        let consumers =
            consumers.map(|it| ConsumerStatus { segments: holds(&it.name) as u16, ..it }).collect();
        Ok(Some(GroupStatus {
            record: self.place.record_out(status.record),
            segments,
            consumers,
            unreachable: status.unreachable,
        }))
    }

    async fn pending(&self, name: &str) -> Result<Option<Pending>, GroupStoreError> {
        self.store.pending(name).await
    }

    async fn deliveries(
        &self,
        name: &str,
        events: &[StoredEvent],
    ) -> Result<Option<Vec<EventDelivery>>, GroupStoreError> {
        let place = self.place;
        let inward = |stored: &StoredEvent| StoredEvent {
            position: place.position_in(stored.position),
            ..stored.clone()
        };
        let events: Vec<StoredEvent> = events.iter().map(inward).collect();
        let outward = |delivery: EventDelivery| EventDelivery {
            dead_letter: delivery.dead_letter.map(|letter| place.letter(letter)),
            ..delivery
        };
        let found = self.store.deliveries(name, &events).await?;
        Ok(found.map(|all| all.into_iter().map(outward).collect()))
    }

    async fn passed(&self, name: &str) -> Result<Option<Vec<PassedEvents>>, GroupStoreError> {
        let passed = self.store.passed(name).await?;
        Ok(passed.map(|parts| vec![parts[usize::from(self.place.partition)].clone()]))
    }

    async fn blocked_keys(
        &self,
        name: &str,
        limit: usize,
    ) -> Result<Vec<(u16, BlockedKey)>, GroupStoreError> {
        let rows = self.store.blocked_keys(name, limit).await?;
        let own = |(segment, row)| (self.place.segment_out(segment).expect("its own segment"), row);
        Ok(rows.into_iter().map(own).collect())
    }

    async fn delete_group(&self, name: &str) -> Result<bool, GroupStoreError> {
        self.store.delete_group(name).await
    }

    async fn reset_group(&self, name: &str, at: &Cursor) -> Result<(), GroupStoreError> {
        self.store.reset_group(name, &self.place.cursor_in(at)).await
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<Leases, GroupStoreError> {
        let leases = self.store.lease(request).await?;
        let place = self.place;
        let taken = leases.taken.into_iter().filter_map(|(lease, mut state)| {
            let lease = place.lease_out(lease)?;
            assert_eq!(state.partition, place.partition);
            state.partition = 0;
            Some((lease, state))
        });
        let share = match self.store.group(&request.group).await? {
            Some(status) if request.duration.as_micros() > 0 => place.share(&status, &request.consumer),
            _ => 0,
        };
        Ok(Leases {
            held: leases.held.into_iter().filter_map(|lease| place.lease_out(lease)).collect(),
            taken: taken.collect(),
            share,
            surplus: leases.surplus.into_iter().filter_map(|it| place.segment_out(it)).collect(),
            gaps: place.gaps(leases.gaps),
        })
    }

    async fn leave(&self, group: &str, consumer: &str, token: u64) -> Result<(), GroupStoreError> {
        self.store.leave(group, consumer, token).await
    }

    async fn commit(&self, commits: &[SegmentCommit]) -> Result<Vec<CommitOutcome>, GroupStoreError> {
        let inward = |commit: &SegmentCommit| {
            let mut inward = commit.clone();
            inward.lease = self.place.lease_in(&commit.lease);
            for letter in &mut inward.dead_letters {
                letter.position = self.place.position_in(letter.position);
            }
            inward
        };
        let commits: Vec<SegmentCommit> = commits.iter().map(inward).collect();
        self.store.commit(&commits).await
    }

    async fn enqueue(
        &self,
        runner: Option<&ReplayLease>,
        batches: &[NewLaneBatch],
    ) -> Result<Vec<EnqueueOutcome>, GroupStoreError> {
        let inward = |batch: &NewLaneBatch| NewLaneBatch {
            segment: self.place.segment_in(batch.segment),
            ..batch.clone()
        };
        let batches: Vec<NewLaneBatch> = batches.iter().map(inward).collect();
        self.store.enqueue(runner, &batches).await
    }

    async fn lane(
        &self,
        group: &str,
        after: &[(u16, u64)],
        limit: usize,
    ) -> Result<Vec<LaneBatch>, GroupStoreError> {
        let after: Vec<(u16, u64)> =
            after.iter().map(|(segment, place)| (self.place.segment_in(*segment), *place)).collect();
        let mut batches = self.store.lane(group, &after, limit).await?;
        for batch in &mut batches {
            batch.segment = self.place.segment_out(batch.segment).expect("its own segment");
        }
        Ok(batches)
    }

    async fn withdraw(&self, replay_id: &str) -> Result<u64, GroupStoreError> {
        self.store.withdraw(replay_id).await
    }
}

#[async_trait]
impl DeadLetterStore for Part {
    async fn dead_letters(&self, query: &DeadLetterQuery) -> Result<Vec<DeadLetter>, StorageFailure> {
        let letters = self.store.dead_letters(query).await?;
        Ok(letters.into_iter().map(|letter| self.place.letter(letter)).collect())
    }

    async fn dead_letters_by_id(&self, ids: &[String]) -> Result<Vec<DeadLetter>, StorageFailure> {
        let letters = self.store.dead_letters_by_id(ids).await?;
        Ok(letters.into_iter().map(|letter| self.place.letter(letter)).collect())
    }

    async fn redrive(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.store.redrive(ids).await
    }

    async fn discard(&self, ids: &[String], reason: &str) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.store.discard(ids, reason).await
    }

    async fn edit(&self, id: &str, edit: Option<&LetterEdit>) -> Result<DeadLetterChange, StorageFailure> {
        self.store.edit(id, edit).await
    }

    async fn restore(&self, ids: &[String]) -> Result<Vec<DeadLetterChange>, StorageFailure> {
        self.store.restore(ids).await
    }

    async fn count_dead_letters(&self) -> Result<Vec<DeadLetterCount>, StorageFailure> {
        self.store.count_dead_letters().await
    }

    async fn purge_dead_letters(&self, closed_before: Timestamp) -> Result<u64, StorageFailure> {
        self.store.purge_dead_letters(closed_before).await
    }
}

#[async_trait]
impl ReplayStore for Part {
    async fn record_replayed(&self, positions: &[Position], at: Timestamp) -> Result<(), ReplayStoreError> {
        let positions: Vec<Position> = positions.iter().map(|at| self.place.position_in(*at)).collect();
        self.store.record_replayed(&positions, at).await
    }

    async fn create_replay(&self, record: &ReplayRecord) -> Result<(), ReplayStoreError> {
        let hold = record.hold.as_ref().map(|hold| self.place.cursor_in(hold));
        self.store.create_replay(&ReplayRecord { hold, ..record.clone() }).await
    }

    async fn find_replay(&self, id: &str) -> Result<Option<ReplayRecord>, ReplayStoreError> {
        Ok(self.store.find_replay(id).await?.map(|record| self.place.replay(record)))
    }

    async fn list_replays(&self, limit: usize) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let records = self.store.list_replays(limit).await?;
        Ok(records.into_iter().map(|record| self.place.replay(record)).collect())
    }

    async fn waiting_replays(&self) -> Result<Vec<ReplayRecord>, ReplayStoreError> {
        let records = self.store.waiting_replays().await?;
        Ok(records.into_iter().map(|record| self.place.replay(record)).collect())
    }

    async fn lease_replay(
        &self,
        id: &str,
        token: u64,
        duration: std::time::Duration,
    ) -> Result<Option<ReplayLease>, ReplayStoreError> {
        self.store.lease_replay(id, token, duration).await
    }

    async fn update_replay(
        &self,
        lease: &ReplayLease,
        update: &ReplayUpdate,
    ) -> Result<ReplayState, ReplayStoreError> {
        let hold = update.hold.as_ref().map(|hold| self.place.cursor_in(hold));
        self.store.update_replay(lease, &ReplayUpdate { hold, ..update.clone() }).await
    }

    async fn request(
        &self,
        id: &str,
        command: ReplayCommand,
    ) -> Result<Option<ReplayState>, ReplayStoreError> {
        self.store.request(id, command).await
    }

    async fn steer(&self, id: &str, steering: &str) -> Result<Option<ReplayState>, ReplayStoreError> {
        self.store.steer(id, steering).await
    }

    async fn results(&self, id: &str, limit: usize) -> Result<Vec<LaneResult>, ReplayStoreError> {
        let mut results = self.store.results(id, limit).await?;
        for result in &mut results {
            result.segment = self.place.segment_out(result.segment).expect("its own segment");
        }
        Ok(results)
    }

    async fn delete_replay(&self, id: &str) -> Result<bool, ReplayStoreError> {
        self.store.delete_replay(id).await
    }
}

#[async_trait]
impl AuditStore for Part {
    async fn append_audit(&self, note: &AuditNote) -> Result<AuditEntry, StorageFailure> {
        self.store.append_audit(note).await
    }

    async fn audit(&self, below: Option<u64>, limit: usize) -> Result<Vec<AuditEntry>, StorageFailure> {
        self.store.audit(below, limit).await
    }
}

#[async_trait]
impl TokenStore for Part {
    async fn add_token(&self, token: &TokenRecord) -> Result<bool, StorageFailure> {
        self.store.add_token(token).await
    }

    async fn token(&self, id: &str) -> Result<Option<TokenRecord>, StorageFailure> {
        self.store.token(id).await
    }

    async fn list_tokens(&self) -> Result<Vec<TokenRecord>, StorageFailure> {
        self.store.list_tokens().await
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StorageFailure> {
        self.store.revoke_token(id).await
    }
}

#[async_trait]
impl PauseStore for Part {
    async fn pause_group(&self, group: &str, pause: &GroupPause) -> Result<(), GroupStoreError> {
        self.store.pause_group(group, pause).await
    }

    async fn resume_group(&self, group: &str, source: Option<&str>) -> Result<u64, GroupStoreError> {
        self.store.resume_group(group, source).await
    }

    async fn pauses(&self, group: &str) -> Result<Vec<GroupPause>, GroupStoreError> {
        self.store.pauses(group).await
    }
}

#[async_trait]
impl PlanStore for Part {
    async fn add_plan(&self, plan: &PlanRecord, document: &str) -> Result<bool, StorageFailure> {
        self.store.add_plan(plan, document).await
    }

    async fn plan(&self, id: &str) -> Result<Option<PlanRecord>, StorageFailure> {
        self.store.plan(id).await
    }

    async fn plan_document(&self, id: &str) -> Result<Option<String>, StorageFailure> {
        self.store.plan_document(id).await
    }

    async fn list_plans(&self) -> Result<Vec<PlanRecord>, StorageFailure> {
        self.store.list_plans().await
    }

    async fn replace_plan(&self, before: &PlanRecord, after: &PlanRecord) -> Result<bool, StorageFailure> {
        self.store.replace_plan(before, after).await
    }

    async fn delete_plan(&self, id: &str) -> Result<bool, StorageFailure> {
        self.store.delete_plan(id).await
    }
}

#[async_trait]
impl RequestStore for Part {
    async fn begin_request(
        &self,
        id: &RequestId,
        claim: RequestClaim<'_>,
    ) -> Result<RequestState, StorageFailure> {
        self.store.begin_request(id, claim).await
    }

    async fn finish_request(
        &self,
        id: &RequestId,
        claim: &str,
        answer: Option<&RecordedAnswer>,
    ) -> Result<bool, StorageFailure> {
        self.store.finish_request(id, claim, answer).await
    }

    async fn remembered_requests(&self) -> Result<u64, StorageFailure> {
        self.store.remembered_requests().await
    }
}

#[async_trait]
impl CheckpointStore for Part {
    async fn save_checkpoint(
        &self,
        checkpoint: Checkpoint,
        replace: bool,
    ) -> Result<(), CheckpointStoreError> {
        let mark = self.place.cursor_in(&checkpoint.mark);
        self.store.save_checkpoint(Checkpoint { mark, ..checkpoint }, replace).await
    }

    async fn find_checkpoint(&self, name_or_id: &str) -> Result<Option<Checkpoint>, CheckpointStoreError> {
        Ok(self.store.find_checkpoint(name_or_id).await?.map(|found| self.place.checkpoint(found)))
    }

    async fn list_checkpoints(&self) -> Result<Vec<Checkpoint>, CheckpointStoreError> {
        let checkpoints = self.store.list_checkpoints().await?;
        Ok(checkpoints.into_iter().map(|found| self.place.checkpoint(found)).collect())
    }

    async fn delete_checkpoint(&self, name_or_id: &str) -> Result<bool, CheckpointStoreError> {
        self.store.delete_checkpoint(name_or_id).await
    }
}

#[async_trait]
impl ScheduleStore for Part {
    async fn schedule(&self, event: &Event, due: Timestamp) -> Result<ScheduleOutcome, StorageFailure> {
        Ok(match self.store.schedule(&self.place.at_home(event), due).await? {
            ScheduleOutcome::AlreadyStored(at) => ScheduleOutcome::AlreadyStored(self.place.position_out(at)),
            other => other,
        })
    }

    async fn scheduled(&self, limit: usize) -> Result<Vec<ScheduledEvent>, StorageFailure> {
        self.store.scheduled(limit).await
    }

    async fn cancel_scheduled(&self, event_id: &str) -> Result<bool, StorageFailure> {
        self.store.cancel_scheduled(event_id).await
    }

    async fn append_due(&self, limit: usize) -> Result<Vec<(String, AppendOutcome)>, StorageFailure> {
        let appended = self.store.append_due(limit).await?;
        Ok(appended.into_iter().map(|(id, outcome)| (id, self.place.outcome(outcome))).collect())
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StorageFailure> {
        self.store.next_due().await
    }
}

#[async_trait]
impl SchemaStore for Part {
    async fn put_schema(&self, record: SchemaRecord) -> Result<(), StorageFailure> {
        self.store.put_schema(record).await
    }

    async fn list_schemas(&self) -> Result<Vec<SchemaRecord>, StorageFailure> {
        self.store.list_schemas().await
    }

    async fn remove_schema(
        &self,
        event_type: &str,
        event_version: Option<&str>,
    ) -> Result<bool, StorageFailure> {
        self.store.remove_schema(event_type, event_version).await
    }
}

#[async_trait]
impl StatsStore for Part {
    async fn add_stats(&self, samples: &[StatSample]) -> Result<(), StorageFailure> {
        self.store.add_stats(samples).await
    }

    async fn stats(&self, since_minute: Option<i64>) -> Result<Vec<StatSample>, StorageFailure> {
        self.store.stats(since_minute).await
    }

    async fn fold_stats(&self, before_minute: i64) -> Result<(), StorageFailure> {
        self.store.fold_stats(before_minute).await
    }

    async fn event_counts(&self) -> Result<Option<Tally>, StorageFailure> {
        self.store.event_counts().await
    }
}
