//! Asking before something is lost.

use std::io::{self, BufRead, IsTerminal, Write};

use event_replay::{Settings, app::Confirmation};

use crate::{errors::CliError, output::escape};

/// What to do, for commands that have a dry run.
pub(crate) const LOOK_FIRST: &str = "add --yes to continue, or --dry-run to see what would be removed";

/// Continues if `--yes` was given or a person says yes. `hint` says what to do where there is no terminal to ask on.
pub(crate) fn confirm(
    deed: &Confirmation,
    settings: &Settings,
    yes: bool,
    hint: &str,
) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    let context = match &settings.context {
        Some(context) => format!(" (context {context})"),
        None => String::new(),
    };
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(format!(
            "this would {deed}{context}, which cannot be undone; stdin is not a terminal, so nothing was changed"
        ))
        .hint(hint));
    }
    ask(&format!("This would {deed}{context}, which cannot be undone."))
}

/// Continues if a person says yes.
pub(crate) fn ask(question: &str) -> Result<(), CliError> {
    let mut answer = String::new();
    let question = format!("{} Type yes to continue: ", escape::lines(question));
    let asked = write!(io::stderr(), "{question}")
        .and_then(|()| io::stderr().flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if answer.trim().eq_ignore_ascii_case("yes") => Ok(()),
        _ => Err(CliError::failed("nothing was changed")),
    }
}
