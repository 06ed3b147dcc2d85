//! Ends a server together with the process that started it.
//!
//! A destructor is not sufficient, because a killed test runs no destructor, and a static is never dropped. A small
//! shell therefore reads from a pipe. This process holds the other end of the pipe. When the pipe closes for any
//! reason, the shell kills the server and removes its folder.

use std::{
    io::Write as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::Error;

/// Each line of the pipe contains the process id of the server, and the last line counts. The id may belong to another
/// process when the pipe closes. The shell therefore kills only a process with the folder of the server as its working
/// directory.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1" ]; then kill -9 "$pid"; fi
tries=0
while ! rm -rf "$1" && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.02; done
"#;

/// The guardian shell. Dropping the value closes the pipe and waits until the shell has cleaned up, which takes some
/// milliseconds.
#[derive(Debug)]
pub(crate) struct Guardian {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    /// Starts a guardian for `folder`, which must be a canonical path without symbolic links.
    pub(crate) fn of(folder: &Path) -> Result<Self, Error> {
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "guardian"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::io("start the shell that watches a server"))?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Sets the process of the server.
    pub(crate) fn watch(&mut self, process: u32) -> Result<(), Error> {
        self.pipe
            .as_mut()
            .map_or(Ok(()), |pipe| writeln!(pipe, "{process}"))
            .map_err(Error::io("tell the shell that watches a server"))
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.shell.wait();
    }
}
