//! Where events go, as `--target` says.

use std::fmt;

use event_replay::secret_variables;
use targets::{Endpoint, ExecCommand};

use crate::errors::CliError;

/// What begins the name of a command that gets an event a line.
const EXEC: &str = "exec:";
/// What begins the name of a command that is run for each event.
const EXEC_EACH: &str = "exec1:";

/// Where events go.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// To consumer groups.
    Groups,
    /// To this process's standard output.
    Stdout,
    /// To a command.
    Exec(ExecCommand),
    /// To an HTTP endpoint.
    Http(Endpoint),
}

impl Target {
    /// Reads a target. The text is not repeated in errors where it may hold a secret.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        if let Some(command) = text.strip_prefix(EXEC) {
            return Ok(Self::Exec(command_of(EXEC, command)?));
        }
        if let Some(command) = text.strip_prefix(EXEC_EACH) {
            return Ok(Self::Exec(command_of(EXEC_EACH, command)?.one_shot()));
        }
        match text {
            "groups" => Ok(Self::Groups),
            "stdout" => Ok(Self::Stdout),
            _ if text.contains("://") => {
                let endpoint = Endpoint::parse(text);
                endpoint.map(Self::Http).map_err(|error| CliError::usage(format!("--target: {error}")))
            }
            _ => Err(CliError::usage(format!(
                "there is no target {text:?}: a target is groups, stdout, exec:COMMAND, exec1:COMMAND or an http:// or https:// URL"
            ))),
        }
    }
}

/// Reads a command. It does not get what could open the store in other hands.
fn command_of(kind: &str, text: &str) -> Result<ExecCommand, CliError> {
    let command = ExecCommand::parse(text).map_err(|error| {
        CliError::usage(format!("--target {kind} {error}"))
            .hint(format!("write it as for a shell: --target '{kind}./handler --fast'"))
    })?;
    Ok(command.without_variables(secret_variables()))
}

impl fmt::Display for Target {
    /// Without what may be secret: a command's arguments, a URL's user, password and query.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Groups => f.write_str("groups"),
            Self::Stdout => f.write_str("stdout"),
            Self::Exec(command) => {
                let kind = if command.is_one_shot() { EXEC_EACH } else { EXEC };
                write!(f, "{kind}{}", command.program())
            }
            Self::Http(endpoint) => endpoint.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_shown_without_its_secrets() {
        for (text, shown) in [
            ("groups", "groups"),
            ("stdout", "stdout"),
            ("exec:./handler --token abc", "exec:./handler"),
            ("exec1:./send-mail --token abc", "exec1:./send-mail"),
            ("https://me:secret@example.com/in?token=abc", "https://example.com/in"),
        ] {
            assert_eq!(Target::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_target_is_a_usage_error_that_repeats_no_secret() {
        for text in ["", "file.txt", "exec:", "exec:sh -c 'open", "ftp://me:secret@h/", "http://me:secret@"] {
            let error = Target::parse(text).unwrap_err();
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
    }
}
