//! A password from a setting or from a file.

use std::{fs, io, path::PathBuf};

/// Returns the password, if one is set. A password from a setting takes precedence over the file.
pub(super) fn read(
    said: Option<String>,
    file: Option<PathBuf>,
) -> Result<Option<String>, (PathBuf, io::Error)> {
    let (None, Some(file)) = (&said, file) else { return Ok(said) };
    match fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err((file, error)),
    }
}
