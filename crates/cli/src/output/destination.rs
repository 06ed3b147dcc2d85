//! The destination of results: stdout, or a pager if the results are longer than the terminal.

use std::{
    ffi::OsString,
    io::{self, BufWriter, Stdout, Write},
    process::{Child, Command, Stdio},
};

/// The destination of results.
pub(crate) enum Destination {
    /// Stdout without a pager.
    Stdout(BufWriter<Stdout>),
    /// A buffer that is held until the output is complete or longer than the terminal.
    Held { bytes: Vec<u8>, lines: usize, height: usize },
    /// A pager.
    Pager(Child),
}

impl Destination {
    pub(crate) fn stdout() -> Self {
        Self::Stdout(BufWriter::with_capacity(64 * 1024, io::stdout()))
    }

    /// Holds further output until it is longer than the terminal. Has no effect if the height of the terminal is
    /// unknown.
    pub(crate) fn hold(&mut self) {
        let height = terminal_size::terminal_size().map(|(_, height)| usize::from(height.0));
        if let (Self::Stdout(out), Some(height)) = (&mut *self, height)
            && out.flush().is_ok()
        {
            *self = Self::Held { bytes: Vec::new(), lines: 0, height };
        }
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.write_all(bytes),
            Self::Pager(pager) => to_pager(pager, bytes),
            Self::Held { bytes: held, lines, height } => {
                held.extend_from_slice(bytes);
                *lines += bytes.iter().filter(|byte| **byte == b'\n').count();
                match *lines >= *height {
                    true => self.open_pager(),
                    false => Ok(()),
                }
            }
        }
    }

    /// Writes the buffer of stdout. Held output stays held.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Held { .. } | Self::Pager(_) => Ok(()),
        }
    }

    /// Writes all output, including held output, because a message follows.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        if let Self::Held { bytes, .. } = self {
            let bytes = std::mem::take(bytes);
            *self = Self::stdout();
            self.write_all(&bytes)?;
        }
        self.flush()
    }

    /// Returns whether a pager uses the terminal.
    pub(crate) fn is_paging(&self) -> bool {
        matches!(self, Self::Pager(_))
    }

    /// Ends the output, and waits until the user closes the pager.
    pub(crate) fn close(&mut self) -> io::Result<()> {
        if let Self::Pager(pager) = self {
            drop(pager.stdin.take());
            pager.wait()?;
            *self = Self::stdout();
        }
        self.release()
    }

    fn open_pager(&mut self) -> io::Result<()> {
        let Some(mut pager) = spawn_pager() else { return self.release() };
        if let Self::Held { bytes, .. } = self {
            let bytes = std::mem::take(bytes);
            let written = to_pager(&mut pager, &bytes);
            *self = Self::Pager(pager);
            return written;
        }
        Ok(())
    }
}

fn to_pager(pager: &mut Child, bytes: &[u8]) -> io::Result<()> {
    match &mut pager.stdin {
        Some(stdin) => stdin.write_all(bytes),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Starts the pager that the environment names, by default `less`. Returns none if paging is off or the start fails.
fn spawn_pager() -> Option<Child> {
    let text = ["EVENT_REPLAY_PAGER", "PAGER"].into_iter().find_map(std::env::var_os);
    let text = text.unwrap_or_else(|| OsString::from("less"));
    let words = shlex::split(text.to_str()?)?;
    let (program, arguments) = words.split_first().filter(|(program, _)| *program != "cat")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // These options pass colours through, do not fold long lines, and leave the text on the screen.
        command.env("LESS", "FRSX");
    }
    command.spawn().ok()
}
