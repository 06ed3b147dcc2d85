//! The free space for the file of the store.

use std::{fmt, path::Path};

use crate::text::plural::size;

/// The smallest free space, in bytes. Below it, a busy store would be full before an operator could act.
const LEAST: u64 = 1 << 30;

/// The free space of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// The bytes that this user may still write to the file system.
    pub(super) free: u64,
    /// The size of the file in bytes.
    pub(super) file: u64,
}

impl Room {
    /// Returns the bytes that should be free: 1 GiB, or a tenth of the file if this is more.
    pub(super) fn wanted(self) -> u64 {
        LEAST.max(self.file / 10)
    }

    /// Returns whether less space is free.
    pub(super) fn is_short(self) -> bool {
        self.free < self.wanted()
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} free on the disk of the store, whose file has {}", size(self.free), size(self.file))
    }
}

/// Returns the free space of an existing file. Returns `None` if the system does not report it.
#[cfg(unix)]
pub(super) fn room_for(path: &Path) -> Option<Room> {
    let system = rustix::fs::statvfs(path).ok()?;
    let file = std::fs::metadata(path).ok()?.len();
    Some(Room { free: system.f_bavail.saturating_mul(system.f_frsize), file })
}

/// Returns `None`: the check does not exist on this platform.
#[cfg(not(unix))]
pub(super) fn room_for(_path: &Path) -> Option<Room> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_gibibyte_or_a_tenth_of_the_store_should_be_free() {
        for (free, file, short) in [
            (GIB, 0, false),
            (GIB - 1, 0, true),
            (GIB, 10 * GIB, false),
            (GIB, 11 * GIB, true),
            (2 * GIB, 11 * GIB, false),
        ] {
            assert_eq!(Room { free, file }.is_short(), short, "{free} {file}");
        }
    }

    #[test]
    fn sizes_are_said_in_units() {
        let room = Room { free: 3 * GIB / 2, file: 900 };
        assert_eq!(room.to_string(), "1.5 GiB free on the disk of the store, whose file has 900 B");
    }
}
