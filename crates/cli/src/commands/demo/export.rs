//! The generated events as a file, for other tools and for tests.

use std::{
    fs::File,
    io::{BufWriter, ErrorKind, Write},
    path::Path,
};

use generator::{Generator, Settings};

use super::step::counted;
use crate::{context::Context, errors::CliError, exit::Exit, output::escape};

/// Events between two updates of the progress bar.
const STRIDE: u64 = 4096;

/// Writes all generated events, including the invalid ones.
pub(super) fn run(settings: Settings, file: &Path, cx: &mut Context<'_>) -> Result<Exit, CliError> {
    let name = escape::line(&file.display().to_string()).into_owned();
    let to_stdout = file == Path::new("-");
    let mut out = match to_stdout {
        true => None,
        false => Some(BufWriter::with_capacity(256 * 1024, create(file, &name)?)),
    };
    let bar = cx.printer.bar("generating", Some(settings.events));
    let mut generator = Generator::new(settings);
    let mut written = 0u64;
    for event in generator.by_ref() {
        match &mut out {
            Some(out) => {
                let line = out.write_all(event.json.as_bytes()).and_then(|()| out.write_all(b"\n"));
                line.map_err(|error| unwritable(&name, &error))?;
            }
            None => {
                cx.printer.raw(event.json.as_bytes())?;
                cx.printer.raw(b"\n")?;
            }
        }
        written += 1;
        // The lines on stdout may appear on the same terminal as the bar.
        if !to_stdout && written.is_multiple_of(STRIDE) {
            bar.at(written);
        }
    }
    bar.clear();
    cx.printer.flush()?;
    if let Some(mut out) = out {
        out.flush().and_then(|()| out.get_ref().sync_all()).map_err(|error| unwritable(&name, &error))?;
        let invalid = counted(generator.invalid_events());
        cx.printer.say(&format!("wrote {} events to {name}, {invalid} of them invalid", counted(written)));
    }
    Ok(Exit::Ok)
}

fn create(file: &Path, name: &str) -> Result<File, CliError> {
    File::create_new(file).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => {
            CliError::failed(format!("{name} exists already; nothing was written")).hint("name a new file")
        }
        _ => unwritable(name, &error),
    })
}

fn unwritable(name: &str, error: &std::io::Error) -> CliError {
    CliError::failed(format!("{name} cannot be written: {error}"))
}
