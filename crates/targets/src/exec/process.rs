//! The command's process: started in a group of its own, and never left behind.

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

/// How long what an ended process left in its pipe is waited for. Its group is gone by then, so only a process that left
/// the group could still hold the pipe open.
const DRAIN: Duration = Duration::from_secs(1);

/// A running command. Dropping it kills it and its group.
#[derive(Debug)]
pub(super) struct Process {
    // Dropped before the child, which is still waited for then: its id is no other's.
    group: Group,
    pub(super) child: Child,
    pub(super) stdin: Option<ChildStdin>,
    pub(super) stdout: Lines<ChildStdout>,
    stderr: Tail,
}

/// How a process ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// In words.
    pub(super) how: String,
    /// The end of what it wrote to its stderr.
    pub(super) stderr: Option<String>,
}

/// Starts a command's process, in a process group of its own.
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

    /// Ends it: closes its input, lets it finish for as long as `grace`, then kills it and what is left of its group.
    /// Every line that it still writes is handed to `heard`.
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
            // A timeout here drops lines that may not be written any more.
            let _ = tokio::time::timeout(DRAIN, drained).await;
        }
        Ended { how, stderr: self.stderr.text().await }
    }

    async fn kill(&mut self) -> String {
        // It may have ended this moment.
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

/// A process group that is killed when it is dropped.
#[derive(Debug)]
pub(super) struct Group(Option<Pid>);

impl Group {
    /// The group of a process that was started by [`spawn`].
    pub(super) fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(id as i32)))
    }

    /// Kills every process in it, once.
    pub(super) fn kill(&mut self) {
        if let Some(group) = self.0.take() {
            // It fails where the group is empty already, which is what is wanted.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}
