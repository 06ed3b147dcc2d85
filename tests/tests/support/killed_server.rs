//! A Redis server that is killed in the midst of what publishers, consumers and replays do, loses the end of its file, and
//! comes back.

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

/// Publishers that append batches of their own, and publishers that publish through one bus, event by event.
const APPENDING: usize = 3;
const PUBLISHING: usize = 4;
const GROUP: &str = "readers";
/// How long something may take that must come by itself; how soon it comes is not promised.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server, and everybody who uses it: through a proxy, so that the test can look at what came back before they do.
pub(crate) struct World {
    server: Server,
    proxy: Proxy,
    pub(crate) shared: Arc<Shared>,
    rng: Rng,
    /// Opened on the server itself: it only reads.
    reader: Store,
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
    pub(crate) torn_writes: usize,
    /// Whether it did so when it was last started.
    is_untidy: bool,
    /// Whether it was cut before.
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
            // Each has a connection of its own, as processes have.
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
    pub(crate) async fn kill_in_the_midst(&mut self, replays: bool) {
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
        let options = GroupReplayOptions { pace: Pace::Rate(600.0), ..GroupReplayOptions::to_all_groups() };
        if plan.total_events > 0 {
            self.replays.push(self.manager.start_group_replay(&plan, &options).await.unwrap().id);
        }
    }

    /// Takes the end of the append-only file away: little of it, all of the last life of the server, or more.
    pub(crate) fn lose_the_end(&mut self) {
        let file = AppendOnlyFile::of(&self.server);
        let since = |then: &AppendOnlyFile| if file.number == then.number { then.length } else { 0 };
        let (least, start) = (since(&self.first), since(&self.at_start));
        let to = match self.rng.u32(..4) {
            // Something is cut off in each test.
            0 if self.cuts > 0 => return,
            0 | 1 => file.length - self.rng.u64(1..=64 * 1024).min(file.length),
            // Of the last life but the very beginning, which may be that it is another one.
            2 => start + self.rng.u64(0..2_000),
            _ => start - self.rng.u64(0..20_000).min(start),
        };
        file.cut(&self.server, to.clamp(least, file.length));
        self.cuts += 1;
        self.is_cut = true;
    }

    /// Starts the server again and holds what it has against what was answered; then everybody else may come.
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

    /// The store's own check, as soon as its connection is there again.
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
                // What it was to send was lost, or it was lost itself.
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

    /// Waits until the consumers have come to the end, however long that takes: what is noticed is that they stand still.
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

/// Settings of a bus that does not give up publishing.
fn patient() -> BusSettings {
    let backoff = Backoff::new(Duration::from_millis(5), Duration::from_millis(50));
    let retry = RetryPolicy { max_retries: 10_000, backoff };
    let publish = PublishSettings { retry, ..PublishSettings::default() };
    BusSettings { enable_validation: false, publish, ..BusSettings::default() }
}
