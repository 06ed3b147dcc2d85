//! A command that reads all events from its stdin, and writes one result to its stdout.

use thiserror::Error;
use tokio::{
    io::AsyncWriteExt,
    process::{Child, ChildStdin},
};

use super::{
    captured::Captured,
    command::{ExecCommand, ExecError},
    process::{self, Group},
    stderr::Tail,
};

/// The largest result, in bytes.
const MAX_RESULT_BYTES: usize = 64 * 1024 * 1024;

/// A running command that gets lines, and returns its stdout at its end. A drop kills the process and its group.
///
/// The stderr of the command is copied to the stderr of this process.
#[derive(Debug)]
pub struct ExecFilter {
    // The group is dropped before the child. The child is not yet collected then, so no other process has its id.
    group: Group,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Captured,
    stderr: Tail,
}

/// The failure of a command.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what}{}", stderr.as_ref().map(|text| format!("; its stderr ends with: {text}")).unwrap_or_default())]
pub struct ExecFailure {
    /// The failure, with the exit status of the command.
    pub what: String,
    /// The last part of the stderr of the command, on one line.
    pub stderr: Option<String>,
}

impl ExecFilter {
    /// Starts the command. The caller must be within a tokio runtime.
    ///
    /// # Errors
    /// Returns [`ExecError`] when the command cannot be started.
    pub fn start(command: &ExecCommand) -> Result<Self, ExecError> {
        let failed = |source| ExecError::Start { program: command.program().to_owned(), source };
        let mut child = process::spawn(command)?;
        let group = Group::of(&child);
        let (stdin, Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed(std::io::Error::other("it has no pipes")));
        };
        let mut stderr = Tail::default();
        if let Some(pipe) = child.stderr.take() {
            stderr.follow(pipe);
        }
        Ok(Self { group, child, stdin, stdout: Captured::of(stdout, MAX_RESULT_BYTES), stderr })
    }

    /// Writes to the stdin of the command. A command need not read its whole input, so a closed pipe is no failure.
    pub async fn write(&mut self, bytes: &[u8]) {
        if let Some(stdin) = &mut self.stdin
            && stdin.write_all(bytes).await.is_err()
        {
            self.stdin = None;
        }
    }

    /// Closes the stdin of the command, waits for its end, and returns its stdout.
    ///
    /// # Errors
    /// Returns [`ExecFailure`] when the exit status of the command is not 0, or when its output is too long.
    pub async fn finish(mut self) -> Result<Vec<u8>, ExecFailure> {
        self.stdin = None;
        let ended = self.child.wait().await;
        self.group.kill();
        let what = match ended {
            Ok(status) if status.success() => match self.stdout.bytes().await {
                Ok(bytes) => return Ok(bytes),
                Err(what) => what,
            },
            Ok(status) => format!("the command failed: {status}"),
            Err(error) => format!("the command cannot be waited for: {error}"),
        };
        Err(ExecFailure { what, stderr: self.stderr.text().await })
    }
}
