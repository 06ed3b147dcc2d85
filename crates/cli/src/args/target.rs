//! The target of deliveries, as `--target` names it.

use std::{env::VarError, fmt, fs::File, io::Read, path::Path};

use event_replay::{has_password, secret_variables};
use targets::{Endpoint, ExecCommand};

use crate::{errors::CliError, output::escape};

/// The prefix of a command that runs once and reads one event a line.
const EXEC: &str = "exec:";
/// The prefix of a command that runs once for each event.
const EXEC_EACH: &str = "exec1:";
/// The prefix of an environment variable that holds the target.
const VARIABLE: &str = "env:";
/// The prefix of a file path that holds the target.
const FILE: &str = "file:";
/// Bytes that are read from a target file at most.
const LONGEST: u64 = 64 * 1024;

/// The flag that names a target.
const FLAG: &str = "--target";

/// The warning about a password on the command line.
pub(crate) const TELLS_PASSWORD: &str = "--target: a password on the command line can be read by every user of this machine; \
                                         env:NAME and file:PATH keep it from them";

/// Returns the warning about a password in a named argument.
pub(crate) fn password_warning(argument: &str) -> String {
    TELLS_PASSWORD.replace(FLAG, argument)
}

/// The destination of deliveries.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// The consumer groups.
    Groups,
    /// The standard output of this process.
    Stdout,
    /// A command.
    Exec(ExecCommand),
    /// An HTTP endpoint.
    Http(Endpoint),
}

impl Target {
    /// Parses the target of `--target`. Errors do not repeat the text where it may hold a secret.
    pub(crate) fn parse(text: &str) -> Result<Self, CliError> {
        Self::parse_argument(FLAG, text)
    }

    /// Parses the target of a named argument, as [`parse`](Self::parse) does.
    pub(crate) fn parse_argument(argument: &str, text: &str) -> Result<Self, CliError> {
        if let Some(name) = text.strip_prefix(VARIABLE) {
            return Self::parse_itself(argument, &of_variable(argument, name)?);
        }
        if let Some(path) = text.strip_prefix(FILE) {
            return Self::parse_itself(argument, &of_file(argument, Path::new(path))?);
        }
        Self::parse_itself(argument, text)
    }

    /// Returns whether the text is an address with a password. Every user of the machine can read a command line.
    pub(crate) fn tells_password(text: &str) -> bool {
        let is_address = text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains(':'));
        is_address && has_password(text)
    }

    fn parse_itself(argument: &str, text: &str) -> Result<Self, CliError> {
        if let Some(command) = text.strip_prefix(EXEC) {
            return Ok(Self::Exec(command_of(argument, EXEC, command)?));
        }
        if let Some(command) = text.strip_prefix(EXEC_EACH) {
            return Ok(Self::Exec(command_of(argument, EXEC_EACH, command)?.one_shot()));
        }
        match text {
            "groups" => Ok(Self::Groups),
            "stdout" => Ok(Self::Stdout),
            _ if text.contains("://") => {
                let endpoint = Endpoint::parse(text);
                endpoint.map(Self::Http).map_err(|error| CliError::usage(format!("{argument}: {error}")))
            }
            _ => Err(CliError::usage(format!(
                "there is no target {:?}: a target is groups, stdout, exec:COMMAND, exec1:COMMAND or an http:// or https:// URL",
                escape::line(text)
            ))
            .hint("env:NAME and file:PATH name what holds the target")),
        }
    }
}

fn of_variable(argument: &str, name: &str) -> Result<String, CliError> {
    let shown = escape::line(name);
    match std::env::var(name) {
        Ok(text) if !text.trim().is_empty() => Ok(text.trim().to_owned()),
        Ok(_) | Err(VarError::NotPresent) => {
            Err(CliError::usage(format!("{argument}: the environment variable {shown} is not set")))
        }
        Err(VarError::NotUnicode(_)) => {
            Err(CliError::usage(format!("{argument}: the environment variable {shown} is not UTF-8")))
        }
    }
}

fn of_file(argument: &str, path: &Path) -> Result<String, CliError> {
    let shown = escape::line(&path.display().to_string()).into_owned();
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
    read.map_err(|error| CliError::failed(format!("{argument}: the file {shown} cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(CliError::usage(format!("{argument}: the file {shown} is empty"))),
        target => Ok(target.to_owned()),
    }
}

/// Parses a command. The command does not get the environment variables that hold passwords of the store.
fn command_of(argument: &str, kind: &str, text: &str) -> Result<ExecCommand, CliError> {
    let command = ExecCommand::parse(text).map_err(|error| {
        CliError::usage(format!("{argument} {kind} {error}"))
            .hint(format!("write it as for a shell: {argument} '{kind}./handler --fast'"))
    })?;
    Ok(command.without_variables(secret_variables()))
}

impl fmt::Display for Target {
    /// Omits the parts that may be secret: the arguments of a command, and the user, password and query of a URL.
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
    fn an_address_with_a_password_is_told_from_one_without() {
        for (text, tells) in [
            ("https://me:secret@example.com/in", true),
            ("https://me@example.com/in", false),
            ("https://example.com/a:b@c", false),
            ("exec:curl https://me:secret@example.com/", false),
            ("env:MAIL_URL", false),
        ] {
            assert_eq!(Target::tells_password(text), tells, "{text}");
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
