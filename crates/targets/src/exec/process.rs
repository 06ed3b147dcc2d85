//! The process of a command: it has its own process group, and it never outlives its owner.

use std::{
    os::unix::process::CommandExt,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    process::{Child, ChildStdin, ChildStdout, Command},
    time::Instant,
};

use super::{
    command::{ExecCommand, ExecError},
    lines::{Line, Lines},
    stderr::Tail,
};

/// The time to read the remaining output of an ended process. Its group is killed by then, so only a process that left
/// the group can still hold the pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// A running command. A drop kills the process and its group.
#[derive(Debug)]
pub(super) struct Process {
    // The group is dropped before the child. The child is not yet collected then, so no other process has its id.
    group: Group,
    pub(super) child: Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Lines<ChildStdout>,
    stderr: Tail,
}

/// The end of a process.
#[derive(Debug)]
pub(super) struct Ended {
    /// The exit status, as text.
    pub(super) how: String,
    /// The last part of the process's stderr.
    pub(super) stderr: Option<String>,
}

/// Starts the process of a command in a new process group.
pub(super) fn spawn(command: &ExecCommand) -> Result<Child, ExecError> {
    let mut std = std::process::Command::new(command.program());
    std.args(command.arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    for name in command.removed_variables() {
        std.env_remove(name);
    }
    let started = Command::from(std).kill_on_drop(true).spawn();
    started.map_err(|source| ExecError::Start { program: command.program().to_owned(), source })
}

impl Process {
    pub(super) fn start(command: &ExecCommand) -> Result<Self, ExecError> {
        let failed = |source| ExecError::Start { program: command.program().to_owned(), source };
        let mut child = spawn(command)?;
        let group = Group::of(&child);
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(std::io::Error::other("it has no pipes")));
        };
        let mut tail = Tail::default();
        if let Some(stderr) = child.stderr.take() {
            tail.follow(stderr);
        }
        Ok(Self { group, child, stdin: Some(stdin), stdout: Lines::new(stdout), stderr: tail })
    }

    /// Ends the process. Closes its input, waits up to `grace`, then kills the process and the rest of its group.
    /// Passes each further line to `heard`.
    pub(super) async fn end(mut self, grace: Duration, mut heard: impl FnMut(Line)) -> Ended {
        self.stdin = None;
        let deadline = Instant::now() + grace;
        let mut open = true;
        let how = loop {
            tokio::select! {
                line = self.stdout.next(), if open => match line {
                    Ok(Some(line)) => heard(line),
                    Ok(None) | Err(_) => open = false,
                },
                status = self.child.wait() => break said(status),
                () = tokio::time::sleep_until(deadline) => break self.kill().await,
            }
        };
        self.group.kill();
        let drained = async {
            while let Ok(Some(line)) = self.stdout.next().await {
                heard(line);
            }
        };
        if open {
            // A timeout here drops lines that may never arrive.
            let _ = tokio::time::timeout(DRAIN, drained).await;
        }
        Ended { how, stderr: self.stderr.text().await }
    }

    async fn kill(&mut self) -> String {
        // The process may have ended just now.
        if let Ok(Some(status)) = self.child.try_wait() {
            return said(Ok(status));
        }
        self.group.kill();
        match self.child.kill().await {
            Ok(()) => "it was killed".to_owned(),
            Err(error) => format!("it cannot be killed: {error}"),
        }
    }
}

fn said(status: std::io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| format!("it cannot be waited for: {error}"), |status| status.to_string())
}

/// A process group that is killed on drop.
#[derive(Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    /// Returns the group of a process that [`spawn`] started.
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id as i32)))
    }

    /// Kills every process of the group, once.
    pub(super) fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // The call fails if the group is already empty, which is the intended state.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
