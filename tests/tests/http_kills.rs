//! Services in several languages publish and consume over HTTP while they and the server are killed. No event is lost, and each
//! key keeps its order. After a kill of a client, the events that it had not settled are delivered again. After a kill of the
//! server, events that were settled in its last moments are delivered again, those of a key in order.
//!
//! `EVENT_REPLAY_EVENTS` sets the number of events, and `EVENT_REPLAY_ROUNDS` the number of kills of the client. The
//! server is killed half as often. `EVENT_REPLAY_SEED` sets the random times of the kills.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

mod support;

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use support::consumers::{Keeper, Servers};
use tempfile::TempDir;

const USERS: usize = 50;
/// Stands for a kill of the server in lists of events.
const KILL: usize = usize::MAX;
/// Longer than any wait in this test.
const LONG: Duration = Duration::from_secs(600);

/// A client: its name, the program that it needs, and its arguments as a publisher and as a consumer.
struct Client {
    name: &'static str,
    needs: &'static str,
    publish: &'static [&'static str],
    consume: &'static [&'static str],
}

const CLIENTS: &[Client] = &[
    Client { name: "Python", needs: "python3", publish: &["publish.py"], consume: &["consume.py", "mail"] },
    Client { name: "Node", needs: "node", publish: &["publish.mjs"], consume: &["consume.mjs", "mail"] },
    Client { name: "curl", needs: "sh", publish: &["publish.sh"], consume: &["consume.sh", "mail"] },
    Client { name: "Go", needs: "go", publish: &["publish"], consume: &["consume", "mail"] },
];

impl Client {
    /// Returns the program to start, or `None` if it is not installed. The Go client is compiled first.
    fn program(&self, folder: &Path) -> Option<PathBuf> {
        let is_there = Command::new(self.needs).arg("version").stdin(Stdio::null()).output().is_ok();
        if !is_there {
            println!("NOT RUN: the client in {}, {} is not installed", self.name, self.needs);
            return None;
        }
        if self.needs != "go" {
            return Some(self.needs.into());
        }
        let program = folder.join("go-client");
        let built = Command::new("go")
            .args(["build", "-o"])
            .arg(&program)
            .arg(examples().join("go/main.go"))
            .env("GOCACHE", folder.join("go-cache"))
            .env("GOFLAGS", "-mod=mod")
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        Some(program)
    }

    fn command(&self, program: &Path, args: &[&str], port: u16) -> Command {
        let mut command = Command::new(program);
        for (at, arg) in args.iter().enumerate() {
            match at == 0 && self.needs != "go" {
                true => command.arg(examples().join(arg)),
                false => command.arg(arg),
            };
        }
        command.env("EVENT_REPLAY_URL", format!("http://127.0.0.1:{port}"));
        command.stderr(Stdio::null());
        command
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/http").canonicalize().unwrap()
}

/// The process `event-replay serve`, which is killed and restarted on the same port.
struct Serving {
    folder: TempDir,
    store: String,
    port: u16,
    child: Child,
}

impl Serving {
    fn start(servers: &Servers) -> Self {
        let folder = TempDir::new().unwrap();
        let file = || format!("sqlite:{}", folder.path().join("events.db").display());
        let store = servers.url().unwrap_or_else(file);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let init = Command::new(support::program()).args(["--store", &store, "init"]).output().unwrap();
        assert!(init.status.success(), "{init:?}");
        let group = ["--store", &store, "groups", "create", "mail", "--at", "start"];
        assert!(Command::new(support::program()).args(group).output().unwrap().status.success());
        let child = Self::spawn(&store, port);
        let serving = Self { folder, store, port, child };
        serving.wait();
        serving
    }

    fn spawn(store: &str, port: u16) -> Child {
        let mut command = Command::new(support::program());
        // A killed client delays its deliveries until this deadline.
        command.env("EVENT_REPLAY_HANDLERS_TIMEOUT", "2s");
        command.args(["--store", store, "serve", "--listen", &format!("127.0.0.1:{port}")]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn wait(&self) {
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(began.elapsed() < LONG, "the server does not start");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill_and_start(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.store, self.port);
        self.wait();
    }

    /// Returns the dead letters of the store, as JSON.
    fn dead_letters(&self) -> String {
        let args = ["--store", &self.store, "dead-letters", "list", "--output", "json"];
        let output = Command::new(support::program()).args(args).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        assert!(self.folder.path().exists());
    }
}

fn event(n: usize) -> String {
    format!(
        r#"{{"id":"e{n}","type":"user.registered","version":"1.0","timestamp":"2024-01-15T10:30:00Z","source":"user-service","userId":"u{}","metadata":{{}},"data":{{"email":"u@example.com","registrationMethod":"email"}}}}"#,
        n % USERS
    )
}

/// An entry of the history of a run.
#[derive(Clone, Copy)]
enum Entry {
    /// A consumer has printed the id of this event.
    Event(usize),
    /// The server was killed.
    ServerKilled,
}

/// The history of a run, in order.
#[derive(Default)]
struct Handled {
    entries: Mutex<Vec<Entry>>,
    /// The events that have occurred.
    seen: Mutex<HashSet<usize>>,
}

impl Handled {
    fn push(&self, entry: Entry) {
        self.entries.lock().unwrap().push(entry);
        if let Entry::Event(event) = entry {
            self.seen.lock().unwrap().insert(event);
        }
    }

    /// Returns the number of different events.
    fn different(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    /// Checks that each event was handled, and that the events of each user were handled in order. The newest event of a user may
    /// repeat before the next one. After each kill of the server the events of a user may begin again once, at an event that was
    /// handled before. Returns the number of repeats.
    fn check(&self, events: usize) -> Result<usize, String> {
        let all = self.entries.lock().unwrap();
        let mut last: HashMap<usize, usize> = HashMap::new();
        let mut newest: HashMap<usize, usize> = HashMap::new();
        let mut rewinds: HashMap<usize, usize> = HashMap::new();
        let (mut handled, mut kills) = (0, 0);
        for entry in all.iter() {
            let Entry::Event(event) = *entry else {
                kills += 1;
                continue;
            };
            handled += 1;
            let user = event % USERS;
            let before = last.insert(user, event);
            newest.entry(user).and_modify(|newest| *newest = event.max(*newest)).or_insert(event);
            let due = before.map_or(user, |before| before + USERS);
            if event > due {
                return Err(format!("e{event} came where e{due} was due"));
            }
            if event < due {
                let rewinds = rewinds.entry(user).or_default();
                *rewinds += usize::from(before != Some(event));
                if *rewinds > kills {
                    return Err(format!(
                        "e{event} came again after {before:?}, and the server was killed {kills} times"
                    ));
                }
            }
        }
        for user in 0..USERS.min(events) {
            let end = (user..events).step_by(USERS).next_back().unwrap();
            if newest.get(&user) != Some(&end) {
                return Err(format!("user u{user} ends with {:?} and not with e{end}", newest.get(&user)));
            }
        }
        Ok(handled - events)
    }
}

/// Restarts a consumer until a stop, as a service manager does. Kills the consumer on request.
struct Supervised {
    pid: Arc<Mutex<Option<u32>>>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Supervised {
    fn start(mut command: impl FnMut() -> Command + Send + 'static, handled: Arc<Handled>) -> Self {
        let (pid, stop) = (Arc::new(Mutex::new(None)), Arc::new(AtomicBool::new(false)));
        let (own_pid, own_stop) = (Arc::clone(&pid), Arc::clone(&stop));
        let run = move || {
            while !own_stop.load(Ordering::SeqCst) {
                let mut child = command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
                *own_pid.lock().unwrap() = Some(child.id());
                let mut output = BufReader::new(child.stdout.take().unwrap());
                let mut line = String::new();
                while output.read_line(&mut line).is_ok_and(|read| read > 0) {
                    // A line without its end was cut off by a kill: its event was not handled.
                    let event = line.strip_prefix('e').and_then(|line| line.strip_suffix('\n'));
                    if let Some(n) = event.and_then(|n| n.parse().ok()) {
                        handled.push(Entry::Event(n));
                    }
                    line.clear();
                }
                *own_pid.lock().unwrap() = None;
                child.wait().unwrap();
                thread::sleep(Duration::from_millis(50));
            }
        };
        Self { pid, stop, thread: Some(thread::spawn(run)) }
    }

    fn kill(&self) {
        let pid = *self.pid.lock().unwrap();
        let Some(pid) = pid else { return };
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).stderr(Stdio::null()).status();
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.kill();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Publishes the events. After a kill of the publisher, publishes all events again.
fn publish(mut command: Command, input: &Path, kills: &Mutex<usize>) {
    loop {
        let mut child = command.stdin(fs::File::open(input).unwrap()).stdout(Stdio::null()).spawn().unwrap();
        let is_killed = {
            let mut left = kills.lock().unwrap();
            let kill = *left > 0;
            *left = left.saturating_sub(1);
            kill
        };
        if is_killed {
            thread::sleep(Duration::from_millis(150));
            let _ = child.kill();
        }
        if child.wait().unwrap().success() {
            return;
        }
    }
}

async fn run(keeper: &Keeper, client: &Client) {
    let build = TempDir::new().unwrap();
    let Some(program) = client.program(build.path()) else { return };
    let events: usize =
        std::env::var("EVENT_REPLAY_EVENTS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_500);
    let kills = support::rounds(4);
    let mut rng = Rng::with_seed(support::seed());
    let servers = Servers::start(keeper).await;
    let mut serving = Serving::start(&servers);
    let port = serving.port;
    let input = build.path().join("events.ndjson");
    let mut file = fs::File::create(&input).unwrap();
    for n in 0..events {
        writeln!(file, "{}", event(n)).unwrap();
    }
    let publisher = client.command(&program, client.publish, port);
    let publishing = {
        let kills = Mutex::new(kills / 4);
        thread::spawn(move || publish(publisher, &input, &kills))
    };
    let handled = Arc::new(Handled::default());
    let consume = {
        let program = program.clone();
        let (needs, args) = (client.needs, client.consume);
        move || Client { name: "", needs, publish: &[], consume: args }.command(&program, args, port)
    };
    let consumer = Supervised::start(consume, Arc::clone(&handled));
    // Each kill follows after a share of the events is handled and a short random time.
    for n in 0..kills {
        let share = events * (n + 1) / (kills + 2);
        let began = Instant::now();
        while handled.different() < share {
            assert!(began.elapsed() < LONG, "{} of {events} events are handled", handled.different());
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(rng.u64(0..100)));
        consumer.kill();
        if n % 2 == 0 {
            handled.push(Entry::ServerKilled);
            serving.kill_and_start();
        }
    }
    let began = Instant::now();
    while handled.different() < events {
        assert!(began.elapsed() < LONG, "{} of {events} events are handled", handled.different());
        thread::sleep(Duration::from_millis(20));
    }
    publishing.join().unwrap();
    drop(consumer);
    let repeats =
        handled.check(events).unwrap_or_else(|error| panic!("{} on {keeper}: {error}", client.name));
    // A kill leaves open at most one fetch of 16 deliveries and the most recent settlements. The bound is larger than
    // that.
    let most = kills * 2 * 64;
    assert!(repeats <= most, "{repeats} events came twice, and {kills} kills explain {most}");
    let letters = serving.dead_letters();
    assert!(letters.contains("[]"), "kills made dead letters: {letters}");
    println!(
        "{} on {keeper}: {events} events, {kills} kills of the client, {} of the server, {repeats} repeats",
        client.name,
        kills.div_ceil(2)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_on_a_file_lose_nothing_and_keep_the_order() {
    for client in CLIENTS {
        run(&Keeper::Sqlite, client).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_on_servers_lose_nothing_and_keep_the_order() {
    let all = if support::is_full_run() { CLIENTS } else { &CLIENTS[..1] };
    for keeper in Keeper::servers() {
        for client in all {
            run(&keeper, client).await;
        }
    }
}

/// A positive control: the check detects a lost event, and an event in the wrong order.
#[test]
fn the_check_sees_a_loss_and_a_wrong_order() {
    let entry = |n: usize| if n == KILL { Entry::ServerKilled } else { Entry::Event(n) };
    let of = |all: Vec<usize>| {
        let handled = Handled::default();
        all.into_iter().for_each(|n| handled.push(entry(n)));
        handled.check(2 * USERS)
    };
    let whole: Vec<usize> = (0..2 * USERS).collect();
    assert_eq!(of(whole.clone()), Ok(0));
    assert_eq!(of([vec![0, 0], whole[1..].to_vec()].concat()), Ok(1));
    assert!(of(whole[1..].to_vec()).is_err());
    assert!(of(whole[..2 * USERS - 1].to_vec()).is_err());
    let mut swapped = whole.clone();
    swapped.swap(0, USERS);
    assert!(of(swapped).is_err());
    // A user begins again after a kill of the server alone, and once.
    let again = |between: &[usize]| [&whole[..], between, &[0, USERS]].concat();
    assert!(of(again(&[])).is_err());
    assert_eq!(of(again(&[KILL])), Ok(2));
    assert!(of(again(&[KILL, 0, USERS])).is_err());
}
