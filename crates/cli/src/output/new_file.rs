//! A file that appears under its name only when it is complete.

use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{commands::signals::Interrupts, errors::CliError, output::escape};

/// A temporary file in the folder of its final path. The file is removed unless it is completed. A request to end the
/// process does not end it while the file exists: the command waits for `interrupted` and ends by itself.
pub(crate) struct NewFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    interrupts: Interrupts,
}

impl NewFile {
    /// Begins a file for a path. Fails if the path exists.
    pub(crate) fn begin(path: PathBuf) -> Result<Self, CliError> {
        if path.symlink_metadata().is_ok() {
            return Err(exists(&path));
        }
        // From here on a signal does not end the process, which would leave the file.
        let interrupts = Interrupts::listen()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let prefix = format!(".{}.", path.file_name().unwrap_or_default().to_string_lossy());
        let mut builder = tempfile::Builder::new();
        builder.prefix(&prefix).suffix(".part");
        // The permissions are those of any new file: the user's umask limits them.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let file = builder.tempfile_in(folder).map_err(|error| unwritable(&path, &error))?;
        Ok(Self { path, file: BufWriter::with_capacity(256 * 1024, file), interrupts })
    }

    /// The name of the file, for messages.
    pub(crate) fn name(&self) -> String {
        name(&self.path)
    }

    /// Waits for the next request to end the process. Cancel-safe.
    pub(crate) async fn interrupted(&mut self) {
        self.interrupts.next().await;
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), CliError> {
        self.file.write_all(bytes).map_err(|error| unwritable(&self.path, &error))
    }

    /// Flushes the file to disk, renames it to its final path, and returns the path. Fails if the path exists by then.
    pub(crate) fn complete(self) -> Result<String, CliError> {
        let Self { path, file, .. } = self;
        let file = file.into_inner().map_err(|error| unwritable(&path, error.error()))?;
        file.as_file().sync_all().map_err(|error| unwritable(&path, &error))?;
        match file.persist_noclobber(&path) {
            Ok(_) => Ok(name(&path)),
            Err(refused) if refused.error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(&path)),
            Err(refused) => Err(unwritable(&path, &refused.error)),
        }
    }
}

fn name(path: &Path) -> String {
    escape::line(&path.display().to_string()).into_owned()
}

fn exists(path: &Path) -> CliError {
    CliError::failed(format!("{} exists already; nothing was written", name(path))).hint("name a new file")
}

fn unwritable(path: &Path, error: &std::io::Error) -> CliError {
    CliError::failed(format!("{} cannot be written: {error}", name(path)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]

    use super::*;

    #[tokio::test]
    async fn a_file_is_there_once_it_is_complete_and_takes_no_other_s_place() {
        let folder = tempfile::tempdir().unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        let path = folder.path().join("events.ndjson");
        let mut file = NewFile::begin(path.clone()).unwrap();
        file.write(b"{}").unwrap();
        assert!(!path.exists());
        drop(file);
        assert_eq!(files(), 0);
        let (mut one, other) = (NewFile::begin(path.clone()).unwrap(), NewFile::begin(path.clone()).unwrap());
        one.write(b"{}").unwrap();
        one.complete().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"{}");
        assert!(other.complete().is_err() && NewFile::begin(path.clone()).is_err());
        assert_eq!((std::fs::read(&path).unwrap(), files()), (b"{}".to_vec(), 1));
    }
}
