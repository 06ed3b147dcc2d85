//! The HTTP rows: publish, fetch and settle, streams. The server runs in this process, with default settings. The store is
//! a SQLite file, and for single events also Redis.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bus::{Intake, IntakeOptions, Line, Publisher};
use event_replay::{
    Access, OpenOptions, Settings,
    app::{
        counting,
        publish::{PublishRequest, publisher},
    },
    open_store,
};
use generator::{Generator, Settings as Generated, Validity};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use server::{ServeOptions, Server};
use tempfile::TempDir;
use tokio::{runtime::Runtime, sync::oneshot, task::JoinHandle};

use crate::{
    delivery::memory,
    measure::{Bench, Target, timed},
};

/// Number of events of a row.
const EVENTS: usize = 20_000;
/// Number of lines of a request.
const LINES: usize = 1_000;
/// Number of events that are published one at a time.
const SINGLE: usize = 2_000;
/// Number of clients that consume at once.
const CLIENTS: usize = 2;
/// Number of open streams.
const STREAMS: usize = 1_000;

/// The body of a request.
type Body = Full<std::io::Cursor<Vec<u8>>>;

/// A server with its own store.
struct Service {
    address: SocketAddr,
    client: Client<HttpConnector, Body>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    folder: TempDir,
}

impl Service {
    async fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Self::start_on(&address_of(folder.path()), folder).await
    }

    async fn start_on(store: &str, folder: TempDir) -> Result<Self> {
        let settings = Settings::load(Some(store), None)?;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Server::start(settings, ServeOptions { listen, ..ServeOptions::default() }).await?;
        let address = server.address();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { address, client, stop, task, folder })
    }

    async fn post(&self, path: &str, media: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let request = Request::post(format!("http://{}{path}", self.address)).header("content-type", media);
        let answer = self.client.request(request.body(Full::new(std::io::Cursor::new(body)))?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("POST {path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body.to_vec())
    }

    async fn post_json(&self, path: &str, body: Value) -> Result<Value> {
        let answer = self.post(path, "application/json", body.to_string().into_bytes()).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn publish_all(&self, lines: &[String]) -> Result<()> {
        for lines in lines.chunks(LINES) {
            self.post("/v1/events", "application/x-ndjson", lines.join("\n").into_bytes()).await?;
        }
        Ok(())
    }

    async fn stop(self) -> Result<()> {
        drop(self.stop);
        self.task.await?;
        drop(self.folder);
        Ok(())
    }
}

fn address_of(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("events.db").display())
}

/// Returns valid generated events as they are published. Each call with another `round` returns other ids.
fn lines(count: usize, round: usize) -> Vec<String> {
    let all = Generator::new(Generated::demo((count + count / 20 + 10) as u64));
    let valid = all.filter(|generated| generated.validity == Validity::Valid).take(count);
    valid.map(|generated| generated.json.replacen("\"id\":\"", &format!("\"id\":\"r{round}-"), 1)).collect()
}

/// A publisher of the library, with a store of its own.
struct Library {
    publisher: Arc<Publisher>,
    _folder: TempDir,
}

impl Library {
    async fn open() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        Self::open_on(&address_of(folder.path()), folder).await
    }

    async fn open_on(address: &str, folder: TempDir) -> Result<Self> {
        let settings = Settings::load(Some(address), None)?;
        let store = open_store(&address.parse()?, OpenOptions::default(), Access::Create).await?;
        let publisher = publisher(&store, &settings, PublishRequest::default(), counting::meter()).await?;
        Ok(Self { publisher: Arc::new(publisher), _folder: folder })
    }

    async fn publish_all(&self, lines: &[String]) -> Result<()> {
        for lines in lines.chunks(LINES) {
            let mut intake = Intake::new(Arc::clone(&self.publisher), IntakeOptions::default());
            for (number, line) in (1..).zip(lines) {
                intake.take(Line::Text { line: number, bytes: line.as_bytes() }).await?;
            }
            let report = intake.finish().await?;
            if report.stored != lines.len() as u64 {
                bail!("{} of {} events were stored", report.stored, lines.len());
            }
        }
        Ok(())
    }
}

pub(crate) fn run(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    publish(bench, runtime)?;
    single(bench, runtime)?;
    consume(bench, runtime)?;
    streams(bench, runtime)
}

/// Measures NDJSON requests against the library's own intake of the same lines.
fn publish(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "http publish, NDJSON of 1,000 lines";
    if !bench.wants(name) {
        return Ok(());
    }
    let service = runtime.block_on(Service::start())?;
    let library = runtime.block_on(Library::open())?;
    let (mut round, mut other) = (0, 0);
    let yardstick = || {
        other += 1;
        let lines = lines(EVENTS, other);
        timed(|| runtime.block_on(library.publish_all(&lines)))
    };
    let ours = || {
        round += 1;
        let lines = lines(EVENTS, round);
        timed(|| runtime.block_on(service.publish_all(&lines)))
    };
    bench.row(name, "the library's intake", EVENTS as u64, &Target::Ratio(0.6), yardstick, ours)?;
    runtime.block_on(service.stop())
}

/// Measures one event per request, each awaited: the median and the 99th percentile beside the library's.
fn single(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let on_a_file = "http publish on SQLite, one event awaited, p50 and p99";
    if bench.wants(on_a_file) {
        let measured = async { one_by_one(Service::start().await?, Library::open().await?).await };
        let (ours, theirs) = runtime.block_on(measured)?;
        bench.figures(on_a_file, &ours, "the library's publish", &theirs);
    }
    let on_a_server = "http publish on Redis, one event awaited, p50 and p99";
    if bench.wants(on_a_server) {
        let measured = async {
            let redis = crate::redis::server().await?;
            let address = |namespace: &str| format!("{}?namespace={namespace}", redis.url());
            let service = Service::start_on(&address("http"), tempfile::tempdir()?).await?;
            let library = Library::open_on(&address("library"), tempfile::tempdir()?).await?;
            one_by_one(service, library).await
        };
        let (ours, theirs) = runtime.block_on(measured)?;
        bench.figures(on_a_server, &ours, "the library's publish", &theirs);
    }
    Ok(())
}

/// Publishes each event with the library and then over HTTP. Returns the percentiles over HTTP and of the library.
async fn one_by_one(service: Service, library: Library) -> Result<(String, String)> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for line in lines(SINGLE, 1) {
        let begun = Instant::now();
        library.publisher.publish(line.as_bytes()).await?;
        theirs.push(begun.elapsed());
        let begun = Instant::now();
        service.post("/v1/events", "application/json", line.into_bytes()).await?;
        ours.push(begun.elapsed());
    }
    service.stop().await?;
    Ok((percentiles(&mut ours), percentiles(&mut theirs)))
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    format!("{:.2} ms, {:.2} ms", at(50).as_secs_f64() * 1e3, at(99).as_secs_f64() * 1e3)
}

/// Measures clients that fetch and settle without any work.
fn consume(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "http fetch and settle, two clients";
    if !bench.wants(name) {
        return Ok(());
    }
    let service = Arc::new(runtime.block_on(Service::start())?);
    let mut round = 0;
    let rate = |round: usize| {
        runtime.block_on(async {
            let group = json!({"name": format!("g{round}"), "at": "head"});
            service.post_json("/v1/groups", group).await?;
            service.publish_all(&lines(EVENTS, round)).await
        })?;
        runtime.block_on(handle_all(&service, &format!("g{round}")))
    };
    let mut rates = Vec::new();
    for _ in 0..bench.rounds() {
        round += 1;
        rates.push(EVENTS as f64 / rate(round)?.as_secs_f64());
    }
    rates.sort_by(f64::total_cmp);
    let said = format!("{:.0}/s ({:.0} to {:.0})", rates[rates.len() / 2], rates[0], rates[rates.len() - 1]);
    bench.figures(name, &said, "the aim", "20,000/s");
    let service = Arc::into_inner(service).context("a client still runs")?;
    runtime.block_on(service.stop())
}

/// Returns the time until the last delivery is settled. A client may still wait for another one then.
async fn handle_all(service: &Arc<Service>, group: &str) -> Result<Duration> {
    let begun = Instant::now();
    let mut last = Duration::ZERO;
    let handled = Arc::new(AtomicUsize::new(0));
    let clients = (0..CLIENTS).map(|_| {
        let (service, group, handled) = (Arc::clone(service), group.to_owned(), Arc::clone(&handled));
        tokio::spawn(async move { handle(&service, &group, &handled).await })
    });
    for client in clients.collect::<Vec<_>>() {
        last = last.max(client.await??.duration_since(begun));
    }
    Ok(last)
}

/// Fetches and settles until all events are handled. Returns the time of the client's last settlement.
async fn handle(service: &Service, group: &str, handled: &AtomicUsize) -> Result<Instant> {
    let mut last = Instant::now();
    let (fetch, settle) = (format!("/v1/groups/{group}/fetch"), format!("/v1/groups/{group}/settle"));
    while handled.load(Ordering::SeqCst) < EVENTS {
        let fetched = service.post_json(&fetch, json!({"max": 64, "wait": 1})).await?;
        let deliveries = fetched["deliveries"].as_array().context("deliveries")?;
        let settlements: Vec<Value> = deliveries
            .iter()
            .map(|delivery| json!({"receipt": delivery["receipt"], "outcome": "ok"}))
            .collect();
        if !settlements.is_empty() {
            handled.fetch_add(settlements.len(), Ordering::SeqCst);
            service.post_json(&settle, Value::Array(settlements)).await?;
            last = Instant::now();
        }
    }
    Ok(last)
}

/// Measures streams of events: the time from a publication to its arrival, and the memory of a thousand streams.
fn streams(bench: &mut Bench, runtime: &Runtime) -> Result<()> {
    let name = "http streams, latency p50 and p99, memory of 1,000";
    if !bench.wants(name) {
        return Ok(());
    }
    let (latency, memory) = runtime.block_on(async {
        let service = Service::start().await?;
        let mut stream = service.stream().await?;
        let mut times = Vec::new();
        for line in lines(200, 1) {
            let begun = Instant::now();
            service.post("/v1/events", "application/json", line.into_bytes()).await?;
            while !next(&mut stream).await?.contains("data:") {}
            times.push(begun.elapsed());
        }
        let before = memory("VmRSS")?;
        let mut open = Vec::new();
        for _ in 0..STREAMS {
            open.push(service.stream().await?);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let after = memory("VmRSS")?;
        drop((open, stream));
        service.stop().await?;
        anyhow::Ok((percentiles(&mut times), after.saturating_sub(before)))
    })?;
    let said = format!("{latency}; {:.0} MiB with both ends", memory as f64 / 1024.0 / 1024.0);
    bench.figures(name, &said, "–", "–");
    Ok(())
}

impl Service {
    /// Opens a stream of the new events.
    async fn stream(&self) -> Result<Incoming> {
        let request = Request::get(format!("http://{}/v1/events/stream", self.address));
        let request = request.header("accept", "text/event-stream").body(Body::default())?;
        let answer = self.client.request(request).await?;
        if !answer.status().is_success() {
            bail!("GET /v1/events/stream: {}", answer.status());
        }
        Ok(answer.into_body())
    }
}

/// Returns the next part of a stream.
async fn next(stream: &mut Incoming) -> Result<String> {
    let frame = stream.frame().await.context("the stream ended")??;
    Ok(String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data)).into_owned())
}
