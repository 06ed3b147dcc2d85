//! A consumer in a separate process, started and ended as by a user.

use std::{
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdin},
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{Bench, Said};

/// The time limit of each wait. It is far longer than any wait needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running process and its output.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Stream,
    stderr: Stream,
}

struct Stream {
    text: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(pipe: impl std::io::Read + Send + 'static) -> Self {
        let text = Arc::new(Mutex::new(String::new()));
        let into = Arc::clone(&text);
        let reader = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut line = String::new();
            while pipe.read_line(&mut line).is_ok_and(|read| read > 0) {
                into.lock().unwrap().push_str(&std::mem::take(&mut line));
            }
        });
        Self { text, reader: Some(reader) }
    }

    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    fn end(&mut self) -> String {
        self.reader.take().unwrap().join().unwrap();
        self.text()
    }
}

impl Bench {
    /// Starts a command that runs until it is stopped.
    pub fn start(&self, args: &[&str]) -> Running {
        let mut child = self.command(args).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = Stream::of(child.stdout.take().unwrap());
        let stderr = Stream::of(child.stderr.take().unwrap());
        Running { child, stdin, stdout, stderr }
    }

    /// Starts a consumer, and waits until it has joined its group.
    pub fn consume(&self, args: &[&str]) -> Running {
        let running = self.start(&[&["consume"], args].concat());
        running.says("joined group");
        running
    }
}

impl Running {
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// Writes a line to stdin.
    pub fn feed(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits until stderr contains a text.
    #[track_caller]
    pub fn says(&self, text: &str) {
        wait(&format!("{text:?} on stderr, which has"), || {
            let said = self.stderr.text();
            if said.contains(text) { Ok(()) } else { Err(said) }
        });
    }

    /// Waits until stdout has `number` lines.
    #[track_caller]
    pub fn prints_lines(&self, number: usize) {
        wait(&format!("{number} lines on stdout, which has"), || {
            let said = self.stdout.text();
            if said.lines().count() >= number { Ok(()) } else { Err(said) }
        });
    }

    /// Sends a signal, such as `INT` for Ctrl-C or `TERM` from a service manager.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-s", name, &id]).status().unwrap();
        assert!(sent.success());
    }

    /// Ends the process with Ctrl-C.
    #[track_caller]
    pub fn stop(self) -> Said {
        self.signal("INT");
        self.ends()
    }

    /// Waits until the process ends by itself.
    #[track_caller]
    pub fn ends(mut self) -> Said {
        let mut code = None;
        wait("its end; stderr has", || match self.child.try_wait().unwrap() {
            Some(status) => {
                code = Some(status.code().unwrap_or(-1));
                Ok(())
            }
            None => Err(self.stderr.text()),
        });
        Said { code: code.unwrap(), stdout: self.stdout.end(), stderr: self.stderr.end() }
    }

    /// Kills the process, as in a machine failure.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If the process has ended, the kill fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until a condition holds.
#[track_caller]
pub fn wait(what: &str, mut is_so: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(instead) = is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited for {what}:\n{instead}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
