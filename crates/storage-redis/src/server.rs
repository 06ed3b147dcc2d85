//! Requests about a server as a whole: functions, rights and settings, namespaces, copies, files, memory.

pub(crate) mod append_only_file;
pub(crate) mod checks;
pub(crate) mod copies;
pub(crate) mod functions;
pub(crate) mod namespace;
pub(crate) mod occupied;
pub(crate) mod rights;
