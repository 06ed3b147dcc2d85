//! A Redis server that is killed while publishers, consumers and replays use it. It loses the end of its file, and
//! restarts.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bus::{Bus, BusSettings, PublishSettings, StartAt};
use domain::{
    Backoff, Checkpoint, Delivery, Filter, HandlerError, RetryPolicy, StorageFailure,
    ports::{
        EventStore, EventStoreError, GroupStore, ReadRequest, ReplayState, ReplayStore, Stores, SystemClock,
        VerifyReport,
    },
};
use fastrand::Rng;
use replay::{
    GapCause, GroupReplayOptions, JobHost, NewCheckpoint, Pace, PlanRequest, ReplayError, ReplayManager,
};
use servers::{Aof, Binary, Config, Proxy, Server};
use storage_redis::{RedisEngine, RedisOptions};
use store::Store;
use tokio::{sync::watch, task::JoinHandle};

use super::{
    acknowledged::{Ledger, Promise, RawLog},
    append_only_file::{AppendOnlyFile, written_anew},
    publishing::{Gate, Shared, append_batches, publish_events},
};

/// Number of publishers that append batches, and number of publishers that publish single events through one bus.
const APPENDING: usize = 3;
const PUBLISHING: usize = 4;
const GROUP: &str = "readers";
/// Maximum wait for a condition that must become true by itself. The tests promise no speed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with all its users. The users connect through a proxy, so that the test can inspect a restarted server
/// before they do.
pub(crate) struct World {
    server: Server,
    proxy: Proxy,
    pub(crate) shared: Arc<Shared>,
    rng: Rng,
    /// A store on the server without the proxy. It only reads.
    reader: Store,
    bus: Bus,
    consumer: bus::Consumer,
    manager: ReplayManager,
    host: JobHost,
    publishers: Vec<JoinHandle<()>>,
    /// The append-only file at the beginning. The test never cuts this part.
    first: AppendOnlyFile,
    /// The append-only file at the last start of the server.
    at_start: AppendOnlyFile,
    /// Number of times that the server truncated its file at a start. `torn_writes` counts the times without a cut by
    /// the test, because a kill can interrupt a write.
    truncated: usize,
    pub(crate) torn_writes: usize,
    /// Whether the server truncated its file at its last start.
    is_untidy: bool,
    /// Whether the test has cut the file since the last start.
    is_cut: bool,
    checkpoints: Vec<Checkpoint>,
    replays: Vec<String>,
    pub(crate) cuts: usize,
}

impl World {
    pub(crate) async fn start(binary: &Binary, aof: Aof, mut rng: Rng) -> Self {
        let lines = vec!["auto-aof-rewrite-percentage 0".to_owned()];
        let server = Server::start(binary, &Config { aof, lines, ..Config::default() }).await.unwrap();
        let proxy = Proxy::start(server.port()).await.unwrap();
        let url = proxy.url(&server.url(), server.port());
        let store = RedisEngine::create(RedisOptions::new(&url)).await.map(Store::new).unwrap();
        let reader = RedisEngine::open(RedisOptions::new(server.url())).await.map(Store::new).unwrap();
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
            // Each publisher has its own connection, as a separate process has.
            let store = RedisEngine::open(RedisOptions::new(&url)).await.map(Store::new).unwrap();
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

    /// Waits until a condition holds.
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

    /// Lets publishers work for a while, and kills the server during their work.
    pub(crate) async fn kill_in_the_midst(&mut self, replays: bool) {
        let before = self.shared.ledger().answered;
        self.shared.gate.send_replace(Gate::Open);
        self.until("something is stored", async |world| world.shared.ledger().answered > before + 50).await;
        if replays {
            self.start_replay().await;
        }
        tokio::time::sleep(Duration::from_millis(self.rng.u64(0..250))).await;
        if self.is_untidy {
            // A second kill before the rewrite could make the server apply half of the partial batch. That is a fault
            // of the server.
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

    /// Starts a replay that takes longer than the server lives.
    async fn start_replay(&mut self) {
        let sources = [format!("p{}", self.rng.usize(..APPENDING + PUBLISHING))].into();
        let filter = Filter { sources, ..Filter::default() };
        let request = PlanRequest { limit: Some(400), ..PlanRequest::new(filter) };
        let plan = self.manager.plan(request, None).await.unwrap();
        let options = GroupReplayOptions { pace: Pace::Rate(600.0), ..GroupReplayOptions::to_all_groups() };
        if plan.total_events > 0 {
            self.replays.push(self.manager.start_group_replay(&plan, &options).await.unwrap().id);
        }
    }

    /// Removes the end of the append-only file: a small part, the writes since the last start of the server, or more.
    pub(crate) fn lose_the_end(&mut self) {
        let file = AppendOnlyFile::of(&self.server);
        let since = |then: &AppendOnlyFile| if file.number == then.number { then.length } else { 0 };
        let (least, start) = (since(&self.first), since(&self.at_start));
        let to = match self.rng.u32(..4) {
            // Each test cuts the file at least once.
            0 if self.cuts > 0 => return,
            0 | 1 => file.length - self.rng.u64(1..=64 * 1024).min(file.length),
            // Up to 2,000 bytes since the last start stay. They may contain the start of a new log epoch.
            2 => start + self.rng.u64(0..2_000),
            _ => start - self.rng.u64(0..20_000).min(start),
        };
        file.cut(&self.server, to.clamp(least, file.length));
        self.cuts += 1;
        self.is_cut = true;
    }

    /// Restarts the server and checks its data against the answers. Then lets all users connect again.
    pub(crate) async fn come_back(&mut self, promise: Promise) {
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

    /// Returns the result of the check of the store, as soon as its connection works again.
    async fn reader_after_restart(&self) -> VerifyReport {
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

    /// Checks all checkpoints. A mark that is in the log leads to all later events, and a lost mark is reported as
    /// lost.
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
        // A lost mark stays lost, so that further checks of it are unnecessary.
        self.checkpoints.retain(|checkpoint| log.ids.contains_key(&checkpoint.mark.sequence(0)));
    }

    /// Returns at most `most` positions after a checkpoint.
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

    /// Stops all users normally, after the consumers have reached the end and the replays have finished.
    pub(crate) async fn settle(mut self, may_be_lost: bool) -> Ledger {
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
                // The replay itself or some of its events were lost.
                Some(ReplayState::Failed) | None => may_be_lost,
                _ => false,
            };
            assert!(good, "the replay {id} is {state:?}");
        }
        self.until_all_is_consumed().await;
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

    /// Waits until the consumers reach the end. The wait has no time limit, but fails when they make no progress.
    async fn until_all_is_consumed(&self) {
        let (mut before, mut end) = (None, Instant::now() + PATIENCE);
        loop {
            let head = self.reader.head().await.unwrap().sequence(0);
            let group = self.reader.group(GROUP).await.unwrap().unwrap();
            if group.segments.iter().all(|it| it.cursor == head && it.blocked_keys == 0 && it.lane == 0) {
                return;
            }
            if before.as_ref() != Some(&group.segments) {
                (before, end) = (Some(group.segments.clone()), Instant::now() + PATIENCE);
            }
            assert!(Instant::now() < end, "the consumers stand still before {head}: {group:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
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

/// Bus settings with many publish retries.
fn patient() -> BusSettings {
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(50));
    let retry = RetryPolicy { max_retries: 10_000, backoff };
    let publish = PublishSettings { retry, ..PublishSettings::default() };
    BusSettings { enable_validation: false, publish, ..BusSettings::default() }
}
