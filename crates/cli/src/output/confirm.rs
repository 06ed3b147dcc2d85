//! Asking before something is lost.

use std::io::{self, BufRead, IsTerminal, Write};

use event_replay::app::Confirmation;

use crate::{errors::CliError, output::escape};

/// What to do, for commands that can be looked at first.
pub(crate) const LOOK_FIRST: &str = "add --yes to go ahead, or --dry-run to see what would go";

/// Goes on if `--yes` was given or a person says yes. `hint` says what to do where there is no terminal to ask on.
pub(crate) fn confirm(deed: &Confirmation, yes: bool, hint: &str) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(format!(
            "this would {deed}, which cannot be undone, and nobody is there to ask; nothing was changed"
        ))
        .hint(hint));
    }
    ask(&format!("This would {deed}, which cannot be undone."))
}

/// Goes on if a person says yes.
pub(crate) fn ask(question: &str) -> Result<(), CliError> {
    let mut answer = String::new();
    let question = format!("{} Type yes to go ahead: ", escape::lines(question));
    let asked = write!(io::stderr(), "{question}")
        .and_then(|()| io::stderr().flush())
        .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if answer.trim().eq_ignore_ascii_case("yes") => Ok(()),
        _ => Err(CliError::failed("nothing was changed")),
    }
}
