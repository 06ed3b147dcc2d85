//! One process for each event: the event is its stdin, and its exit status is the answer.

use std::{
    io,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use domain::delivery::HandlerError;
use tokio::{
    io::AsyncWriteExt,
    process::Child,
    sync::{RwLock, watch},
    time::timeout,
};

use super::{
    captured::Captured,
    command::{ExecCommand, ExecError},
    process::{self, Group},
    stderr::Tail,
};
use crate::{
    answer::{AnswerStatus, MAX_ANSWER_BYTES, TargetAnswer},
    failure::Failure,
};

/// The search path for programs if `PATH` is not set.
const USUAL_PATH: &str = "/bin:/usr/bin";

/// Runs a command once for each event. A drop of the delivery kills its process.
#[derive(Debug)]
pub(super) struct OneShot {
    command: ExecCommand,
    /// The lock that each process holds as a reader.
    running: RwLock<()>,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
    Killed,
}

impl OneShot {
    /// Checks that the program exists. It runs no process.
    pub(super) fn new(command: ExecCommand) -> Result<Self, ExecError> {
        let program = command.program();
        let source = match find(program) {
            Some(path) if is_executable(&path) => None,
            Some(_) => Some(io::Error::from(io::ErrorKind::PermissionDenied)),
            None => Some(io::Error::from(io::ErrorKind::NotFound)),
        };
        match source {
            Some(source) => Err(ExecError::Start { program: program.to_owned(), source }),
            None => Ok(Self { command, running: RwLock::default(), state: watch::Sender::new(State::Open) }),
        }
    }

    /// Runs the command for a line, and waits for its end.
    pub(super) async fn ask(&self, line: &[u8], time: Duration) -> Result<TargetAnswer, Failure> {
        let closed = || Failure::Unreachable(HandlerError::retry("the command is closed"));
        let mut state = self.state.subscribe();
        let _running = self.running.try_read().map_err(|_| closed())?;
        if *state.borrow() != State::Open {
            return Err(closed());
        }
        let run = Run::start(&self.command).map_err(|error| Failure::Unreachable(error.into()))?;
        tokio::select! {
            biased;
            result = run.end(line, time) => result.map_err(Failure::Failed),
            _ = state.wait_for(|state| *state == State::Killed) => Err(closed()),
        }
    }

    /// Accepts no more deliveries and waits for the running processes. Kills them after the command's grace.
    pub(super) async fn close(&self) {
        self.state.send_if_modified(|state| {
            let is_open = *state == State::Open;
            if is_open {
                *state = State::Closed;
            }
            is_open
        });
        if timeout(self.command.grace(), self.running.write()).await.is_err() {
            self.kill().await;
        }
    }

    /// Kills the running processes.
    pub(super) async fn kill(&self) {
        self.state.send_replace(State::Killed);
        let _all_ended = self.running.write().await;
    }
}

/// The process of one event.
struct Run {
    // The group is dropped before the child. The child is not yet collected then, so no other process has its id.
    group: Group,
    child: Child,
    output: Tail,
    /// The stdout, if the command captures it. Otherwise it is a part of the output.
    stdout: Option<Captured>,
}

impl Run {
    fn start(command: &ExecCommand) -> Result<Self, ExecError> {
        let mut child = process::spawn(command)?;
        let group = Group::of(&child);
        let mut output = Tail::default();
        let mut captured = None;
        match child.stdout.take() {
            Some(stdout) if command.captures_stdout() => {
                captured = Some(Captured::of(stdout, MAX_ANSWER_BYTES));
            }
            Some(stdout) => output.follow(stdout),
            None => {}
        }
        if let Some(stderr) = child.stderr.take() {
            output.follow(stderr);
        }
        Ok(Self { group, child, output, stdout: captured })
    }

    /// Waits for the end of the process. A process that returned an exit status has answered.
    async fn end(mut self, line: &[u8], time: Duration) -> Result<TargetAnswer, HandlerError> {
        let earlier = time.saturating_sub((time / 20).min(super::open::EARLIER));
        let ended = timeout(earlier, self.status(line)).await;
        self.group.kill();
        let status = match ended {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => {
                return Err(failure(format!("the command cannot be waited for: {error}"), self.output).await);
            }
            Err(_) => {
                let what = format!("the command did not end within {time:?} and was killed");
                return Err(failure(what, self.output).await);
            }
        };
        let body = match self.stdout {
            Some(stdout) => stdout.bytes().await.map_err(HandlerError::retry)?,
            None => Vec::new(),
        };
        let result = match status.success() {
            true => Ok(()),
            false => Err(failure(format!("the command failed: {status}"), self.output).await),
        };
        match (result, status.code()) {
            // A signal ended the process before it returned a status.
            (Err(error), None) => Err(error),
            (result, code) => Ok(TargetAnswer { result, status: code.map(AnswerStatus::Exit), body }),
        }
    }

    /// Writes the line as long as the process reads, and waits for the process.
    async fn status(&mut self, line: &[u8]) -> io::Result<ExitStatus> {
        let stdin = self.child.stdin.take();
        let writing = async {
            if let Some(mut stdin) = stdin {
                // A command need not read its input.
                let _ = stdin.write_all(line).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            status = self.child.wait() => status,
            () = writing => Err(io::ErrorKind::Other.into()),
        }
    }
}

/// Returns a failure with the last part of the output of the process.
async fn failure(what: String, output: Tail) -> HandlerError {
    let mut error = HandlerError::retry(what);
    if let Some(text) = output.text().await {
        error.errors.push(format!("its output ends with: {text}"));
    }
    error
}

/// Returns the file of a program: its path, or its file in a folder of `PATH`.
fn find(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.exists());
    }
    let folders = std::env::var_os("PATH").unwrap_or_else(|| USUAL_PATH.into());
    let mut files = std::env::split_paths(&folders).map(|folder| folder.join(program));
    files.find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}
