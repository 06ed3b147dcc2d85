//! The file of refused lines, and the file of their reasons.
//!
//! Refused lines are appended as they were read, so that they can be corrected and imported. Each write ends with a whole
//! line, so the files of an interrupted command have whole lines. A power failure may cut the last line. `import` then
//! refuses it, and the input of the command still has it.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use bus::{LineError, RefusedLine};
use event_replay::app::intake::LineErrorDocument;
use serde::Serialize;

use super::{escape, plural};
use crate::{context::Context, errors::CliError};

/// The suffix of the file of reasons.
const REASONS: &str = ".reasons";

/// The two files, which this command has made. Without a refused line they are removed.
pub(crate) struct Rejects {
    lines: Kept,
    reasons: Kept,
    /// Lines in the file of lines.
    written: u64,
    /// Refused lines that were too long to be read. They are in the file of reasons alone.
    too_long: u64,
}

/// A file and its path.
struct Kept {
    path: PathBuf,
    file: File,
}

/// The reason for which a line was refused.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reason<'a> {
    /// The number of the line in the file of refused lines, from 1.
    rejects_line: Option<u64>,
    #[serde(flatten)]
    error: LineErrorDocument<'a>,
}

impl Rejects {
    /// Makes both files. Fails if one of them exists, so that no refused line of another run is lost or mixed.
    pub(crate) fn begin(path: &Path) -> Result<Self, CliError> {
        let mut reasons = OsString::from(path);
        reasons.push(REASONS);
        let lines = Kept::make(path.to_owned())?;
        match Kept::make(PathBuf::from(reasons)) {
            Ok(reasons) => Ok(Self { lines, reasons, written: 0, too_long: 0 }),
            Err(error) => {
                lines.remove();
                Err(error)
            }
        }
    }

    /// Appends refused lines and their reasons. `place` adds the input file to a reason.
    pub(crate) fn write<'a>(
        &mut self,
        refused: &[RefusedLine],
        place: impl Fn(&LineError) -> LineErrorDocument<'a>,
    ) -> Result<(), CliError> {
        let (mut lines, mut reasons) = (Vec::new(), Vec::new());
        for RefusedLine { error, bytes } in refused {
            match bytes {
                Some(bytes) => {
                    self.written += 1;
                    lines.extend_from_slice(bytes);
                    lines.push(b'\n');
                }
                None => self.too_long += 1,
            }
            let rejects_line = bytes.is_some().then_some(self.written);
            let reason = Reason { rejects_line, error: place(error) };
            let written = serde_json::to_writer(&mut reasons, &reason);
            written.map_err(|error| self.reasons.unwritable(&error.into()))?;
            reasons.push(b'\n');
        }
        // The lines come first: a line without a reason can be imported, and is refused with its reason again.
        self.lines.append(&lines)?;
        self.reasons.append(&reasons)
    }

    /// Flushes both files to disk.
    pub(crate) fn sync(&self) -> Result<(), CliError> {
        self.lines.sync()?;
        self.reasons.sync()
    }

    /// Flushes both files, and says where the refused lines are.
    pub(crate) fn close(self, cx: &Context<'_>) -> Result<(), CliError> {
        self.sync()?;
        let name = self.lines.name();
        if self.written > 0 {
            cx.printer.say(&format!(
                "{} to {name}, the reasons to {name}{REASONS}; correct the lines and run `event-replay import {name}`",
                plural::of(self.written, "refused line was written", "refused lines were written")
            ));
        }
        if self.too_long > 0 {
            let lines = plural::of(self.too_long, "line was", "lines were");
            cx.printer.warn(&format!("{lines} too long to be read; {name}{REASONS} alone names them"));
        }
        Ok(())
    }
}

impl Drop for Rejects {
    fn drop(&mut self) {
        if self.written + self.too_long == 0 {
            self.lines.remove();
            self.reasons.remove();
        }
    }
}

impl Kept {
    fn make(path: PathBuf) -> Result<Self, CliError> {
        match OpenOptions::new().append(true).create_new(true).open(&path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let said = format!("{} exists already; nothing was stored", name(&path));
                Err(CliError::failed(said).hint("import its lines first and remove it, or name a new file"))
            }
            Err(error) => Err(unwritable(&path, &error)),
        }
    }

    fn name(&self) -> String {
        name(&self.path)
    }

    fn append(&self, bytes: &[u8]) -> Result<(), CliError> {
        (&self.file).write_all(bytes).map_err(|error| self.unwritable(&error))
    }

    fn sync(&self) -> Result<(), CliError> {
        self.file.sync_data().map_err(|error| self.unwritable(&error))
    }

    fn unwritable(&self, error: &io::Error) -> CliError {
        unwritable(&self.path, error)
            .hint("events that were stored before stay stored; run the same input again")
    }

    /// Removes the empty file. A file that cannot be removed stays empty, which changes nothing.
    fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn name(path: &Path) -> String {
    escape::line(&path.display().to_string()).into_owned()
}

fn unwritable(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("{} cannot be written: {error}", name(path)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    fn refused(line: u64, bytes: Option<&[u8]>) -> RefusedLine {
        let error = LineError { line, event_id: None, event_type: None, violations: Vec::new() };
        RefusedLine { error, bytes: bytes.map(<[u8]>::to_vec) }
    }

    fn place(error: &LineError) -> LineErrorDocument<'static> {
        LineErrorDocument { file: None, error: error.clone() }
    }

    #[test]
    fn lines_are_kept_byte_for_byte_and_reasons_name_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("refused");
        let mut rejects = Rejects::begin(&path).unwrap();
        rejects.write(&[refused(3, Some(b" {\"a\":1.0}\r")), refused(4, None)], place).unwrap();
        rejects.write(&[refused(9, Some(b"\xff"))], place).unwrap();
        drop(rejects);
        assert_eq!(std::fs::read(&path).unwrap(), b" {\"a\":1.0}\r\n\xff\n");
        let reasons = std::fs::read_to_string(folder.path().join("refused.reasons")).unwrap();
        let numbers: Vec<String> =
            reasons.lines().map(|line| line.split(",\"eventId\"").next().unwrap().to_owned()).collect();
        assert_eq!(
            numbers,
            [
                r#"{"rejectsLine":1,"line":3"#,
                r#"{"rejectsLine":null,"line":4"#,
                r#"{"rejectsLine":2,"line":9"#
            ]
        );
        assert!(Rejects::begin(&path).is_err());
    }

    #[test]
    fn without_a_refused_line_no_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let path = folder.path().join("refused");
        let rejects = Rejects::begin(&path).unwrap();
        assert_eq!(files(), 2);
        drop(rejects);
        assert_eq!(files(), 0);
        std::fs::write(folder.path().join("refused.reasons"), "").unwrap();
        assert!(Rejects::begin(&path).is_err());
        assert_eq!(files(), 1, "the file of lines is removed");
    }
}
