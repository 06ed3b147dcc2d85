//! Who says what holds, beside files and environment variables.

/// What `config show` says of a default.
pub(crate) const DEFAULT: &str = "default";

/// The origin of a location that a flag names.
pub const STORE_FLAG: &str = "--store";

/// What the origin of a location begins with that a context names.
pub(crate) const CONTEXT: &str = "context ";
