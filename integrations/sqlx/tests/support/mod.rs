//! PostgreSQL servers for tests, and the program under test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    dead_code,
    reason = "a panic is a test's way to fail"
)]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// Returns the folder of the newest installed PostgreSQL.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.sort();
    folders.pop()
}

/// A server with an empty database and its own folder. Dropping the value stops the server.
pub(crate) struct Postgres {
    programs: PathBuf,
    folder: TempDir,
    port: u16,
    is_root: bool,
}

impl Postgres {
    /// Starts a server. Returns `None` if PostgreSQL is not installed. `tests/servers/install` installs it.
    pub(crate) fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            println!("NOT RUN: PostgreSQL is not installed; tests/servers/install installs it");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL refuses to run as root, so that root runs it as the user of its package.
        let is_root = Path::new("/root").read_dir().is_ok();
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let server = Self { programs, folder, port, is_root };
        fs::set_permissions(server.folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        server.run("initdb", &["--username=service", "--auth=trust", "--encoding=UTF8", "--no-sync"]);
        server.control("start", "fast");
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://service@127.0.0.1:{}/postgres", self.port)
    }

    /// Restarts the server without a clean shutdown, as after a crash.
    pub(crate) fn crash(&self) {
        self.control("restart", "immediate");
    }

    fn control(&self, what: &str, mode: &str) {
        let options =
            format!("-p {} -k {} -c listen_addresses=127.0.0.1", self.port, self.folder.path().display());
        let log = self.folder.path().join("log");
        self.run(
            "pg_ctl",
            &[what, "--wait", "--mode", mode, "--log", log.to_str().unwrap(), "--options", &options],
        );
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = match self.is_root {
            true => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(&program);
                command
            }
            false => Command::new(&program),
        };
        command.args(arguments).arg("--pgdata").arg(self.folder.path().join("data"));
        // The output is not a pipe, because the server would keep it open.
        let status =
            command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null()).status();
        assert!(status.unwrap().success(), "{program:?} {arguments:?}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.control("stop", "immediate");
    }
}

/// A process of the example `ledger`. Dropping the value kills the process.
pub(crate) struct Ledger(Child);

impl Ledger {
    pub(crate) fn start(store: &str, database: &str) -> Self {
        // `cargo test` builds examples beside tests.
        let program = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/ledger");
        Self(Command::new(program).args([store, database]).stdin(Stdio::null()).spawn().unwrap())
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
