//! One of the two targets of a comparison: a command or an endpoint.

use targets::{AnsweringTarget, Endpoint, ExecCommand, ExecNotices, ExecTarget, HttpTarget};

use crate::{
    args::target::{Target, password_warning},
    context::Context,
    errors::{CliError, with_causes},
};

/// A target that is not open yet.
pub(super) struct Side {
    argument: &'static str,
    kind: Kind,
}

enum Kind {
    Exec(ExecCommand),
    Http(Endpoint),
}

impl Side {
    /// Parses a target that answers. Warns about a password.
    pub(super) fn parse(argument: &'static str, text: &str, cx: &Context<'_>) -> Result<Self, CliError> {
        let target = Target::parse_argument(argument, text)?;
        if Target::tells_password(text) {
            cx.printer.warn(&password_warning(argument));
        }
        let kind = match target {
            Target::Exec(command) => Kind::Exec(command.with_captured_stdout()),
            Target::Http(endpoint) => Kind::Http(endpoint),
            target @ (Target::Groups | Target::Stdout) => {
                return Err(CliError::usage(format!("{argument}: {target} gives no answers to compare"))
                    .hint("name exec:COMMAND, exec1:COMMAND, or an http:// or https:// URL"));
            }
        };
        Ok(Self { argument, kind })
    }

    /// Opens the target. A command is started. An endpoint is not called yet.
    pub(super) fn open(self, cx: &Context<'_>) -> Result<OpenSide, CliError> {
        let timeout = cx.settings.handler_timeout;
        let Self { argument, kind } = self;
        let unusable = |error: &dyn std::error::Error| {
            CliError::failed(format!("{argument}: {}", with_causes(error)))
                .hint("check the program, its path, and the certificates of this machine")
        };
        let target = match kind {
            Kind::Exec(command) => {
                let started = ExecTarget::start(command).map_err(|error| unusable(&error))?;
                Opened::Exec(Box::new(started.with_timeout(timeout)))
            }
            Kind::Http(endpoint) => {
                let endpoint = endpoint.with_timeout(timeout);
                Opened::Http(Box::new(HttpTarget::new(endpoint).map_err(|error| unusable(&error))?))
            }
        };
        let notices = match &target {
            Opened::Exec(exec) => Some(exec.notices()),
            Opened::Http(_) => None,
        };
        Ok(OpenSide { argument, target, notices })
    }
}

enum Opened {
    Exec(Box<ExecTarget>),
    Http(Box<HttpTarget>),
}

/// A target that is open.
pub(super) struct OpenSide {
    argument: &'static str,
    target: Opened,
    notices: Option<ExecNotices>,
}

impl OpenSide {
    /// Returns the target.
    pub(super) fn target(&self) -> &dyn AnsweringTarget {
        match &self.target {
            Opened::Exec(exec) => &**exec,
            Opened::Http(http) => &**http,
        }
    }

    /// Waits for the next report of wrong behaviour of a command. Cancel-safe.
    pub(super) async fn notice(&self) -> String {
        match &self.notices {
            Some(notices) => format!("{}: {}", self.argument, notices.next().await),
            None => std::future::pending().await,
        }
    }

    /// Ends the target.
    pub(super) async fn close(&self) {
        if let Opened::Exec(exec) = &self.target {
            exec.close().await;
        }
    }
}
