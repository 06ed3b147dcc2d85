//! Where results go: stdout, or a pager where they are longer than the terminal.

use std::{
    ffi::OsString,
    io::{self, BufWriter, Stdout, Write},
    process::{Child, Command, Stdio},
};

/// Where results go.
pub(crate) enum Destination {
    /// Straight to stdout.
    Stdout(BufWriter<Stdout>),
    /// Kept back until it is known whether they fit on the terminal.
    Held { bytes: Vec<u8>, lines: usize, height: usize },
    /// To a pager.
    Pager(Child),
}

impl Destination {
    pub(crate) fn stdout() -> Self {
        Self::Stdout(BufWriter::with_capacity(64 * 1024, io::stdout()))
    }

    /// Keeps what comes back until it is longer than the terminal. No effect where the height is not known.
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

    /// Writes out what is buffered. What is kept back stays so.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Stdout(out) => out.flush(),
            Self::Held { .. } | Self::Pager(_) => Ok(()),
        }
    }

    /// Writes out everything, because something is to be said after it.
    pub(crate) fn release(&mut self) -> io::Result<()> {
        if let Self::Held { bytes, .. } = self {
            let bytes = std::mem::take(bytes);
            *self = Self::stdout();
            self.write_all(&bytes)?;
        }
        self.flush()
    }

    /// Whether a pager has the terminal.
    pub(crate) fn is_paging(&self) -> bool {
        matches!(self, Self::Pager(_))
    }

    /// Ends it, and waits until the pager is closed.
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

/// Starts the pager that the environment names. None where it names none, or it cannot be started.
fn spawn_pager() -> Option<Child> {
    let text = ["EVENT_REPLAY_PAGER", "PAGER"].into_iter().find_map(std::env::var_os);
    let text = text.unwrap_or_else(|| OsString::from("less"));
    let words = shlex::split(text.to_str()?)?;
    let (program, arguments) = words.split_first().filter(|(program, _)| *program != "cat")?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Colours pass through, long lines are not folded, the text stays on the screen.
        command.env("LESS", "FRSX");
    }
    command.spawn().ok()
}
