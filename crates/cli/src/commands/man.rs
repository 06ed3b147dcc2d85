//! `man`: writes manual pages.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use clap::{Args, Command};
use clap_mangen::Man;

use crate::{context::Context, errors::CliError, exit::Exit};

/// Write man pages into a folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  event-replay man ~/.local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The folder; it is made if absent.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

pub(crate) fn run(args: &ManArgs, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let name = args.folder.display().to_string();
    let mut command = (cx.command_line)();
    command.build();
    fs::create_dir_all(&args.folder)
        .and_then(|()| write_pages(&command, &args.folder))
        .map_err(|error| CliError::failed(format!("{name}: the man pages cannot be written: {error}")))?;
    cx.printer.say(&format!("wrote man pages to {name}; `man -l {name}/event-replay.1` shows the first"));
    Ok(Exit::Ok)
}

/// Writes a page for a command and for each visible subcommand, recursively.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write_pages(below, folder)?;
    }
    let man = Man::new(command.clone());
    fs::write(folder.join(man.get_filename()), page(command, &man)?)
}

fn page(command: &Command, man: &Man) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(text) = command.get_after_help() {
        page.extend_from_slice(examples(&text.to_string()).as_bytes());
    }
    Ok(page)
}

/// Formats the text after the flags line by line. A page that fills its lines would join the examples.
fn examples(text: &str) -> String {
    let mut section = String::from(".SH NOTES\n.nf\n");
    for line in text.lines() {
        let line = line.replace('\\', "\\e").replace('-', "\\-");
        // A control character at the start of a line would turn the line into a roff request.
        let guard = if line.starts_with(['.', '\'']) { "\\&" } else { "" };
        section.push_str(&format!("{guard}{line}\n"));
    }
    section.push_str(".fi\n");
    section
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_stay_as_they_are_typed() {
        assert_eq!(
            examples("Examples:\n  event-replay list --limit 1 \\\n'x'\n.y"),
            ".SH NOTES\n.nf\nExamples:\n  event\\-replay list \\-\\-limit 1 \\e\n\\&'x'\n\\&.y\n.fi\n"
        );
    }
}
