//! How much room the store's file has to grow.

use std::{fmt, path::Path};

use crate::text::plural::size;

/// Below this, in bytes, a busy store is full before anybody looks.
const LEAST: u64 = 1 << 30;

/// The room a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes that this user may still write to the file system.
    pub(super) free: u64,
    /// Bytes of the file.
    pub(super) file: u64,
}

impl Room {
    /// Bytes that should be free: a gibibyte, and for a large store a tenth of what it has already.
    pub(super) fn wanted(self) -> u64 {
        LEAST.max(self.file / 10)
    }

    /// Whether there is less.
    pub(super) fn is_short(self) -> bool {
        self.free < self.wanted()
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} free on the disk of the store, whose file has {}", size(self.free), size(self.file))
    }
}

/// The room of a file that exists; none where the system does not say.
#[cfg(unix)]
pub(super) fn room_for(path: &Path) -> Option<Room> {
    let system = rustix::fs::statvfs(path).ok()?;
    let file = std::fs::metadata(path).ok()?.len();
    Some(Room { free: system.f_bavail.saturating_mul(system.f_frsize), file })
}

/// Not asked on this platform.
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
