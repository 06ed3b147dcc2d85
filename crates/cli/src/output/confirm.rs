//! Asking before something is lost.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::{errors::CliError, output::escape};

/// Goes on if `--yes` was given or a person says yes.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<(), CliError> {
    if yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(format!(
            "{question}: this cannot be undone, and nobody is there to ask"
        ))
        .hint("add --yes to go ahead, or --dry-run to see what would go"));
    }
    let mut answer = String::new();
    let asked =
        write!(io::stderr(), "{} This cannot be undone. Type yes to go ahead: ", escape::lines(question))
            .and_then(|()| io::stderr().flush())
            .and_then(|()| io::stdin().lock().read_line(&mut answer));
    match asked {
        Ok(_) if answer.trim().eq_ignore_ascii_case("yes") => Ok(()),
        _ => Err(CliError::failed("nothing was changed")),
    }
}
