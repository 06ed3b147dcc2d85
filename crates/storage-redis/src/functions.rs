//! The library of Functions that the adapter loads into a server: what must happen in one step there.
//!
//! The names carry a digest of the library's text, so that programs of several versions use one server side by side.

use std::sync::LazyLock;

use sha2::{Digest, Sha256};

/// The library's text.
pub(crate) struct Library {
    /// What `FUNCTION LOAD` takes.
    pub(crate) source: String,
    version: String,
}

static LIBRARY: LazyLock<Library> = LazyLock::new(|| {
    let parts = [
        include_str!("lua/common.lua"),
        include_str!("lua/write.lua"),
        include_str!("lua/append.lua"),
        include_str!("lua/find.lua"),
        include_str!("lua/trim.lua"),
        include_str!("lua/groups.lua"),
        include_str!("lua/replayed.lua"),
        include_str!("lua/rights.lua"),
        include_str!("lua/schedule.lua"),
        include_str!("lua/stats.lua"),
    ];
    let source = parts.concat();
    let digest = Sha256::digest(source.as_bytes());
    let version: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    Library { source: source.replace("VERSION", &version), version }
});

/// The library.
pub(crate) fn library() -> &'static Library {
    &LIBRARY
}

/// The name of a function as the server knows it.
pub(crate) fn name(function: &str) -> String {
    format!("er_{function}_{}", LIBRARY.version)
}
