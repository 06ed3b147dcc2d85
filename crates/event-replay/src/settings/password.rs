//! A password that is said, or that stands in a file.

use std::{fs, io, path::PathBuf};

/// The password that is set, if one is: the one that is said before the one in a file.
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
