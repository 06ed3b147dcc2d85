//! The settings of a command: the program, its arguments and its grace.

use std::{fmt, io, time::Duration};

use thiserror::Error;

/// The default time that a command has to end after its input was closed.
const GRACE: Duration = Duration::from_secs(5);

/// A command that accepts deliveries.
///
/// ```
/// use event_replay_targets::ExecCommand;
/// let command = ExecCommand::parse("awk -f 'my handler.awk'").unwrap();
/// assert_eq!(command.program(), "awk");
/// assert!(ExecCommand::parse("sh -c 'unclosed").is_err());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct ExecCommand {
    program: String,
    arguments: Vec<String>,
    grace: Duration,
    is_one_shot: bool,
    captures_stdout: bool,
    removed_variables: Vec<String>,
}

/// The reason why a command cannot run.
#[derive(Debug, Error)]
pub enum ExecError {
    /// The text contains no command.
    #[error("the command is empty")]
    Empty,
    /// A quote is not closed, or the text ends with a backslash.
    #[error("the command's quotes do not match")]
    Quotes,
    /// The operating system cannot start the program.
    #[error("cannot start {program:?}")]
    Start {
        /// The program.
        program: String,
        /// The error of the operating system.
        source: io::Error,
    },
}

impl ExecCommand {
    /// Splits a text into words, by the rules of a POSIX shell for quotes, backslashes and comments. It supports no
    /// other feature of a shell. For variables and pipes, run `sh -c '…'`.
    ///
    /// # Errors
    /// Returns [`ExecError::Empty`] when the text is empty. Returns [`ExecError::Quotes`] when its quotes do not match.
    pub fn parse(text: &str) -> Result<Self, ExecError> {
        let mut words = shlex::split(text).ok_or(ExecError::Quotes)?.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or(ExecError::Empty)?;
        Ok(Self::new(program, words))
    }

    /// Returns a command from a program and its arguments.
    pub fn new(program: impl Into<String>, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self {
            program: program.into(),
            arguments,
            grace: GRACE,
            is_one_shot: false,
            captures_stdout: false,
            removed_variables: Vec::new(),
        }
    }

    /// Sets the time that the process has to end after its input was closed, before it is killed. The default is 5
    /// seconds.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Runs the command once for each event, with the event as its stdin. Exit status 0 means that the event is
    /// handled. Any other status is a failure.
    #[must_use]
    pub fn one_shot(mut self) -> Self {
        self.is_one_shot = true;
        self
    }

    /// Returns the stdout of a command that runs once for each event in its [answer](crate::TargetAnswer). Without this
    /// call the stdout is copied to the stderr of this process.
    #[must_use]
    pub fn with_captured_stdout(mut self) -> Self {
        self.captures_stdout = true;
        self
    }

    /// Removes environment variables from the command's environment, such as passwords. The command gets all other
    /// variables of this process.
    #[must_use]
    pub fn without_variables(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.removed_variables.extend(names);
        self
    }

    /// Returns the program.
    pub fn program(&self) -> &str {
        &self.program
    }

    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub(super) fn removed_variables(&self) -> &[String] {
        &self.removed_variables
    }

    /// Returns whether the command runs once for each event.
    pub fn is_one_shot(&self) -> bool {
        self.is_one_shot
    }

    pub(super) fn captures_stdout(&self) -> bool {
        self.captures_stdout
    }

    pub(super) fn grace(&self) -> Duration {
        self.grace
    }
}

impl fmt::Debug for ExecCommand {
    /// Shows the program, but not the arguments, which may contain secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecCommand")
            .field("program", &self.program)
            .field("arguments", &self.arguments.len())
            .finish_non_exhaustive()
    }
}
