//! A network between client and server that loses bytes or connections on request.

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

/// The direction of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server: requests.
    ToServer,
    /// From the server to the client: responses.
    ToClient,
}

/// The treatment of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    SwallowAnswers,
    /// Passes bytes until the budget of this direction is used up, and then closes all connections.
    CutAfter(Direction),
    HalfOpen,
}

/// The state that all connections observe.
#[derive(Clone, Copy, Debug)]
struct State {
    mode: Mode,
    /// Number of cuts. A connection ends when the number differs from the number at its start.
    cuts: u64,
}

/// The state that all connections share.
#[derive(Debug)]
struct Shared {
    state: watch::Sender<State>,
    /// Remaining bytes before the cut, in [`Mode::CutAfter`].
    budget: AtomicU64,
    passed: [AtomicU64; 2],
    swallowed: AtomicU64,
    connections: AtomicU64,
}

/// A TCP proxy on a port of 127.0.0.1 that forwards bytes to and from a server on another port. Dropping the value
/// closes all connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    orders: mpsc::Sender<Order>,
    acceptor: JoinHandle<()>,
}

/// A command for the accept task. The task answers when the command is complete.
enum Order {
    Refuse(oneshot::Sender<Result<(), Error>>),
    Accept(oneshot::Sender<Result<(), Error>>),
}

impl Proxy {
    /// Starts a proxy for the server on `to_port` of 127.0.0.1. The server need not run yet. The proxy passes all
    /// bytes.
    ///
    /// # Errors
    /// Returns an [`Error`] when there is no free port.
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

    /// The port to which clients connect instead of the port of the server.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the URL of the server with the port of this proxy in place of `server_port`.
    #[must_use]
    pub fn url(&self, server_url: &str, server_port: u16) -> String {
        server_url.replace(&format!("127.0.0.1:{server_port}"), &format!("127.0.0.1:{}", self.port))
    }

    /// Passes all bytes again, including the bytes that [`Proxy::half_open`] held back. Swallowed bytes stay lost.
    pub fn pass(&self) {
        self.set(Mode::Pass);
    }

    /// Closes all connections at once, on both sides. New connections are served.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Passes requests to the server and discards its responses, on all connections. [`Proxy::swallowed`] counts the
    /// discarded bytes.
    pub fn swallow_answers(&self) {
        self.set(Mode::SwallowAnswers);
    }

    /// Passes `bytes` further bytes in this direction, in total over all connections, and all bytes in the other
    /// direction. The next byte closes all connections instead of passing. Later connections pass all bytes.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        // The budget must be set before connections see the mode, because they use the budget only in this mode.
        self.set(Mode::Pass);
        self.shared.budget.store(bytes, Ordering::SeqCst);
        self.set(Mode::CutAfter(direction));
    }

    /// Passes no bytes in either direction and closes no connection. Even the end of a connection is not forwarded. New
    /// connections are accepted, and hang too.
    pub fn half_open(&self) {
        self.set(Mode::HalfOpen);
    }

    /// Refuses new connections. Open connections stay open.
    ///
    /// # Errors
    /// Returns an [`Error`] when the runtime of the proxy has ended.
    pub async fn refuse(&self) -> Result<(), Error> {
        self.order(Order::Refuse).await
    }

    /// Accepts new connections again.
    ///
    /// # Errors
    /// Returns an [`Error`] when another process now listens on the port, or when the runtime of the proxy has ended.
    pub async fn accept(&self) -> Result<(), Error> {
        self.order(Order::Accept).await
    }

    /// Returns the number of bytes that have passed in this direction since the start.
    #[must_use]
    pub fn passed(&self, direction: Direction) -> u64 {
        self.shared.counter(direction).load(Ordering::SeqCst)
    }

    /// Returns the number of discarded response bytes since the start.
    #[must_use]
    pub fn swallowed(&self) -> u64 {
        self.shared.swallowed.load(Ordering::SeqCst)
    }

    /// Returns the number of open connections.
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
        // The task owns the listener and the connections, so they close with it.
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

    /// Closes all connections and passes bytes again, after the budget is used up. Only the first call has an effect,
    /// because a second cut would close new connections.
    fn cut_and_pass(&self) {
        self.state.send_if_modified(|state| {
            let first = matches!(state.mode, Mode::CutAfter(_));
            if first {
                *state = State { mode: Mode::Pass, cuts: state.cuts + 1 };
            }
            first
        });
    }

    /// Takes up to `wanted` bytes from the budget. A smaller result means that the budget is now used up.
    fn take(&self, wanted: u64) -> u64 {
        let taken = self
            .budget
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| Some(left.saturating_sub(wanted)));
        taken.unwrap_or_default().min(wanted)
    }
}

/// The task that accepts connections, and owns all connections.
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

/// Returns the next client. Never returns while the proxy does not listen.
async fn accepted(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // The client has already disconnected, or no file descriptor is free at the moment.
            Err(_) => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Serves one connection until it ends or until the next cut.
async fn serve(client: TcpStream, to_port: u16, shared: Arc<Shared>) {
    let mut state = shared.state.subscribe();
    let cuts = state.borrow().cuts;
    shared.connections.fetch_add(1, Ordering::SeqCst);
    let carried = async {
        // If the server cannot be reached, the connection of the client closes.
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
