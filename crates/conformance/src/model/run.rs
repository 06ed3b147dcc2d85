//! One round: random operations run on the store and on the model, and the results are compared.

use std::{sync::Arc, time::Duration};

use domain::{
    Checkpoint, Cursor, Entity, Event, Position, Tally,
    ports::{Atomicity, CheckpointStoreError, Clock, GroupHolds, Order, TrimRequest, Trimmed},
    retention::{Hold, RetentionRule},
};

use super::{
    generator::Generator,
    oracle::{Oracle, Rule, Seen, seen},
    wanted::Wanted,
};
use crate::{Bench, Draft, Stores, walk};

pub(super) struct Run {
    bench: Bench,
    handles: [Arc<dyn Stores>; 2],
    draw: Generator,
    oracle: Oracle,
    /// Heads after each append.
    marks: Vec<Cursor>,
    seed: u64,
    here: String,
}

impl Run {
    pub(super) async fn new(bench: Bench, seed: u64) -> Self {
        let handles = [bench.store.clone(), bench.storage.open().await];
        let marks = vec![bench.store.head().await.unwrap()];
        let (draw, oracle) = (Generator::new(seed), Oracle::default());
        Self { bench, handles, draw, oracle, marks, seed, here: String::new() }
    }

    pub(super) async fn step(&mut self, step: usize) {
        self.here = format!("EVENT_REPLAY_SEED={} EVENT_REPLAY_ROUNDS=1, step {step}", self.seed);
        self.bench.clock.advance(self.draw.seconds(20));
        if self.draw.one_in(20) {
            // The clock sometimes jumps back.
            self.bench.clock.set(self.bench.clock.now() - Duration::from_secs(30));
        }
        match self.draw.rng.u32(..20) {
            0..=6 => self.append().await,
            7..=11 => self.read().await,
            12 => self.get().await,
            13..=14 => self.trim().await,
            15 => self.erase().await,
            16..=17 => self.replay().await,
            _ => self.checkpoint(step).await,
        }
    }

    /// Compares the final state of the store with the model through a new handle, and verifies the store.
    pub(super) async fn finish(&mut self) {
        let here = &self.here;
        let store = self.bench.storage.open().await;
        let read = walk(&*store, &Arc::default(), Order::OldestFirst, 50, None).await;
        let everything = self.oracle.read(&Wanted::default(), None);
        assert_eq!(read.iter().map(seen).collect::<Vec<_>>(), everything, "{here}: at the end");
        if let Some(counts) = store.event_counts().await.unwrap() {
            let mut scanned = Tally::default();
            read.iter().for_each(|stored| scanned.add_event(&stored.event));
            assert_eq!(counts, scanned, "{here}: counts at the end");
        }
        let info = store.info().await.unwrap();
        assert_eq!((info.events, info.bytes), self.oracle.size(), "{here}: at the end");
        let trimmed = |partition| self.oracle.trimmed_through.get(&partition).copied().unwrap_or(0);
        let trimmed: Vec<u64> = (0..self.bench.partitions).map(trimmed).collect();
        assert_eq!(info.trimmed_through, trimmed, "{here}: at the end");
        let report = store.verify(None).await.unwrap();
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()), "{here}: at the end");
        assert_eq!(report.events, everything.len() as u64, "{here}: at the end");
    }

    fn store(&mut self) -> Arc<dyn Stores> {
        self.handles[self.draw.rng.usize(..2)].clone()
    }

    fn mark(&mut self) -> Cursor {
        let at = self.draw.rng.usize(..self.marks.len());
        self.marks[at].clone()
    }

    async fn append(&mut self) {
        let store = self.store();
        let batch: Vec<String> = (0..self.draw.rng.usize(..8)).map(|_| self.draw.event()).collect();
        let events: Vec<Event> = batch.iter().map(|json| Draft::parse(json)).collect();
        let atomicity = if self.draw.rng.bool() { Atomicity::Each } else { Atomicity::AllOrNothing };
        let outcomes = store.append(&events, atomicity).await.unwrap();
        let now = self.bench.clock.now();
        if let Err(why) = self.oracle.append(&batch, atomicity, &outcomes, now) {
            panic!("{}: append {atomicity:?} of {batch:#?} gave {outcomes:?}: {why}", self.here);
        }
        self.marks.push(store.head().await.unwrap());
    }

    async fn read(&mut self) {
        let store = self.store();
        let wanted = self.draw.wanted();
        let limit = self.draw.rng.usize(1..=7);
        let until = if self.draw.rng.bool() { Some(self.mark()) } else { None };
        let what = format!("{}: {wanted:?} up to {until:?} in pages of {limit}", self.here);
        let filter = wanted.filter();
        let mut expected = self.oracle.read(&wanted, until.as_ref());
        let count = store.count(&filter, until.as_ref()).await.unwrap();
        assert_eq!(count, expected.len() as u64, "{what}");
        for order in [Order::OldestFirst, Order::NewestFirst] {
            let read = walk(&*store, &filter, order, limit, until.clone()).await;
            let read: Vec<Seen> = read.iter().map(seen).collect();
            assert_eq!(read, expected, "{what}, {order:?}");
            expected.reverse();
        }
    }

    async fn get(&mut self) {
        let mut ids: Vec<String> = (0..self.draw.rng.usize(..40)).map(|_| self.draw.id()).collect();
        ids.sort();
        ids.dedup();
        self.draw.rng.shuffle(&mut ids);
        let read = self.store().get(&ids).await.unwrap();
        let read: Vec<Seen> = read.iter().map(seen).collect();
        assert_eq!(read, self.oracle.get(&ids), "{}: get {ids:?}", self.here);
    }

    async fn trim(&mut self) {
        let store = self.store();
        let (rule, request) = self.rule();
        let now = self.bench.clock.now();
        let promised = store.trim(&TrimRequest { dry_run: true, ..request.clone() }).await.unwrap();
        assert_eq!(promised, self.oracle.trim(&rule, now, true), "{}: dry run of {rule:?}", self.here);
        if self.draw.one_in(3) {
            return;
        }
        let mut done = Trimmed { more: true, ..Trimmed::default() };
        while done.more {
            let step = store.trim(&request).await.unwrap();
            assert!(step.events <= request.limit as u64, "{}: {step:?} of {request:?}", self.here);
            assert!(step.events > 0 || !step.more, "{}: {step:?} of {request:?}", self.here);
            done = Trimmed { events: done.events + step.events, bytes: done.bytes + step.bytes, ..step };
        }
        assert_eq!(done, self.oracle.trim(&rule, now, false), "{}: trim {rule:?}", self.here);
    }

    /// Draws a rule with at most two bounds, as a rule of the model and as a request of the port.
    fn rule(&mut self) -> (Rule, TrimRequest) {
        let mut rule = Rule { types: self.draw.rule_types(), ..Rule::default() };
        let mut through = None;
        for _ in 0..self.draw.rng.usize(..3) {
            match self.draw.rng.u32(..4) {
                0 => rule.max_age = Some(self.draw.seconds(900)),
                1 => rule.max_events = Some(self.draw.rng.u64(..40)),
                2 => rule.max_bytes = Some(self.draw.rng.u64(..12_000)),
                _ => through = Some(self.mark()),
            }
        }
        rule.through.clone_from(&through);
        let mut holds = Vec::new();
        for n in 0..self.draw.rng.usize(..3) {
            let mark = self.mark();
            // For two holds with the same mark, the ports do not define which of them is named. So each mark occurs
            // once.
            if rule.holds.iter().all(|(_, other)| other.sequences != mark.sequences) {
                rule.holds.push((format!("holder {n}"), mark.clone()));
                holds.push(Hold { holder: format!("holder {n}"), mark });
            }
        }
        let types = rule.types.iter().map(domain::TypePattern::new).collect();
        let (max_age, max_events, max_bytes) = (rule.max_age, rule.max_events, rule.max_bytes);
        let asked = RetentionRule { types, max_age, max_events, max_bytes, through };
        let limit = self.draw.rng.usize(1..=4);
        (rule, TrimRequest { rule: asked, holds, limit, dry_run: false, groups: GroupHolds::default() })
    }

    async fn erase(&mut self) {
        let (kind, id) = self.draw.entity();
        let erased = self.store().erase(&Entity::new(&kind, &id)).await.unwrap();
        let expected = self.oracle.erase(&kind, &id);
        assert_eq!((erased.events, erased.bytes), expected, "{}: erase {kind}={id:?}", self.here);
    }

    async fn replay(&mut self) {
        let chance = self.draw.rng.u32(1..6);
        let mut positions: Vec<Position> = self.oracle.log.iter().map(|kept| kept.position).collect();
        positions.retain(|_| self.draw.one_in(chance));
        positions.push(Position::new(0, u64::MAX / 4));
        let at = self.bench.clock.now();
        self.store().record_replayed(&positions, at).await.unwrap();
        self.oracle.record_replayed(&positions, at);
    }

    async fn checkpoint(&mut self, step: usize) {
        let store = self.store();
        let name = format!("name:{{{}}}", self.draw.rng.u32(..4));
        if self.draw.one_in(4) {
            let deleted = store.delete_checkpoint(&name).await.unwrap();
            assert_eq!(deleted, self.oracle.delete_checkpoint(&name), "{}: delete {name}", self.here);
        } else {
            let replace = self.draw.rng.bool();
            let checkpoint = Checkpoint {
                id: format!("id {step}"),
                name: name.clone(),
                mark: self.mark(),
                last_processed_event_id: self.draw.id(),
                event_count: step as u64,
                metadata: serde_json::Map::new(),
                // Creation times rise, so the order of the list is known.
                created_at: jiff::Timestamp::from_second(1_700_000_000 + step as i64).unwrap(),
                hold: self.draw.rng.bool(),
            };
            let saved = store.save_checkpoint(checkpoint.clone(), replace).await;
            let expected = match self.oracle.save_checkpoint(checkpoint, replace) {
                true => Ok(()),
                false => Err(CheckpointStoreError::NameTaken(name)),
            };
            assert_eq!(saved, expected, "{}: save a checkpoint", self.here);
        }
        let listed = store.list_checkpoints().await.unwrap();
        assert_eq!(listed, self.oracle.checkpoints, "{}: list the checkpoints", self.here);
    }
}
