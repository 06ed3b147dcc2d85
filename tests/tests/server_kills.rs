//! A Redis server is killed in the midst of batches, over and over, and started again on its data, which at times has lost
//! its end: what was promised is there, nothing is torn, no position ever names two events, and consumers and replays go
//! on by themselves.
//!
//! EVENT_REPLAY_ROUNDS says how many kills, EVENT_REPLAY_SEED with which luck. In a full run each program that is installed
//! is killed, else one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bus::{Bus, BusSettings, PublishSettings, Published, RetryRule, StartAt};
use domain::{
    Checkpoint, Delivery, Document, Event, Filter, HandlerError, Limits, StorageFailure,
    ports::{
        AppendOutcome, Atomicity, EventStore, EventStoreError, GroupStore, ReadRequest, ReplayState,
        ReplayStore, Stores, SystemClock,
    },
};
use fastrand::Rng;
use replay::{
    GapCause, GroupReplayOptions, JobHost, NewCheckpoint, Pace, PlanRequest, ReplayError, ReplayManager,
};
use servers::{Aof, Binary, Config, Proxy, Server};
use storage_redis::{RedisOptions, RedisStore};
use support::{
    acknowledged::{Ledger, Promise, RawLog},
    append_only_file::{AppendOnlyFile, written_anew},
};
use tokio::{sync::watch, task::JoinHandle};

/// Publishers that append batches of their own, and publishers that publish through one bus, event by event.
const APPENDING: usize = 3;
const PUBLISHING: usize = 4;
const GROUP: &str = "readers";
/// How long something may take that must come by itself; how soon it comes is nobody's claim.
const PATIENCE: Duration = Duration::from_secs(60);

fn json(publisher: usize, n: u64) -> String {
    let (kind, user, filler) = (n % 5, n % 17, "x".repeat((n * 37 % 600) as usize));
    format!(
        r#"{{"id":"p{publisher}-{n}","type":"kill.test{kind}","version":"1.0","timestamp":"2026-01-01T00:00:00Z","source":"p{publisher}","userId":"u{user}","correlationId":"c{publisher}-{}","metadata":{{}},"data":{{"filler":"{filler}"}}}}"#,
        n / 7
    )
}

fn event(publisher: usize, n: u64) -> Event {
    let document = Document::parse(json(publisher, n).as_bytes(), &Limits::default()).unwrap();
    document.into_event().unwrap()
}

/// What publishers and the test share.
struct Shared {
    ledger: Mutex<Ledger>,
    /// Whether publishers go on, and whether they end.
    gate: watch::Sender<Gate>,
    handled: Mutex<HashSet<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    Shut,
    Over,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until publishers go on; whether they do.
    async fn passes(&self) -> bool {
        let mut gate = self.gate.subscribe();
        *gate.wait_for(|gate| *gate != Gate::Shut).await.unwrap() == Gate::Open
    }
}

/// Appends batches, each again until it is answered.
async fn append_batches(store: RedisStore, shared: Arc<Shared>, publisher: usize, mut rng: Rng) {
    let mut next = 0;
    while shared.passes().await {
        let size = if rng.bool() { rng.u64(1..=5) } else { rng.u64(1..=80) };
        let batch: Vec<Event> = (next..next + size).map(|n| event(publisher, n)).collect();
        next += size;
        let outcomes = loop {
            shared.ledger().ask(publisher);
            let failure = match store.append(&batch, Atomicity::Each).await {
                Ok(outcomes) => break outcomes,
                Err(EventStoreError::Storage(failure)) => failure,
                Err(other) => panic!("{other}"),
            };
            let refused = match failure {
                StorageFailure::Unknown(_) => false,
                StorageFailure::Unavailable(_) | StorageFailure::Busy { .. } => true,
                other => panic!("publisher {publisher}: {other:?}"),
            };
            let ids = batch.iter().map(|event| event.id().to_owned()).collect();
            shared.ledger().park(publisher, ids, refused);
            if !shared.passes().await {
                return;
            }
            // The gate may still be open: the server was killed a moment ago.
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let mut stored = Vec::new();
        let mut again = Vec::new();
        for (event, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                AppendOutcome::Stored(at) => stored.push((event.id().to_owned(), at.sequence)),
                AppendOutcome::AlreadyStored(at) => again.push((event.id().to_owned(), at.sequence)),
                other => panic!("{}: {other:?}", event.id()),
            }
        }
        assert!(stored.is_empty() || again.is_empty(), "some of a batch was there: {again:?}");
        let is_again = stored.is_empty();
        let all = if is_again { again } else { stored };
        shared.ledger().acknowledge(publisher, &all, is_again);
        // The log must stay one that can be read over and over.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..8))).await;
    }
}

/// Publishes event after event, each again until it is answered.
async fn publish_events(bus: Bus, shared: Arc<Shared>, number: usize) {
    let mut next = 0;
    while shared.passes().await {
        let text = json(number, next);
        let published = loop {
            match bus.publish(text.as_bytes()).await {
                Ok(published) => break published,
                Err(error) => println!("publisher {number} publishes again: {error}"),
            }
        };
        let (Published::Stored(at) | Published::AlreadyStored(at)) = published else {
            panic!("{published:?}")
        };
        shared.ledger().acknowledge(number, &[(format!("p{number}-{next}"), at.sequence)], false);
        next += 1;
    }
}

/// A server, and everybody who uses it: through a proxy, so that the test can look at what came back before they do.
struct World {
    server: Server,
    proxy: Proxy,
    shared: Arc<Shared>,
    rng: Rng,
    /// Opened on the server itself: it only reads.
    reader: RedisStore,
    bus: Bus,
    consumer: bus::Consumer,
    manager: ReplayManager,
    host: JobHost,
    publishers: Vec<JoinHandle<()>>,
    /// What of the append-only file is never cut: what was there at the beginning stays.
    first: AppendOnlyFile,
    /// As it was when the server was last started.
    at_start: AppendOnlyFile,
    /// How often the server has found that it ended in the midst of things; of these, without anything having been cut away:
    /// a process can be killed in the midst of a write.
    truncated: usize,
    torn_writes: usize,
    /// Whether it did so when it was last started.
    is_untidy: bool,
    /// Whether it was cut before.
    is_cut: bool,
    checkpoints: Vec<Checkpoint>,
    replays: Vec<String>,
    cuts: usize,
}

impl World {
    async fn start(binary: &Binary, aof: Aof, mut rng: Rng) -> Self {
        let lines = vec!["auto-aof-rewrite-percentage 0".to_owned()];
        let server = Server::start(binary, &Config { aof, lines, ..Config::default() }).await.unwrap();
        let proxy = Proxy::start(server.port()).await.unwrap();
        let url = proxy.url(&server.url(), server.port());
        let store = RedisStore::create(RedisOptions::new(&url)).await.unwrap();
        let reader = RedisStore::open(RedisOptions::new(server.url())).await.unwrap();
        let shared = Arc::new(Shared {
            ledger: Mutex::default(),
            gate: watch::Sender::new(Gate::Shut),
            handled: Mutex::default(),
        });
        let stores: Arc<dyn Stores> = Arc::new(store.clone());
        let bus = Bus::builder(Arc::clone(&stores)).settings(patient()).build().await.unwrap();
        let consumer = consume(&bus, &shared).await;
        let manager =
            ReplayManager::new(stores.clone(), stores.clone(), stores.clone(), None, Arc::new(SystemClock))
                .with_groups(stores.clone());
        let host = JobHost::spawn(manager.clone());
        let first = AppendOnlyFile::of(&server);
        let mut publishers = Vec::new();
        for number in 0..APPENDING {
            // Each has a connection of its own, as processes have.
            let store = RedisStore::open(RedisOptions::new(&url)).await.unwrap();
            publishers.push(tokio::spawn(append_batches(store, shared.clone(), number, rng.fork())));
        }
        for number in APPENDING..APPENDING + PUBLISHING {
            publishers.push(tokio::spawn(publish_events(bus.clone(), shared.clone(), number)));
        }
        Self {
            server,
            proxy,
            shared,
            rng,
            reader,
            bus,
            consumer,
            manager,
            host,
            publishers,
            at_start: first.clone(),
            first,
            truncated: 0,
            torn_writes: 0,
            is_untidy: false,
            is_cut: false,
            checkpoints: Vec::new(),
            replays: Vec::new(),
            cuts: 0,
        }
    }

    /// Waits until something holds.
    async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self).await {
            for publisher in &self.publishers {
                assert!(
                    !publisher.is_finished() || *self.shared.gate.borrow() == Gate::Over,
                    "a publisher broke down"
                );
            }
            if Instant::now() > end {
                let group = self.reader.group(GROUP).await;
                panic!("it never came true: {what}: {group:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Lets publishers go on for a while, and kills the server in the midst of it.
    async fn kill_in_the_midst(&mut self, replays: bool) {
        let before = self.shared.ledger().answered;
        self.shared.gate.send_replace(Gate::Open);
        self.until("something is stored", async |world| world.shared.ledger().answered > before + 50).await;
        if replays {
            self.start_replay().await;
        }
        tokio::time::sleep(Duration::from_millis(self.rng.u64(0..250))).await;
        if self.is_untidy {
            // A server that were killed before that, too, could do half of the batch that was left: that is its own fault.
            written_anew(&self.server.url()).await;
        }
        self.make_checkpoint().await;
        tokio::time::sleep(Duration::from_millis(self.rng.u64(0..30))).await;
        self.server.kill().await.unwrap();
        self.proxy.refuse().await.unwrap();
        self.shared.gate.send_replace(Gate::Shut);
        let noticed =
            async |world: &Self| !(0..APPENDING).any(|number| world.shared.ledger().is_waiting(number));
        self.until("every publisher has noticed", noticed).await;
    }

    async fn make_checkpoint(&mut self) {
        let name = format!("c{}", self.checkpoints.len());
        let new = NewCheckpoint { name, ..NewCheckpoint::default() };
        self.checkpoints.push(self.manager.checkpoints().create(new).await.unwrap());
    }

    /// Begins to send some of the past again, which takes longer than the server lives.
    async fn start_replay(&mut self) {
        let sources = [format!("p{}", self.rng.usize(..APPENDING + PUBLISHING))].into();
        let filter = Filter { sources, ..Filter::default() };
        let request = PlanRequest { limit: Some(400), ..PlanRequest::new(filter) };
        let plan = self.manager.plan(request, None).await.unwrap();
        let options = GroupReplayOptions { pace: Pace::Rate(600.0), ..GroupReplayOptions::default() };
        if plan.total_events > 0 {
            self.replays.push(self.manager.start_group_replay(&plan, &options).await.unwrap().id);
        }
    }

    /// Takes the end of the append-only file away: little of it, all of the last life of the server, or more.
    fn lose_the_end(&mut self) {
        let file = AppendOnlyFile::of(&self.server);
        let since = |then: &AppendOnlyFile| if file.number == then.number { then.length } else { 0 };
        let (least, start) = (since(&self.first), since(&self.at_start));
        let to = match self.rng.u32(..4) {
            0 => return,
            1 => file.length - self.rng.u64(1..=64 * 1024).min(file.length),
            // Of the last life but the very beginning, which may be that it is another one.
            2 => start + self.rng.u64(0..2_000),
            _ => start - self.rng.u64(0..20_000).min(start),
        };
        file.cut(&self.server, to.clamp(least, file.length));
        self.cuts += 1;
        self.is_cut = true;
    }

    /// Starts the server again and holds what it has against what was answered; then everybody else may come.
    async fn come_back(&mut self, promise: Promise) {
        self.server.restart().await.unwrap();
        let truncated = self.server.log().await.matches("Truncating the AOF").count();
        let is_cut = std::mem::take(&mut self.is_cut);
        self.is_untidy = truncated > self.truncated;
        self.torn_writes += usize::from(self.is_untidy && !is_cut);
        self.truncated = truncated;
        self.at_start = AppendOnlyFile::of(&self.server);
        let log = RawLog::read(&self.server.url()).await;
        self.shared.ledger().check(&log, promise);
        let report = self.reader_after_restart().await;
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
        assert_eq!(report.events as usize, log.ids.len());
        self.check_checkpoints(&log).await;
        let newest = log.ids.keys().next_back().copied().unwrap_or(0);
        self.proxy.accept().await.unwrap();
        let answered = self.shared.ledger().answered;
        self.shared.gate.send_replace(Gate::Open);
        self.until("publishers go on", async |world| world.shared.ledger().answered > answered).await;
        let head = self.reader.head().await.unwrap();
        assert_eq!(head.epoch, log.epoch + 1, "the log epoch is raised once, and only once");
        assert!(head.sequence(0) > newest);
        self.check_checkpoints(&log).await;
    }

    /// The store's own check, as soon as its connection is there again.
    async fn reader_after_restart(&self) -> domain::ports::VerifyReport {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.reader.verify(None).await {
                Ok(report) => return report,
                Err(EventStoreError::Storage(StorageFailure::Unavailable(_))) if Instant::now() < end => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// A mark of what is there leads on to everything after it; a mark of what was lost says so.
    async fn check_checkpoints(&mut self, log: &RawLog) {
        let stores: Arc<dyn Stores> = Arc::new(self.reader.clone());
        let manager = ReplayManager::new(stores.clone(), stores.clone(), stores, None, Arc::new(SystemClock));
        for checkpoint in self.checkpoints.clone() {
            let mark = checkpoint.mark.sequence(0);
            let answer = manager.checkpoints().check(&checkpoint, false).await;
            if log.ids.contains_key(&mark) {
                answer.unwrap_or_else(|error| panic!("the mark {mark} is there: {error}"));
                let wanted: Vec<u64> = log.ids.range(mark + 1..).map(|(at, _)| *at).take(50).collect();
                assert_eq!(self.positions_after(&checkpoint, wanted.len()).await, wanted, "after {mark}");
            } else {
                let is_gap =
                    matches!(answer, Err(ReplayError::CheckpointGap { cause: GapCause::Lost(_), .. }));
                assert!(is_gap, "the mark {mark} was lost, in epoch {}: {answer:?}", checkpoint.mark.epoch);
            }
        }
        // One that was lost stays so; there is no need to ask for all of them for ever.
        self.checkpoints.retain(|checkpoint| log.ids.contains_key(&checkpoint.mark.sequence(0)));
    }

    /// So many positions after a checkpoint.
    async fn positions_after(&self, checkpoint: &Checkpoint, most: usize) -> Vec<u64> {
        let mut request = ReadRequest::new(Filter::default(), 7);
        request.after = Some(checkpoint.mark.clone());
        let mut found = Vec::new();
        while found.len() < most {
            let page = self.reader.read(&request).await.unwrap();
            found.extend(page.events.iter().map(|stored| stored.position.sequence));
            let Some(next) = page.next else { break };
            request.after = Some(next);
        }
        found.truncate(most);
        found
    }

    /// Ends everything in order, once the consumers have come to the end and the replays are over.
    async fn settle(mut self, may_be_lost: bool) -> Ledger {
        self.shared.gate.send_replace(Gate::Over);
        for publisher in std::mem::take(&mut self.publishers) {
            publisher.await.unwrap();
        }
        for id in &self.replays {
            let over = async |world: &Self| match world.reader_record(id).await {
                None => true,
                Some(state) => state.is_final(),
            };
            self.until("the replay is over", over).await;
            let state = self.reader_record(id).await;
            let good = match state {
                Some(ReplayState::Completed) => true,
                // What it was to send was lost, or it was lost itself.
                Some(ReplayState::Failed) | None => may_be_lost,
                _ => false,
            };
            assert!(good, "the replay {id} is {state:?}");
        }
        let is_idle = async |world: &Self| {
            let head = world.reader.head().await.unwrap().sequence(0);
            let group = world.reader.group(GROUP).await.unwrap().unwrap();
            group.segments.iter().all(|it| it.cursor == head && it.blocked_keys == 0 && it.lane == 0)
        };
        self.until("the consumers have come to the end", is_idle).await;
        let log = RawLog::read(&self.server.url()).await;
        let handled = self.shared.handled.lock().unwrap().clone();
        let missed: Vec<&String> = log.ids.values().filter(|id| !handled.contains(*id)).collect();
        assert!(missed.is_empty(), "{} events were never handled, such as {:?}", missed.len(), missed[0]);
        self.host.stop().await;
        self.consumer.stop().await.unwrap();
        self.bus.close().await;
        let report = self.reader.verify(None).await.unwrap();
        assert_eq!((report.total_findings, report.findings), (0, Vec::new()));
        std::mem::take(&mut *self.shared.ledger())
    }

    async fn reader_record(&self, id: &str) -> Option<ReplayState> {
        let found = self.reader.find_replay(id).await.unwrap();
        found.map(|record| record.state)
    }
}

async fn consume(bus: &Bus, shared: &Arc<Shared>) -> bus::Consumer {
    let shared = Arc::clone(shared);
    let handle = move |delivery: &Delivery| {
        let id = delivery.stored.event.id().to_owned();
        shared.handled.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        async { Ok::<(), HandlerError>(()) }
    };
    let subscription = bus.subscribe(GROUP).on_everything(bus::handler(handle)).start_at(StartAt::Earliest);
    subscription.segments(4).start().await.unwrap()
}

/// Settings of a bus that does not give up publishing.
fn patient() -> BusSettings {
    let retry =
        RetryRule { max_retries: 10_000, base: Duration::from_millis(5), cap: Duration::from_millis(50) };
    let publish = PublishSettings { retry, ..PublishSettings::default() };
    BusSettings { enable_validation: false, publish, ..BusSettings::default() }
}

/// The programs that are killed: each that is installed in a full run, else the first.
fn binaries() -> Vec<Binary> {
    let mut binaries = Binary::all().unwrap();
    if !support::is_full_run() {
        for binary in binaries.drain(1..) {
            println!("NOT RUN on {binary}: ./test --full does");
        }
    }
    binaries
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_syncs_always_loses_nothing_that_it_answered() {
    for binary in binaries() {
        let mut world = World::start(&binary, Aof::Always, Rng::with_seed(support::seed())).await;
        let rounds = support::rounds(4);
        for round in 0..rounds {
            world.kill_in_the_midst(round == rounds / 2).await;
            world.come_back(Promise::Everything).await;
            world.shared.ledger().expect_none(&format!("{binary}, round {round}"));
        }
        let torn_writes = world.torn_writes;
        let ledger = world.settle(false).await;
        ledger.expect_none(&binary.to_string());
        let (there, absent) = ledger.torn;
        println!(
            "{binary}, always: {rounds} kills, {torn_writes} torn writes, {} events answered, {} lost; batches under way: {there} whole, {absent} absent",
            ledger.answered, ledger.lost
        );
        assert_eq!(ledger.lost, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_syncs_each_second_loses_nothing_but_the_end() {
    for binary in binaries() {
        let mut world = World::start(&binary, Aof::EverySecond, Rng::with_seed(support::seed())).await;
        let rounds = support::rounds(6);
        for round in 0..rounds {
            world.kill_in_the_midst(round == rounds / 2).await;
            world.lose_the_end();
            world.come_back(Promise::AllButTheEnd).await;
            world.shared.ledger().expect_none(&format!("{binary}, round {round}"));
        }
        let (cuts, torn_writes) = (world.cuts, world.torn_writes);
        let ledger = world.settle(true).await;
        ledger.expect_none(&binary.to_string());
        let (there, absent) = ledger.torn;
        println!(
            "{binary}, everysec: {rounds} kills, {cuts} cuts, {torn_writes} torn writes besides, {} events answered, {} lost; batches under way: {there} \
             whole, {absent} absent",
            ledger.answered, ledger.lost
        );
        assert!(ledger.lost > 0 || rounds < 6, "nothing was ever lost: the test proved nothing");
    }
}

/// A server whose user may not have its append-only file written anew.
async fn untidy_server(binary: &Binary) -> Server {
    let users = vec!["default on nopass ~* &* +@all -bgrewriteaof".to_owned()];
    Server::start(binary, &Config { aof: Aof::EverySecond, users, ..Config::default() }).await.unwrap()
}

/// Appends so many events of one publisher, in one batch, through a store that is opened for it.
async fn append_one_batch(server: &Server, ledger: &mut Ledger, from: u64, size: u64) -> u64 {
    let store = RedisStore::create(RedisOptions::new(server.url())).await.unwrap();
    let batch: Vec<Event> = (from..from + size).map(|n| event(0, n)).collect();
    let outcomes = store.append(&batch, Atomicity::Each).await.unwrap();
    let stored = batch.iter().zip(outcomes).map(|(event, outcome)| match outcome {
        AppendOutcome::Stored(at) => (event.id().to_owned(), at.sequence),
        other => panic!("{other:?}"),
    });
    ledger.acknowledge(0, &stored.collect::<Vec<_>>(), false);
    store.head().await.unwrap().epoch
}

/// The beginning of a log epoch may be lost with what was stored in it. The next epoch has its number then, and none of its
/// positions.
#[tokio::test]
async fn a_lost_epoch_leaves_none_of_its_positions_to_the_next() {
    for binary in Binary::all().unwrap() {
        let mut server = untidy_server(&binary).await;
        let mut ledger = Ledger::default();
        for life in 0..4 {
            let file = AppendOnlyFile::of(&server);
            let epoch = append_one_batch(&server, &mut ledger, 3 * life, 3).await;
            println!("{binary}, life {life}: log epoch {epoch}");
            assert_eq!(epoch, if life == 0 { 1 } else { 2 });
            server.kill().await.unwrap();
            if life > 0 {
                file.cut(&server, file.length);
            }
            server.restart().await.unwrap();
            ledger.check(&RawLog::read(&server.url()).await, Promise::AllButTheEnd);
        }
        assert_eq!(ledger.lost, 9);
        ledger.expect_none(&binary.to_string());
    }
}

/// A batch of which a cut of power left the beginning in the append-only file; then the server comes back twice. What the
/// store's own check finds, and what it loses of what was answered in between.
async fn half_a_batch_is_left_in_the_file(binary: &Binary, tidy: bool) -> (u64, Vec<String>) {
    let mut server = match tidy {
        true => Server::start(binary, &Config { aof: Aof::EverySecond, ..Config::default() }).await.unwrap(),
        false => untidy_server(binary).await,
    };
    let mut ledger = Ledger::default();
    append_one_batch(&server, &mut ledger, 0, 20).await;
    let before = AppendOnlyFile::of(&server).length;
    append_one_batch(&server, &mut ledger, 20, 60).await;
    server.kill().await.unwrap();
    let file = AppendOnlyFile::of(&server);
    file.cut(&server, before.midpoint(file.length));
    server.restart().await.unwrap();
    ledger.check(&RawLog::read(&server.url()).await, Promise::AllButTheEnd);
    assert_eq!(ledger.lost, 60, "the whole batch, and nothing else");
    append_one_batch(&server, &mut ledger, 80, 5).await;
    if tidy {
        written_anew(&server.url()).await;
    }
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    ledger.check(&RawLog::read(&server.url()).await, Promise::Everything);
    let store = RedisStore::open(RedisOptions::new(server.url())).await.unwrap();
    (store.verify(None).await.unwrap().total_findings, ledger.violations)
}

#[tokio::test]
async fn half_a_batch_that_was_left_in_the_file_does_not_come_back() {
    for binary in Binary::all().unwrap() {
        let (findings, violations) = half_a_batch_is_left_in_the_file(&binary, true).await;
        assert_eq!((findings, violations), (0, Vec::new()), "{binary}");
    }
}

/// What it would be without: so the test above sees something.
#[tokio::test]
async fn half_a_batch_comes_back_where_the_file_may_not_be_written_anew() {
    for binary in Binary::all().unwrap() {
        let (findings, violations) = half_a_batch_is_left_in_the_file(&binary, false).await;
        println!("{binary}: {findings} findings, {} violations", violations.len());
        assert_eq!(findings > 0, binary.name == "redis", "{binary}");
    }
}

/// What the controls share: a server with some events, and what was answered.
async fn some_events(aof: Aof) -> (Server, Ledger) {
    let server = Server::start(&Binary::default(), &Config { aof, ..Config::default() }).await.unwrap();
    let store = RedisStore::create(RedisOptions::new(server.url())).await.unwrap();
    let mut ledger = Ledger::default();
    for publisher in 0..2 {
        for n in 0..5 {
            let batch: Vec<Event> = (10 * n..10 * n + 10).map(|n| event(publisher, n)).collect();
            let outcomes = store.append(&batch, Atomicity::Each).await.unwrap();
            let stored = batch.iter().zip(outcomes).map(|(event, outcome)| match outcome {
                AppendOutcome::Stored(at) => (event.id().to_owned(), at.sequence),
                other => panic!("{other:?}"),
            });
            ledger.acknowledge(publisher, &stored.collect::<Vec<_>>(), false);
        }
    }
    (server, ledger)
}

async fn delete(server: &Server, position: u64) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut owner = client.get_multiplexed_async_connection().await.unwrap();
    let log = "{default:0}:log:0";
    let mut command = redis::cmd("XRANGE");
    command.arg(log).arg(position).arg(position);
    let found: Vec<(String, redis::Value)> = command.query_async(&mut owner).await.unwrap();
    let mut command = redis::cmd("XDEL");
    assert_eq!(command.arg(log).arg(&found[0].0).query_async::<u64>(&mut owner).await.unwrap(), 1);
}

/// A server without an append-only file comes back empty: that is not everything, and it is all but the end of nothing.
#[tokio::test]
async fn the_checker_sees_that_a_server_kept_nothing() {
    let (mut server, mut ledger) = some_events(Aof::Off).await;
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    let empty = RawLog::default();
    let mut lenient = some_events(Aof::Off).await.1;
    lenient.check(&empty, Promise::AllButTheEnd);
    lenient.expect_none("all but the end");
    assert_eq!(lenient.lost, 100);
    ledger.check(&empty, Promise::Everything);
    assert_eq!(ledger.violations.len(), 2, "{:?}", ledger.violations);
    assert!(
        ledger.violations.iter().all(|text| text.contains("is gone (50 such)")),
        "{:?}",
        ledger.violations
    );
}

#[tokio::test]
async fn the_checker_sees_one_event_that_went_behind_the_stores_back() {
    for (position, promise) in [(17, Promise::Everything), (17, Promise::AllButTheEnd)] {
        let (server, mut ledger) = some_events(Aof::EverySecond).await;
        ledger.check(&RawLog::read(&server.url()).await, promise);
        ledger.expect_none("nothing went yet");
        delete(&server, position).await;
        ledger.check(&RawLog::read(&server.url()).await, promise);
        let found = &ledger.violations;
        assert!(found.iter().any(|text| text.contains("lost p0-16 and kept p0-17")), "{found:?}");
        assert!(
            found.iter().any(|text| text.contains("what was at 17 is gone, and 100 is there")),
            "{found:?}"
        );
        assert_eq!(
            found.iter().any(|text| text.contains("p0-16 was stored at 17, and is gone")),
            promise == Promise::Everything
        );
    }
}

#[tokio::test]
async fn the_checker_sees_a_torn_batch_a_refused_one_and_a_wrong_answer() {
    let (server, mut ledger) = some_events(Aof::EverySecond).await;
    let ids = |of: std::ops::Range<u64>| -> Vec<String> { of.map(|n| format!("p1-{n}")).collect() };
    // Half of it was never stored.
    ledger.park(7, ids(45..55), false);
    ledger.park(8, ids(0..10), true);
    ledger.park(9, ids(10..20), false);
    ledger.check(&RawLog::read(&server.url()).await, Promise::Everything);
    ledger.acknowledge(9, &[("p1-10".to_owned(), 61)], false);
    let found = &ledger.violations;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().any(|text| text == "the batch of p1-45 is torn: 5 of 10 are there"), "{found:?}");
    assert!(
        found.iter().any(|text| text == "the batch of p1-0 was refused, and 10 of it are there"),
        "{found:?}"
    );
    assert!(found.iter().any(|text| text == "p1-10 was there, and was said to be stored now"), "{found:?}");
}

#[tokio::test]
async fn the_checker_sees_a_position_that_names_two_events() {
    let (server, mut ledger) = some_events(Aof::EverySecond).await;
    ledger.acknowledge(3, &[("other".to_owned(), 17)], false);
    assert_eq!(ledger.violations, ["the position 17 was of p0-16 and is of other"]);
    let mut log = RawLog::read(&server.url()).await;
    ledger.violations.clear();
    log.ids.insert(18, "another".to_owned());
    ledger.check(&log, Promise::Everything);
    assert!(ledger.violations.contains(&"the position 18 was of p0-17 and is of another".to_owned()));
}
