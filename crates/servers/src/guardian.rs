//! Sees to it that a server ends with the process that started it.
//!
//! A destructor is not enough: a killed test runs none, and a static is never dropped. So a small shell watches a pipe
//! whose other end this process holds. When the pipe closes, for whatever reason, the shell kills the server and removes
//! its folder.

use std::{
    io::Write as _,
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
};

use crate::Error;

/// Each line names the server's process, the last one counts. A process id may belong to another process by the
/// time the pipe closes: only one that works in the server's folder is the server.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
pid=
while read -r line; do pid=$line; done
if [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1" ]; then kill -9 "$pid"; fi
tries=0
while ! rm -rf "$1" && [ $tries -lt 100 ]; do tries=$((tries + 1)); sleep 0.02; done
"#;

/// The watching shell. Dropping it closes the pipe and waits until the shell has tidied up, some milliseconds.
#[derive(Debug)]
pub(crate) struct Guardian {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Guardian {
    /// Watches over `folder`, which must be named as the operating system names it, without symbolic links.
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

    /// Says which process is the server now.
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
