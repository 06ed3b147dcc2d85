//! What is run: a program, its arguments, and how long it may take to end.

use std::{fmt, io, time::Duration};

use thiserror::Error;

/// How long a command may take to end once its input is closed, where nothing else is said.
const GRACE: Duration = Duration::from_secs(5);

/// A command that deliveries can go to.
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
    removed_variables: Vec<String>,
}

/// Why a command cannot be run.
#[derive(Debug, Error)]
pub enum ExecError {
    /// There is no command in the text.
    #[error("the command is empty")]
    Empty,
    /// A quote is not closed, or a backslash ends the text.
    #[error("the command's quotes do not match")]
    Quotes,
    /// The system cannot start it.
    #[error("cannot start {program:?}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: io::Error,
    },
}

impl ExecCommand {
    /// Splits a text into words, by the rules of a POSIX shell for quotes, backslashes and comments. Nothing else of a shell
    /// is done: for variables, pipes and the like, run `sh -c '…'`.
    ///
    /// # Errors
    /// The text is empty, or its quotes do not match.
    pub fn parse(text: &str) -> Result<Self, ExecError> {
        let mut words = shlex::split(text).ok_or(ExecError::Quotes)?.into_iter();
        let program = words.next().filter(|program| !program.is_empty()).ok_or(ExecError::Empty)?;
        Ok(Self::new(program, words))
    }

    /// A program with its arguments.
    pub fn new(program: impl Into<String>, arguments: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let arguments = arguments.into_iter().map(Into::into).collect();
        Self {
            program: program.into(),
            arguments,
            grace: GRACE,
            is_one_shot: false,
            removed_variables: Vec::new(),
        }
    }

    /// How long it may take to end once its input is closed, before it is killed; else 5 seconds.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Runs it once for each event, which is its stdin: exit status 0 says that the event is handled, any other that it
    /// failed.
    #[must_use]
    pub fn one_shot(mut self) -> Self {
        self.is_one_shot = true;
        self
    }

    /// Keeps environment variables of these names from it, such as those with passwords. It has all others of this process.
    #[must_use]
    pub fn without_variables(mut self, names: impl IntoIterator<Item = String>) -> Self {
        self.removed_variables.extend(names);
        self
    }

    /// The program.
    pub fn program(&self) -> &str {
        &self.program
    }

    pub(super) fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub(super) fn removed_variables(&self) -> &[String] {
        &self.removed_variables
    }

    /// Whether it is run once for each event.
    pub fn is_one_shot(&self) -> bool {
        self.is_one_shot
    }

    pub(super) fn grace(&self) -> Duration {
        self.grace
    }
}

impl fmt::Debug for ExecCommand {
    /// Names the program; never shows its arguments, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecCommand")
            .field("program", &self.program)
            .field("arguments", &self.arguments.len())
            .finish_non_exhaustive()
    }
}
