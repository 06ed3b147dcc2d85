//! The task that owns the process: it writes to the process, reads from it, waits for it, and starts it again.

use std::{
    io::Cursor,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::{Backoff, Jitter, delivery::HandlerError};
use tokio::{
    io::AsyncWriteExt,
    sync::{Mutex, mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    answer::CommandReply,
    command::{ExecCommand, ExecError},
    lines::Line,
    notices::Teller,
    open::{Ask, OpenAsks, Settled},
    process::{Ended, Process},
};
use crate::{answer::TargetAnswer, excerpt::excerpt, failure::Failure};

/// The pauses before the command is started again, before jitter is added.
const RESTARTS: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));
/// The time that a command has to end after it closed one of its pipes.
const PARTING: Duration = Duration::from_secs(1);
/// The highest number of deliveries past their time limit that still await an answer. Above it, the command is
/// restarted.
const MAX_OVERDUE: usize = 1000;
/// The number of bytes of an ignored line in a notice.
const TOLD_BYTES: usize = 100;

/// A running command that accepts deliveries. A drop kills the process.
#[derive(Debug)]
pub(super) struct Exec {
    asks: mpsc::Sender<Ask>,
    closing: watch::Sender<bool>,
    ignored: Arc<AtomicU64>,
    actor: Mutex<Option<JoinHandle<()>>>,
    abort: tokio::task::AbortHandle,
}

impl Exec {
    pub(super) fn start(command: ExecCommand, teller: Teller) -> Result<Self, ExecError> {
        let process = Process::start(&command)?;
        let (asks, taken) = mpsc::channel(64);
        let (closing, closed) = watch::channel(false);
        let ignored = Arc::new(AtomicU64::new(0));
        let actor = Actor {
            command,
            asks: taken,
            closing: closed,
            open: OpenAsks::default(),
            ear: Ear {
                ignored: Arc::clone(&ignored),
                teller,
                unread: None,
                last_answer: None,
                ever_answered: false,
            },
            restarts: 0,
        };
        let actor = tokio::spawn(actor.run(process));
        let abort = actor.abort_handle();
        Ok(Self { asks, closing, ignored, actor: Mutex::new(Some(actor)), abort })
    }

    pub(super) fn ignored_lines(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    /// Sends a line, which includes its line feed, and waits for the answer.
    pub(super) async fn ask(
        &self,
        id: &str,
        attempt: Option<u32>,
        line: Vec<u8>,
        timeout: Duration,
    ) -> Result<TargetAnswer, Failure> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask { id: id.to_owned(), attempt, line, asked_at: Instant::now(), timeout, answer };
        let closed = || Failure::Unreachable(HandlerError::retry("the command is closed"));
        self.asks.send(ask).await.map_err(|_| closed())?;
        answered.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(super) async fn close(&self) {
        self.closing.send_replace(true);
        self.ended().await;
    }

    pub(super) async fn kill(&self) {
        self.abort.abort();
        self.ended().await;
    }

    /// Waits until the actor and its process have ended. Cancel-safe: several tasks may wait.
    async fn ended(&self) {
        let mut actor = self.actor.lock().await;
        let Some(task) = actor.as_mut() else { return };
        let ended = task.await;
        *actor = None;
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(%error, "the task that runs a command failed");
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.abort.abort();
    }
}

struct Actor {
    command: ExecCommand,
    asks: mpsc::Receiver<Ask>,
    closing: watch::Receiver<bool>,
    open: OpenAsks,
    ear: Ear,
    /// The number of starts since the command last answered.
    restarts: u32,
}

/// The reason why the actor stops to use a process.
enum Parted {
    /// The command must be closed.
    Closing,
    /// The process ended or closed a pipe.
    ByItself,
    /// The process received an event and has answered nothing since.
    Hung,
}

impl Actor {
    async fn run(mut self, mut process: Process) {
        loop {
            self.ear.last_answer = None;
            self.ear.unread = None;
            let parted = self.serve(&mut process).await;
            let grace = match parted {
                Parted::Closing => self.command.grace(),
                Parted::ByItself => PARTING,
                Parted::Hung => Duration::ZERO,
            };
            let ended = process.end(grace, |line| self.ear.hear(line, &mut self.open)).await;
            if matches!(parted, Parted::Closing) {
                self.refuse_the_rest();
                return;
            }
            let failure = self.failure(&parted, &ended);
            let apart = self.open.process_ended(&failure, matches!(parted, Parted::Hung));
            if apart > 0 {
                self.ear.teller.tell(|| apart_notice(&parted, &ended, apart));
            }
            match self.rest(failure).await {
                Some(next) => process = next,
                None => return self.refuse_the_rest(),
            }
        }
    }

    /// Writes lines to the process and reads its answers, until one of the reasons to stop occurs.
    async fn serve(&mut self, process: &mut Process) -> Parted {
        let mut chunk = Cursor::new(Vec::new());
        loop {
            if chunk.position() == chunk.get_ref().len() as u64 {
                chunk.get_mut().clear();
                chunk.set_position(0);
                self.open.write_chunk(chunk.get_mut());
            }
            let Process { stdin: Some(stdin), stdout, child, .. } = process else { return Parted::ByItself };
            let deadline = self.open.next_deadline();
            tokio::select! {
                () = closing(&mut self.closing) => return Parted::Closing,
                Some(ask) = self.asks.recv() => self.open.insert(ask),
                line = stdout.next() => match line {
                    Ok(Some(line)) => self.ear.hear(line, &mut self.open),
                    Ok(None) | Err(_) => return Parted::ByItself,
                },
                // The next round continues at the written position. An error means that the input is closed.
                written = stdin.write_buf(&mut chunk), if !chunk.get_ref().is_empty() => if written.is_err() {
                    return Parted::ByItself;
                },
                // The process ended, or the wait for it failed. The process is then of no more use.
                _ = child.wait() => return Parted::ByItself,
                () = until(deadline) => {
                    let hangs = self.open.expire(Instant::now(), self.ear.last_answer, self.ear.unread.as_deref());
                    if hangs || self.open.overdue() > MAX_OVERDUE {
                        return Parted::Hung;
                    }
                }
            }
        }
    }

    /// Waits for the next delivery and at least for the restart pause, then starts the command again. Returns `None` if
    /// the command must be closed.
    async fn rest(&mut self, mut failure: Failure) -> Option<Process> {
        if self.ear.last_answer.is_some() {
            self.restarts = 0;
        }
        let mut ready = self.next_start();
        loop {
            let deadline = self.open.next_deadline();
            tokio::select! {
                () = closing(&mut self.closing) => return None,
                Some(ask) = self.asks.recv() => self.open.insert(ask),
                () = sleep_until(ready), if self.open.has_unwritten() => match Process::start(&self.command) {
                    Ok(process) => return Some(process),
                    Err(error) => {
                        failure = Failure::Unreachable(error.into());
                        self.open.fail_all(&failure);
                        ready = self.next_start();
                    }
                },
                // No delivery waits past its deadline, even while the command pauses before its restart.
                () = until(deadline) => self.open.fail_expired(Instant::now(), &failure),
            }
        }
    }

    /// Returns the time of the next start of the command.
    fn next_start(&mut self) -> Instant {
        self.restarts = self.restarts.saturating_add(1);
        Instant::now() + RESTARTS.pause(self.restarts, Jitter::Added, fastrand::f64())
    }

    fn failure(&self, parted: &Parted, ended: &Ended) -> Failure {
        let error = match parted {
            Parted::Hung => "the command answered nothing in time and was killed".to_owned(),
            _ => format!("the command ended before it answered: {}", ended.how),
        };
        tracing::warn!(program = self.command.program(), %error, "a command is started again");
        let mut error = HandlerError::retry(error);
        error.errors.extend(self.ear.unread.as_ref().map(|unread| format!("it wrote {unread}")));
        error.errors.extend(ended.stderr.as_ref().map(|text| format!("its stderr ends with: {text}")));
        if self.ear.ever_answered { Failure::Failed(error) } else { Failure::Unreachable(error) }
    }

    fn refuse_the_rest(&mut self) {
        self.asks.close();
        while let Ok(ask) = self.asks.try_recv() {
            self.open.insert(ask);
        }
        self.open.fail_all(&Failure::Unreachable(HandlerError::retry("the command is closed")));
    }
}

/// Processes the output of the command.
struct Ear {
    ignored: Arc<AtomicU64>,
    teller: Teller,
    /// The last line of this process that was no answer.
    unread: Option<String>,
    /// The time of this process's last answer.
    last_answer: Option<Instant>,
    /// Whether any process of this command has ever answered.
    ever_answered: bool,
}

impl Ear {
    fn hear(&mut self, line: Line, open: &mut OpenAsks) {
        let mut text = match line {
            Line::Text(text) => text,
            Line::TooLong => return self.unread("a line of more than 1 MiB".to_owned()),
        };
        let Some(answer) = CommandReply::parse(&text) else {
            return self.unread(format!("a line that is no answer: {}", excerpt(&text, TOLD_BYTES)));
        };
        let settled = open.settle(answer, &mut text);
        if settled != Settled::Unknown {
            self.last_answer = Some(Instant::now());
            self.ever_answered = true;
        }
        match settled {
            Settled::InTime => {}
            Settled::Late => self.ignore("an answer that comes too late", &text),
            Settled::Unknown => self.ignore("an answer to nothing that is open", &text),
        }
    }

    fn unread(&mut self, what: String) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
        self.teller.tell(|| format!("the command wrote {what}"));
        self.unread = Some(what);
    }

    fn ignore(&self, what: &str, line: &[u8]) {
        self.ignored.fetch_add(1, Ordering::Relaxed);
        self.teller.tell(|| format!("the command wrote {what}: {}", excerpt(line, TOLD_BYTES)));
    }
}

fn apart_notice(parted: &Parted, ended: &Ended, apart: usize) -> String {
    let what = match parted {
        Parted::Hung => "answered nothing in time and was killed".to_owned(),
        _ => format!("ended ({})", ended.how),
    };
    format!("the command {what}; the {apart} events that it had open are tried again one at a time")
}

/// Waits until the command must be closed.
async fn closing(requested: &mut watch::Receiver<bool>) {
    // An error means that all senders are dropped.
    let _ = requested.wait_for(|closing| *closing).await;
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
