//! Files that become copies of a store: made beside the place they are for, private from the start, and removed unless they are put
//! in that place.

use std::{
    fs::{self, File, OpenOptions},
    path::{Path, PathBuf},
};

use domain::StorageFailure;

/// What SQLite keeps beside a store's file.
pub(crate) const COMPANIONS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// A file `NAME.PID.part`. It is locked while its process makes it, so that what a killed process left is known and removed.
pub(crate) struct Scratch {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes a file for a copy that is to stand at `place`, with the permissions of another. What killed processes left there is
    /// removed.
    pub(crate) fn make(place: &Path, like: &Path) -> Result<Self, StorageFailure> {
        remove_abandoned(place);
        let path = with_ending(place, &format!(".{}.part", std::process::id()));
        remove_all(&path);
        let lock = private_file(&path, like)?;
        // Where the file system knows no locks, what is left over stays.
        let _ = lock.try_lock();
        Ok(Self { path, _lock: lock })
    }

    /// Renames the finished copy, once it is on disk.
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

/// Makes an empty file with the permissions of another, which at no time has more.
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

/// A copy of a file that its owner may not write is still written here.
#[cfg(unix)]
fn writable(permissions: &fs::Permissions) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;

    fs::Permissions::from_mode(permissions.mode() & 0o777 | 0o600)
}

#[cfg(not(unix))]
fn writable(permissions: &fs::Permissions) -> fs::Permissions {
    permissions.clone()
}

/// Removes files of the same place that no process makes any more.
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

/// The folder of a path, which of a bare name is the working folder.
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
