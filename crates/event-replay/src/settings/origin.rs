//! The origins of values, apart from files and environment variables.

/// The origin of a default, as `config show` prints it.
pub(crate) const DEFAULT: &str = "default";

/// The origin of a location from the flag.
pub const STORE_FLAG: &str = "--store";

/// The prefix of the origin of a location from a context.
pub(crate) const CONTEXT: &str = "context ";
