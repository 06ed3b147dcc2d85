//! Temporary files for copies of a store. Each file is made beside its destination and is private from the start. A
//! file that is not moved to its destination is removed.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use domain::StorageFailure;

/// Endings of the files that SQLite keeps for a store, including the store file itself.
pub(crate) const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// A file `NAME.PID.part`. Its process holds a lock on the file, so that files of killed processes are recognized and
/// removed.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Creates a file for a copy with the destination `place`. The file gets the permissions of `like`. Files that
    /// killed processes left beside the destination are removed.
    pub(crate) fn make(place: &Path, like: &Path) -> Result<Self, StorageFailure> {
        remove_abandoned(place);
        let path = with_ending(place, &format!(".{}.part", std::process::id()));
        remove_all(&path);
        let lock = private_file(&path, like)?;
        // On a file system without locks, leftover files stay.
        let _ = lock.try_lock();
        Ok(Self { path, _lock: lock })
    }

    /// Syncs the finished copy to disk and renames it to its destination.
    pub(crate) fn put_in_place(self, to: &Path) -> Result<(), StorageFailure> {
        let sync = || {
            File::open(&self.path)?.sync_all()?;
            fs::rename(&self.path, to)?;
            File::open(folder_of(to))?.sync_all()
        };
        sync().map_err(|error| io(&error))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        remove_all(&self.path);
    }
}

/// Creates an empty file with the permissions of another. The file never has more permissions than that.
pub(crate) fn private_file(path: &Path, like: &Path) -> Result<File, StorageFailure> {
    let make = || {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        file.set_permissions(writable(&fs::metadata(like)?.permissions()))?;
        Ok(file)
    };
    make().map_err(|error| io(&error))
}

/// Adds the owner's right to write, because a copy of a read-only file must be writable.
#[cfg(unix)]
fn writable(permissions: &fs::Permissions) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;

    fs::Permissions::from_mode(permissions.mode() & 0o777 | 0o600)
}

#[cfg(not(unix))]
fn writable(permissions: &fs::Permissions) -> fs::Permissions {
    permissions.clone()
}

/// Removes temporary files of the same destination that no running process has locked.
fn remove_abandoned(place: &Path) {
    let Some(name) = place.file_name().map(|name| name.to_string_lossy().into_owned()) else { return };
    let Ok(files) = fs::read_dir(folder_of(place)) else { return };
    for path in files.flatten().map(|file| file.path()) {
        let process = path
            .file_name()
            .and_then(|file| file.to_str()?.strip_prefix(&name)?.strip_prefix('.')?.strip_suffix(".part"));
        let is_ours = process.is_some_and(|process| process.parse::<u32>().is_ok());
        if is_ours && File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
            remove_all(&path);
        }
    }
}

fn remove_all(path: &Path) {
    for ending in COMPANIONS {
        let _ = fs::remove_file(with_ending(path, ending));
    }
}

/// Returns the folder of a path. A bare name is in the working folder.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

pub(crate) fn io(error: &std::io::Error) -> StorageFailure {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StorageFailure::Full("no space is left on the disk".into()),
        std::io::ErrorKind::PermissionDenied => StorageFailure::Denied(error.to_string()),
        _ => StorageFailure::Other(error.to_string()),
    }
}
