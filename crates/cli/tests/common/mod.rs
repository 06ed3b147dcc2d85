//! Runs the binary as a user would, in a separate folder and home, and keeps its output.

// Several test programs share this module, and none uses all of it. A test fails by a panic.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

pub mod consumer;
pub mod prepared;
pub mod redis;
pub mod terminal;

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A folder that contains a store.
pub struct Bench {
    folder: TempDir,
    env: Vec<(String, String)>,
}

/// The exit code and the output of a run.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Bench {
    /// Creates an empty folder. The environment names a store that does not exist yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let env = vec![("EVENT_REPLAY_STORE".to_owned(), "sqlite:events.db".to_owned())];
        Self { folder, env }
    }

    /// Creates a folder with a store that contains these lines.
    pub fn with(lines: &str) -> Self {
        let bench = Self::new();
        bench.pipe(&["publish"], lines).ok();
        bench
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.env.retain(|(known, _)| known != name);
        self
    }

    /// The environment variables of the runs.
    pub fn variables(&self) -> &[(String, String)] {
        &self.env
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    pub fn run(&self, args: &[&str]) -> Said {
        self.pipe(args, "")
    }

    pub fn pipe(&self, args: &[&str], stdin: impl AsRef<[u8]>) -> Said {
        let mut child = self.command(args).spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let stdin = stdin.as_ref().to_owned();
        // A command that reads no input closes the pipe. The failed write is no error.
        let writer = std::thread::spawn(move || pipe.write_all(&stdin).ok());
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_event-replay"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_clear()
            .env("HOME", self.folder.path())
            .env("TZ", "UTC")
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command with JSON output, and returns its one document.
    pub fn json(&self, args: &[&str]) -> Value {
        let mut args = args.to_vec();
        args.extend(["--output", "json"]);
        self.run(&args).json()
    }
}

impl Said {
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(self.stderr.contains(text), "stderr lacks {text:?}: {self:#?}");
        self
    }

    #[track_caller]
    pub fn prints(self, text: &str) -> Self {
        assert!(self.stdout.contains(text), "stdout lacks {text:?}: {self:#?}");
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Returns a valid registration of a user.
pub fn registered(id: &str, user: &str, timestamp: &str) -> String {
    format!(
        r#"{{"id":"{id}","type":"user.registered","version":"1.0","timestamp":"{timestamp}","source":"user-service","correlationId":"c-{user}","userId":"{user}","metadata":{{}},"data":{{"email":"{user}@example.com","registrationMethod":"email"}}}}"#
    )
}

/// Returns a valid payment.
pub fn paid(id: &str, user: &str, amount: &str) -> String {
    format!(
        r#"{{"id":"{id}","type":"payment.processed","version":"1.0","timestamp":"2024-01-20T08:00:00Z","source":"payment-service","userId":"{user}","paymentId":"pay-{id}","metadata":{{}},"data":{{"amount":{amount},"currency":"EUR","status":"completed","paymentMethod":"card","processedAt":"2024-01-20T08:00:00Z"}}}}"#
    )
}

/// Returns three registrations and two payments.
pub fn some() -> String {
    [
        registered("e1", "user-123", "2024-01-15T10:30:00Z"),
        registered("e2", "user-456", "2024-01-16T10:30:00Z"),
        paid("e3", "user-123", "49.50"),
        paid("e4", "user-456", "250"),
        registered("event-456789", "user-789", "2024-02-01T00:00:00Z"),
    ]
    .join("\n")
}

/// Returns the ids of stored events in JSON.
pub fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|stored| stored["event"]["id"].as_str().unwrap()).collect()
}
