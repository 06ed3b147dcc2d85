//! The file that a server appends its writes to, and losing the end of it: what a cut of power does.

use std::{fs::File, path::PathBuf};

use servers::Server;

/// The newest append-only file of a server.
fn file(server: &Server) -> PathBuf {
    let folder = server.folder().join("appendonlydir");
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> =
        names.filter(|path| path.to_str().is_some_and(|path| path.ends_with(".incr.aof"))).collect();
    files.sort();
    files.pop().expect("the server has an append-only file")
}

/// How long it is.
pub(crate) fn length(server: &Server) -> u64 {
    std::fs::metadata(file(server)).unwrap().len()
}

/// Cuts it to so many bytes. The server must not run.
pub(crate) fn cut(server: &Server, bytes: u64) {
    assert_eq!(server.process_id(), None, "the server would write on");
    File::options().write(true).open(file(server)).unwrap().set_len(bytes).unwrap();
}
