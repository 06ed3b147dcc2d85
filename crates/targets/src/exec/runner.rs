//! The two ways to run a command: one process for all events, or one process for each event.

use std::time::Duration;

use super::{
    actor::Exec,
    command::{ExecCommand, ExecError},
    notices::{ExecNotices, Teller},
    one_shot::OneShot,
};
use crate::{answer::TargetAnswer, failure::Failure};

/// A command that accepts deliveries.
#[derive(Debug)]
pub(super) struct Runner {
    process: Process,
    notices: ExecNotices,
}

#[derive(Debug)]
enum Process {
    ForAll(Exec),
    ForEach(OneShot),
}

impl Runner {
    pub(super) fn start(command: ExecCommand) -> Result<Self, ExecError> {
        let (teller, notices) = Teller::new();
        let process = match command.is_one_shot() {
            true => Process::ForEach(OneShot::new(command)?),
            false => Process::ForAll(Exec::start(command, teller)?),
        };
        Ok(Self { process, notices })
    }

    /// Adds a line feed to a line, sends it, and waits for its answer.
    pub(super) async fn ask(
        &self,
        id: &str,
        attempt: Option<u32>,
        mut line: Vec<u8>,
        timeout: Duration,
    ) -> Result<TargetAnswer, Failure> {
        line.push(b'\n');
        match &self.process {
            Process::ForAll(exec) => exec.ask(id, attempt, line, timeout).await,
            Process::ForEach(one_shot) => one_shot.ask(&line, timeout).await,
        }
    }

    pub(super) fn ignored_lines(&self) -> u64 {
        match &self.process {
            Process::ForAll(exec) => exec.ignored_lines(),
            Process::ForEach(_) => 0,
        }
    }

    pub(super) fn notices(&self) -> ExecNotices {
        self.notices.clone()
    }

    pub(super) async fn close(&self) {
        match &self.process {
            Process::ForAll(exec) => exec.close().await,
            Process::ForEach(one_shot) => one_shot.close().await,
        }
    }

    pub(super) async fn kill(&self) {
        match &self.process {
            Process::ForAll(exec) => exec.kill().await,
            Process::ForEach(one_shot) => one_shot.kill().await,
        }
    }
}
