//! A history: random steps from a seed, and their expected results.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use event_replay::{
    Backoff, Cancel, DeadLetterState, Entity, Filter, GroupChoice, GroupReplayOptions, JobHost, Pace,
    PlanRequest, Position, PublishError, ReplayManager, RetentionRule, Settings, StoreHandle, SystemClock,
    Timestamp, TypePattern,
    app::{self, audit::Actor, dead_letters, erase::EraseRequest, retention},
    domain::{group::LaneOrigin, ports::ReplayCommand},
    prelude::*,
    replay::{Letters, ReplayOptions},
};
use fastrand::Rng;
use serde_json::json;

use crate::recorder::{Drawn, DrawnTarget, Recorder};

const TYPES: [&str; 4] = ["user.registered", "user.profile.updated", "payment.processed", "note.written"];
/// A type with events that may expire. Each event is its own ordering key.
pub(crate) const EXPIRING: &str = "note.expiring";

/// A consumer group of the histories.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    pub(crate) name: &'static str,
    /// The event types. `None`: all.
    pub(crate) types: Option<&'static str>,
    /// Whether the group keeps dead letters.
    pub(crate) keeps_letters: bool,
    pub(crate) takes_replays: bool,
}

pub(crate) const GROUPS: [Group; 3] = [
    Group { name: "mail", types: Some("user.*"), keeps_letters: true, takes_replays: true },
    Group { name: "audit", types: None, keeps_letters: true, takes_replays: false },
    Group { name: "lossy", types: Some("payment.*"), keeps_letters: false, takes_replays: true },
];

fn actor() -> Actor {
    Actor { operator: "test".to_owned(), reason: None }
}

impl Group {
    /// Returns whether the group subscribes to a type.
    pub(crate) fn takes(&self, event_type: &str) -> bool {
        self.types.is_none_or(|types| event_type.starts_with(types.trim_end_matches('*')))
    }
}

/// The expected state of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) state: DeadLetterState,
    pub(crate) attempts: u32,
}

pub(crate) struct History {
    pub(crate) store: StoreHandle,
    pub(crate) settings: Settings,
    pub(crate) seed: u64,
    rng: Rng,
    bus: Bus,
    lossy: Bus,
    manager: ReplayManager,
    pub(crate) recorder: Arc<Recorder>,
    /// The number of recorder entries that were processed so far.
    read: usize,
    /// Whether the group `mail` parks keys.
    pub(crate) parks: bool,
    /// Groups that were created.
    pub(crate) made: BTreeSet<&'static str>,
    published: u64,
    pub(crate) admitted: u64,
    pub(crate) rejected: u64,
    pub(crate) appended: u64,
    /// Dead letters by group and event.
    pub(crate) letters: BTreeMap<(String, Position), Letter>,
    /// Parked keys by group and user, with the event that blocks them.
    pub(crate) parked: BTreeMap<(String, String), Position>,
    /// Keys with a discarded dead letter, by that letter, until a consumer has seen the discard.
    pub(crate) releasing: BTreeMap<String, (String, String)>,
    /// The number of dead letters that were discarded by an operator.
    pub(crate) discarded: u64,
    /// Users with removed events. A key may wait for a removed event until a consumer reads the key.
    pub(crate) removed_users: BTreeSet<String>,
    /// Replays to groups that were created.
    pub(crate) replays: Vec<String>,
    /// Replays that were open while an event was removed.
    pub(crate) disturbed: BTreeSet<String>,
    /// The number of steps, by their first word.
    done: BTreeMap<String, u32>,
}

impl History {
    pub(crate) async fn begin(store: StoreHandle, seed: u64) -> Self {
        let bus = Bus::builder(store.ports().clone()).enable_validation(false).build().await.unwrap();
        let lossy = Bus::builder(store.ports().clone())
            .enable_validation(false)
            .enable_dead_letter_queue(false)
            .build()
            .await
            .unwrap();
        let manager =
            replay_manager(store.ports(), None, Arc::new(SystemClock)).with_meter(bus.meter().clone());
        let settings = Settings::load(Some("memory:"), None).unwrap();
        Self {
            settings,
            seed,
            rng: Rng::with_seed(seed),
            bus,
            lossy,
            manager,
            recorder: Arc::default(),
            read: 0,
            parks: seed % 2 == 1,
            made: BTreeSet::new(),
            published: 0,
            admitted: 0,
            rejected: 0,
            appended: 0,
            letters: BTreeMap::new(),
            parked: BTreeMap::new(),
            releasing: BTreeMap::new(),
            discarded: 0,
            removed_users: BTreeSet::new(),
            replays: vec![],
            disturbed: BTreeSet::new(),
            done: BTreeMap::new(),
            store,
        }
    }

    /// Runs one random step. Returns its description.
    pub(crate) async fn step(&mut self) -> String {
        let did = match self.rng.u8(..18) {
            _ if self.published == 0 => self.publish().await,
            _ if self.made.is_empty() => self.consume().await,
            14 | 15 if !self.letters.is_empty() => self.redrive().await,
            16 if !self.letters.is_empty() => self.discard().await,
            10 if !self.replays.is_empty() => self.request().await,
            4..=6 => self.consume().await,
            7 | 8 => self.start_replay().await,
            9 => self.run_replays().await,
            11 => self.replay_to_target().await,
            12 => self.erase().await,
            13 => self.trim().await,
            _ => self.publish().await,
        };
        self.follow();
        self.release().await;
        self.flush().await;
        let word = did.split(' ').next().unwrap_or_default().to_owned();
        *self.done.entry(word).or_default() += 1;
        did
    }

    async fn publish(&mut self) -> String {
        let count = self.rng.u64(10..60);
        for _ in 0..count {
            self.published += 1;
            let event = self.event();
            let expires = event["type"] == EXPIRING;
            let expires_at = expires.then(|| Timestamp::now() + Duration::from_millis(1));
            let options = PublishOptions { expires_at, ..PublishOptions::default() };
            let json = event.to_string();
            match self.bus.publish_with(json.as_bytes(), &options).await {
                Ok(_) => {
                    self.admitted += 1;
                    self.appended += 1;
                }
                Err(PublishError::Rejected(_)) => self.rejected += 1,
                // The id was erased.
                Err(_) => {
                    self.admitted += 1;
                    self.appended += 1;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(3)).await;
        format!("published {count}")
    }

    fn event(&mut self) -> serde_json::Value {
        // Some events are published twice.
        let number = if self.rng.u8(..15) == 0 { self.rng.u64(1..=self.published) } else { self.published };
        let draw = crate::recorder::drawn(self.seed.wrapping_mul(7), &number.to_string());
        let mut event = json!({
            "id": format!("e-{number}"), "type": TYPES[(draw % 4) as usize], "version": "1.0",
            "timestamp": format!("2026-01-{:02}T00:00:00Z", 1 + draw / 28 % 9),
            "source": if (draw / 4).is_multiple_of(2) { "shop" } else { "lab" }, "metadata": {},
            "data": {"text": "x".repeat((draw / 256 % 40) as usize)},
        });
        match draw / 8 % 17 {
            0 => event["type"] = json!(EXPIRING),
            1 => {
                event.as_object_mut().unwrap().remove("source");
            }
            _ => event["userId"] = json!(format!("u{}", draw / 1024 % 9)),
        }
        if (draw / 3).is_multiple_of(3) {
            event["correlationId"] = json!(format!("c{}", draw / 5 % 4));
        }
        event
    }

    /// Starts a consumer of a group.
    async fn consumer(&mut self, group: Group) -> Consumer {
        self.made.insert(group.name);
        let bus = if group.keeps_letters { &self.bus } else { &self.lossy };
        let recorder = Arc::clone(&self.recorder);
        let handler = Arc::new(Drawn { seed: self.seed, takes_replays: group.takes_replays, recorder });
        let subscription = bus.subscribe(group.name).start_at(StartAt::Earliest);
        let subscription = match group.types {
            Some(types) => subscription.on(types, handler),
            None => subscription.on_everything(handler),
        };
        let backoff = Backoff { base: Duration::from_millis(5), cap: Duration::from_millis(20) };
        let park = self.parks && group.name == "mail";
        let subscription = subscription.backoff(backoff).park(park).concurrency(4).max_retries(2);
        // The lease is long, because a comparison may stop all tasks for minutes.
        subscription.lease(Duration::from_secs(600)).start().await.unwrap()
    }

    async fn consume(&mut self) -> String {
        let group = *self.rng.choice(&GROUPS).unwrap();
        let consumer = self.consumer(group).await;
        // The consumer stops at a random moment.
        let within = self.rng.u64(..300);
        tokio::time::sleep(Duration::from_millis(within)).await;
        consumer.stop().await.unwrap();
        format!("consumed {} for {within} ms", group.name)
    }

    fn filter(&mut self) -> Filter {
        let types = |pattern: &str| vec![TypePattern::new(pattern)];
        match self.rng.u8(..4) {
            0 => Filter { types: types("user.*"), ..Filter::default() },
            1 => Filter { types: types("*"), ..Filter::default() },
            2 => Filter::default().entity("user", format!("u{}", self.rng.u8(..9))),
            _ => Filter::correlation(format!("c{}", self.rng.u8(..4))),
        }
    }

    async fn start_replay(&mut self) -> String {
        if self.made.is_empty() {
            return "started no replay".to_owned();
        }
        let filter = self.filter();
        let names: Vec<String> =
            self.made.iter().filter(|_| self.rng.u8(..3) > 0).map(|name| (*name).to_owned()).collect();
        let groups = if names.is_empty() { GroupChoice::All } else { GroupChoice::named(names) };
        let plan = self.manager.plan(PlanRequest::new(filter), None).await.unwrap();
        let options = GroupReplayOptions {
            batch_size: self.rng.usize(1..20),
            pace: Pace::Unpaced,
            all: true,
            ..GroupReplayOptions::of(groups)
        };
        let record = self.manager.start_group_replay(&plan, &options).await.unwrap();
        self.replays.push(record.id.clone());
        format!("started replay {} of {}", record.id, plan.total_events)
    }

    /// Runs the waiting replays, with consumers of every group, for a while.
    async fn run_replays(&mut self) -> String {
        let within = self.rng.u64(..400);
        self.run_for(Duration::from_millis(within)).await;
        format!("ran replays for {within} ms")
    }

    async fn run_for(&mut self, within: Duration) {
        let mut consumers = vec![];
        for group in GROUPS {
            if self.made.contains(group.name) {
                consumers.push(self.consumer(group).await);
            }
        }
        let host = JobHost::spawn(self.manager.clone());
        tokio::time::sleep(within).await;
        host.stop().await;
        for consumer in consumers {
            consumer.stop().await.unwrap();
        }
    }

    async fn request(&mut self) -> String {
        let Some(id) = self.rng.choice(&self.replays).cloned() else { return "requested nothing".to_owned() };
        let command = *self
            .rng
            .choice(&[
                ReplayCommand::Pause,
                ReplayCommand::Pause,
                ReplayCommand::Resume,
                ReplayCommand::Cancel,
            ])
            .unwrap();
        let state = self.manager.request(&id, command).await.unwrap();
        format!("requested {command:?} of {id}: {state:?}")
    }

    async fn replay_to_target(&mut self) -> String {
        let filter = self.filter();
        let plan = self.manager.plan(PlanRequest::new(filter), None).await.unwrap();
        let options = ReplayOptions {
            pace: Pace::Unpaced,
            batch_size: self.rng.usize(1..20),
            all: true,
            target: "drawn".to_owned(),
            ..ReplayOptions::default()
        };
        let mut target = DrawnTarget { seed: self.rng.u64(..), recorder: Arc::clone(&self.recorder) };
        let report = self.manager.run(&plan, &mut target, &options, &()).await.unwrap();
        self.replays.push(report.replay_id.clone());
        format!("replayed to a target {} of {}", report.replay_id, plan.total_events)
    }

    /// Records the unfinished replays, which a removal affects.
    async fn disturb(&mut self) {
        for replay in self.manager.list_replays(1000).await.unwrap() {
            if !replay.state.is_final() {
                self.disturbed.insert(replay.id);
            }
        }
    }

    async fn erase(&mut self) -> String {
        self.disturb().await;
        let user = format!("u{}", self.rng.u8(..9));
        let request = EraseRequest::new(vec![Entity::new("user", &user)]).unwrap();
        let named = request.count(&self.store).await.unwrap();
        let ids: BTreeSet<String> = self.scan().await.of_user(&user);
        let erased = request.erase(&self.store, &actor()).await.unwrap();
        assert_eq!((named, erased.events), (ids.len() as u64, ids.len() as u64), "erased");
        let seen = self.recorder.seen();
        let of_user = seen.iter().filter(|seen| seen.user.as_ref() == Some(&user));
        let of_user: BTreeSet<Position> = of_user.map(|seen| seen.position).collect();
        self.letters.retain(|(_, position), _| !of_user.contains(position));
        self.parked.retain(|(_, key), _| *key != user);
        self.releasing.retain(|_, (_, key)| *key != user);
        self.removed_users.insert(user.clone());
        format!("erased {} of {user}", erased.events)
    }

    async fn trim(&mut self) -> String {
        let before = self.scan().await;
        let most = self.rng.u64(..=before.events.len() as u64);
        // Some trims ignore the holds of groups.
        let mut settings = self.settings.clone();
        if self.rng.u8(..3) == 0 {
            settings.holds.forgotten_after = Duration::ZERO;
        }
        self.disturb().await;
        let rule = RetentionRule { max_events: Some(most), ..RetentionRule::default() };
        let would = retention::apply(&self.store, &settings, std::slice::from_ref(&rule), true, None).await;
        let report = retention::apply(&self.store, &settings, &[rule], false, None).await.unwrap();
        let after = self.scan().await;
        let gone = before.events.len() - after.events.len();
        assert_eq!((report.events, would.unwrap().events), (gone as u64, gone as u64), "trimmed");
        for event in &before.events {
            if after.find(event.position).is_none() {
                self.removed_users.extend(event.user.clone());
            }
        }
        format!("trimmed {gone} to {most}")
    }

    /// Returns some of the open dead letters.
    async fn some_letters(&mut self) -> Vec<String> {
        let query = event_replay::domain::ports::DeadLetterQuery {
            states: vec![DeadLetterState::Open],
            limit: 10_000,
            ..Default::default()
        };
        let open = self.store.dead_letters(&query).await.unwrap();
        let ids: Vec<String> = open.into_iter().map(|letter| letter.id).collect();
        ids.into_iter().filter(|_| self.rng.bool()).collect()
    }

    /// Sets the expected state of dead letters, by ids.
    async fn set(&mut self, ids: &[String], state: DeadLetterState) {
        for letter in self.store.dead_letters_by_id(ids).await.unwrap() {
            let known = self.letters.get_mut(&(letter.group.clone(), letter.position));
            known.expect("a letter that is known").state = state;
        }
    }

    async fn redrive(&mut self) -> String {
        let ids = self.some_letters().await;
        let count = ids.len();
        self.set(&ids, DeadLetterState::Redriving).await;
        let redriver = dead_letters::redriver(&self.store);
        let report = redriver.redrive(Letters::Ids(ids), false, &(), &Cancel::default()).await.unwrap();
        assert_eq!((report.requested, report.remaining), (count as u64, count as u64), "redriven");
        format!("redrove {count}")
    }

    async fn discard(&mut self) -> String {
        let ids = self.some_letters().await;
        let count = ids.len() as u64;
        self.set(&ids, DeadLetterState::Discarded).await;
        for letter in self.store.dead_letters_by_id(&ids).await.unwrap() {
            let parked = self.parked.extract_if(.., |(group, _), position| {
                *group == letter.group && *position == letter.position
            });
            let parked: Vec<_> = parked.collect();
            self.releasing.extend(parked.into_iter().map(|(key, _)| (letter.id.clone(), key)));
        }
        let report =
            dead_letters::discard(&self.store, &actor(), Letters::Ids(ids), "not wanted").await.unwrap();
        assert_eq!((report.requested, report.discarded), (count, count), "discarded");
        self.discarded += count;
        format!("discarded {count}")
    }

    /// Processes the answers of handlers since the last call: the expected dead letters and the parked keys.
    fn follow(&mut self) {
        let seen = self.recorder.seen();
        for seen in &seen[self.read..] {
            let key = (seen.group.clone(), seen.position);
            let parked = seen.user.clone().map(|user| (seen.group.clone(), user));
            match (seen.answer, seen.is_redrive()) {
                (crate::recorder::Answer::GaveUp, is_redrive) if seen.group != "lossy" => {
                    let letter = self
                        .letters
                        .entry(key)
                        .or_insert(Letter { state: DeadLetterState::Open, attempts: 0 });
                    letter.state = DeadLetterState::Open;
                    letter.attempts += if is_redrive { 1 } else { seen.attempt };
                    if let Some(parked) =
                        parked.filter(|_| seen.is_live() && self.parks && seen.group == "mail")
                    {
                        self.parked.insert(parked, seen.position);
                    }
                }
                (crate::recorder::Answer::Handled, true) => {
                    if let Some(letter) =
                        self.letters.get_mut(&key).filter(|letter| letter.state == DeadLetterState::Redriving)
                    {
                        letter.state = DeadLetterState::Handled;
                    }
                    if let Some(parked) =
                        parked.filter(|parked| self.parked.get(parked) == Some(&seen.position))
                    {
                        self.parked.remove(&parked);
                    }
                }
                _ => {}
            }
        }
        self.read = seen.len();
    }

    /// Removes parked keys after their release has left the replay queue.
    async fn release(&mut self) {
        let mut waiting = BTreeSet::new();
        for group in &self.made {
            let status = self.store.group(group).await.unwrap().unwrap();
            let after: Vec<(u16, u64)> = status.segments.iter().map(|segment| (segment.segment, 0)).collect();
            for batch in self.store.lane(group, &after, usize::MAX).await.unwrap() {
                if let LaneOrigin::Discarded { dead_letter } = batch.origin {
                    waiting.insert(dead_letter);
                }
            }
        }
        self.releasing.retain(|letter, _| waiting.contains(letter));
    }

    async fn flush(&self) {
        for bus in [&self.bus, &self.lossy] {
            bus.meter().flush(&**self.store.ports()).await.unwrap();
        }
    }

    /// Runs every replay to its end.
    pub(crate) async fn settle(&mut self) {
        for _ in 0..600 {
            let mut are_over = true;
            for replay in self.manager.list_replays(1000).await.unwrap() {
                if !replay.state.is_final() {
                    are_over = false;
                    self.manager.request(&replay.id, ReplayCommand::Resume).await.unwrap();
                }
            }
            if are_over {
                break;
            }
            self.run_for(Duration::from_millis(300)).await;
        }
        self.follow();
        self.release().await;
        self.flush().await;
    }

    /// Fails if the history had too few steps of interest.
    pub(crate) fn check_that_it_tested_something(&self) {
        let seen = self.recorder.seen();
        let live = seen.iter().filter(|seen| seen.is_live()).count();
        println!(
            "  {live} of {} deliveries live, {} letters: {:?}",
            seen.len(),
            self.letters.len(),
            self.done
        );
        assert!(live > 0 && self.published > 0, "{:?}", self.done);
    }

    pub(crate) async fn close(self) {
        self.bus.close().await;
        self.lossy.close().await;
        self.store.close().await;
    }

    /// Returns the health of the open store.
    pub(crate) async fn health(&self) -> serde_json::Value {
        let health = app::health::of_store(&self.store, &self.settings).await.unwrap();
        serde_json::to_value(health).unwrap()
    }
}
