//! Asks for confirmation before a command loses data or changes much.

use std::io::{self, BufRead, IsTerminal, Write};

use event_replay::{Settings, app::Confirmation};

use crate::{errors::CliError, output::escape};

/// The hint of commands that remove, and have a dry run.
pub(crate) const LOOK_FIRST: &str = "add --yes to continue, or --dry-run to see what would be removed";
/// The hint of commands that change, and have a dry run.
pub(crate) const COUNT_FIRST: &str = "add --yes to continue, or --dry-run to count them";

/// Continues if `--yes` was given or the user confirms. If stdin is no terminal, the error has `hint` as its advice.
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
    let undone = match deed.undoing() {
        Some(command) => format!("; `event-replay {command}` undoes it"),
        None => ", which cannot be undone".to_owned(),
    };
    if !io::stdin().is_terminal() {
        return Err(CliError::usage(format!(
            "this would {deed}{context}{undone}; stdin is not a terminal, so nothing was changed"
        ))
        .hint(hint));
    }
    ask(&format!("This would {deed}{context}{undone}."))
}

/// Continues if the user types `yes`.
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
