//! A network between client and server that loses what it is told to lose.

mod pipe;

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot, watch},
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{Error, ports};
use pipe::carry_both_ways;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: requests.
    ToServer,
    /// From the server to the client: answers.
    ToClient,
}

/// What happens to bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    SwallowAnswers,
    /// Once the budget for this direction is used up, everything is cut.
    CutAfter(Direction),
    HalfOpen,
}

/// What the connections watch.
#[derive(Clone, Copy, Debug)]
struct State {
    mode: Mode,
    /// Counts the cuts: a connection ends when it sees another number than at its beginning.
    cuts: u64,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    /// Bytes left until the cut, in [`Mode::CutAfter`].
    budget: AtomicU64,
    passed: [AtomicU64; 2],
    swallowed: AtomicU64,
    connections: AtomicU64,
}

/// Listens on a port of 127.0.0.1 and carries bytes to and from a server on another one, until it is told otherwise.
/// Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    acceptor: JoinHandle<()>,
}

/// What the accepting task is told; it answers when it is done.
enum Order {
    Refuse(oneshot::Sender<Result<(), Error>>),
    Accept(oneshot::Sender<Result<(), Error>>),
}

impl Proxy {
    /// Starts one before the server on `to_port` of 127.0.0.1; the server need not run yet. It passes everything.
    ///
    /// # Errors
    /// There is no free port.
    pub async fn start(to_port: u16) -> Result<Self, Error> {
        let (port, listener) = listen_somewhere().await?;
        let shared = Arc::new(Shared {
            state: watch::Sender::new(State { mode: Mode::Pass, cuts: 0 }),
            budget: AtomicU64::new(0),
            passed: [AtomicU64::new(0), AtomicU64::new(0)],
            swallowed: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let (orders, ordered) = mpsc::channel(1);
        let acceptor = Acceptor { port, to_port, listener: Some(listener), shared: Arc::clone(&shared) };
        let acceptor = tokio::spawn(acceptor.run(ordered));
        Ok(Self { port, shared, orders, acceptor })
    }

    /// The port that clients connect to instead of the server's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's address with this proxy's port in place of `server_port`.
    #[must_use]
    pub fn url(&self, server_url: &str, server_port: u16) -> String {
        server_url.replace(&format!("127.0.0.1:{server_port}"), &format!("127.0.0.1:{}", self.port))
    }

    /// Passes everything again: also what was held back by [`Proxy::half_open`], but not what was swallowed.
    pub fn pass(&self) {
        self.set(Mode::Pass);
    }

    /// Closes every connection now, on both sides. New ones are served.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// From now on requests reach the server and its answers are lost, on all connections. [`Proxy::swallowed`] says when
    /// one was.
    pub fn swallow_answers(&self) {
        self.set(Mode::SwallowAnswers);
    }

    /// Passes `bytes` more in this direction, counted over all connections, and everything in the other. The next byte
    /// closes every connection instead of passing; those that are opened afterwards pass everything.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        // Connections count only in that mode, so they must not see it before the budget is there.
        self.set(Mode::Pass);
        self.shared.budget.store(bytes, Ordering::SeqCst);
        self.set(Mode::CutAfter(direction));
    }

    /// From now on no byte passes either way and nothing is closed: not even the end of a connection is told to the other
    /// side. New connections are accepted, and hang too.
    pub fn half_open(&self) {
        self.set(Mode::HalfOpen);
    }

    /// From now on new connections are refused; those that are open stay so.
    ///
    /// # Errors
    /// The proxy's runtime is gone.
    pub async fn refuse(&self) -> Result<(), Error> {
        self.order(Order::Refuse).await
    }

    /// From now on new connections are accepted again.
    ///
    /// # Errors
    /// Another process listens on the port meanwhile, or the proxy's runtime is gone.
    pub async fn accept(&self) -> Result<(), Error> {
        self.order(Order::Accept).await
    }

    /// How many bytes have passed in this direction, since the start.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.counter(direction).load(Ordering::SeqCst)
    }

    /// How many bytes of answers were swallowed, since the start.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::SeqCst)
    }

    /// How many connections are open.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::SeqCst)
    }

    fn set(&self, mode: Mode) {
        self.shared.state.send_modify(|state| state.mode = mode);
    }

    async fn order(&self, order: fn(oneshot::Sender<Result<(), Error>>) -> Order) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        let gone = || Error::NotRunning(self.port);
        self.orders.send(order(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The task owns listener and connections: they end with it.
        self.acceptor.abort();
    }
}

impl Shared {
    fn counter(&self, direction: Direction) -> &AtomicU64 {
        let [to_server, to_client] = &self.passed;
        match direction {
            Direction::ToServer => to_server,
            Direction::ToClient => to_client,
        }
    }

    fn cut(&self) {
        self.state.send_modify(|state| state.cuts += 1);
    }

    /// The budget is used up: closes every connection, and serves those that come afterwards. Only the first to notice
    /// does so; a second cut would hit the new ones.
    fn cut_and_pass(&self) {
        self.state.send_if_modified(|state| {
            let first = matches!(state.mode, Mode::CutAfter(_));
            if first {
                *state = State { mode: Mode::Pass, cuts: state.cuts + 1 };
            }
            first
        });
    }

    /// Takes up to `wanted` bytes of the budget; less than that means that it is now used up.
    fn take(&self, wanted: u64) -> u64 {
        let taken = self
            .budget
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(wanted)));
        taken.unwrap_or_default().min(wanted)
    }
}

/// The task that accepts, and owns all connections.
struct Acceptor {
    port: u16,
    to_port: u16,
    listener: Option<TcpListener>,
    shared: Arc<Shared>,
}

impl Acceptor {
    async fn run(mut self, mut orders: mpsc::Receiver<Order>) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                client = accepted(self.listener.as_ref()) => {
                    connections.spawn(serve(client, self.to_port, Arc::clone(&self.shared)));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }

    async fn obey(&mut self, order: Order) {
        let (done, answer) = match order {
            Order::Refuse(answer) => {
                self.listener = None;
                (Ok(()), answer)
            }
            Order::Accept(answer) => (self.listen().await, answer),
        };
        // The caller may have stopped waiting for the answer.
        let _ = answer.send(done);
    }

    async fn listen(&mut self) -> Result<(), Error> {
        if self.listener.is_none() {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await;
            self.listener = Some(listener.map_err(Error::io(format!("listen on port {}", self.port)))?);
        }
        Ok(())
    }
}

/// The next client; none while the proxy does not listen.
async fn accepted(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // The client has gone already, or there are no descriptors left for the moment.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// One connection, from its beginning to its end or to the next cut.
async fn serve(client: TcpStream, to_port: u16, shared: Arc<Shared>) {
    let mut state = shared.state.subscribe();
    let cuts = state.borrow().cuts;
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let carried = async {
        // A client whose server cannot be reached sees its connection closed.
        if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, to_port)).await {
            carry_both_ways(client, server, &shared).await;
        }
    };
    tokio::select! {
        () = carried => {}
        _ = state.wait_for(|state| state.cuts != cuts) => {}
    }
    shared.connections.fetch_sub(1, Ordering::SeqCst);
}

async fn listen_somewhere() -> Result<(u16, TcpListener), Error> {
    let mut tries = 0;
    loop {
        let port = ports::free()?;
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            Ok(listener) => return Ok((port, listener)),
            Err(_) if tries < 10 => tries += 1,
            Err(error) => return Err(Error::io(format!("listen on port {port}"))(error)),
        }
    }
}
