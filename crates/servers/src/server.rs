//! A running server.

use std::{
    fmt,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::sleep;

use crate::{
    Binary, Config, Error,
    config::{Listens, Part},
    guardian::Guardian,
    ports, ready,
};

/// The user with only the right to `PING`.
const WATCHER: &str = "watcher";

/// Pause between two checks of a fast condition.
const MOMENT: Duration = Duration::from_millis(2);

/// Time limit for a process to end or to pause after a signal.
const SIGNAL_WITHIN: Duration = Duration::from_secs(10);

/// A server on 127.0.0.1 with its own folder. Dropping the value kills the process and removes the folder, which takes
/// some milliseconds.
#[derive(Debug)]
pub struct Server {
    binary: Binary,
    config: Config,
    part: Part,
    listens: Listens,
    folder: PathBuf,
    watchers_password: String,
    process: Option<Child>,
    guardian: Guardian,
}

impl Server {
    /// Starts `binary` on a free port, and waits until it answers.
    ///
    /// # Errors
    /// Returns an [`Error`] when the program cannot be run, refuses its configuration, or does not answer in time. The
    /// error contains the log of the server.
    pub async fn start(binary: &Binary, config: &Config) -> Result<Self, Error> {
        Self::start_as(Part::Alone, binary, config).await
    }

    /// Starts `binary` in the given role.
    pub(crate) async fn start_as(part: Part, binary: &Binary, config: &Config) -> Result<Self, Error> {
        let folder = new_folder()?;
        let guardian = Guardian::of(&folder)?;
        let mut server = Self {
            binary: binary.clone(),
            config: config.clone(),
            part,
            listens: Listens { plain: 0, tls: None, bus: None },
            folder,
            watchers_password: std::iter::repeat_with(fastrand::alphanumeric).take(20).collect(),
            process: None,
            guardian,
        };
        // Another process may have taken the port since the check.
        for _ in 0..10 {
            server.prepare()?;
            match server.run().await {
                Err(Error::NotReady { log, .. }) if log.contains("Address already in use") => {
                    server.clear()?;
                }
                other => return other.map(|()| server),
            }
        }
        Err(server.not_ready("found every port taken, ten times").await)
    }

    /// Returns the URL for clients as the user `default`: `redis://127.0.0.1:PORT`, with `rediss` for TLS and with
    /// [`Config::password`].
    #[must_use]
    pub fn url(&self) -> String {
        match &self.config.password {
            Some(password) => self.url_with("", password),
            None => format!("{}://127.0.0.1:{}", self.scheme(), self.port()),
        }
    }

    /// Returns the URL for clients as another user.
    #[must_use]
    pub fn url_with(&self, user: &str, password: &str) -> String {
        format!("{}://{}:{}@127.0.0.1:{}", self.scheme(), encoded(user), encoded(password), self.port())
    }

    /// Returns the URL for commands of the tests: the plain port, as the user `default`.
    pub(crate) fn plain_url(&self) -> String {
        format!("redis://{}127.0.0.1:{}", self.credentials(), self.listens.plain)
    }

    /// Returns the password with its separators, as a URL with several servers of this kind needs it.
    pub(crate) fn credentials(&self) -> String {
        self.config.password.as_deref().map(|password| format!(":{}@", encoded(password))).unwrap_or_default()
    }

    /// The password of the user `default`.
    pub(crate) fn password(&self) -> Option<&str> {
        self.config.password.as_deref()
    }

    /// The port for the other nodes of a cluster.
    pub(crate) fn bus_port(&self) -> Option<u16> {
        self.listens.bus
    }

    /// The port for clients. It is the TLS port if the server uses TLS.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listens.tls.unwrap_or(self.listens.plain)
    }

    /// The program of the server.
    #[must_use]
    pub fn binary(&self) -> &Binary {
        &self.binary
    }

    /// The folder with the files of the server: `appendonlydir`, `dump.rdb`.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The id of the process, or `None` after it was killed or stopped.
    #[must_use]
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Returns the whole log since the first start of the server.
    pub async fn log(&self) -> String {
        tokio::fs::read(self.log_file()).await.map_or_else(
            |error| format!("(no log: {error})"),
            |log| String::from_utf8_lossy(&log).into_owned(),
        )
    }

    /// Kills the process (SIGKILL), paused or not, and waits until it has ended. Does nothing if the process has
    /// already ended.
    ///
    /// # Errors
    /// Returns an [`Error`] when the operating system refuses.
    pub async fn kill(&mut self) -> Result<(), Error> {
        if let Some(process) = &mut self.process {
            process.kill().map_err(Error::io("kill the server"))?;
            self.gone().await?;
        }
        Ok(())
    }

    /// Stops the process (SIGTERM), so that it writes its pending data. Waits until the process has ended.
    ///
    /// # Errors
    /// Returns an [`Error`] when the process does not end within 10 seconds, or ends with a failure. A paused process
    /// never ends.
    pub async fn stop(&mut self) -> Result<(), Error> {
        if self.process.is_none() {
            return Ok(());
        }
        self.signal(Signal::TERM)?;
        match self.gone().await? {
            status if status.success() => Ok(()),
            status => Err(self.not_ready(&format!("was told to stop and ended with {status}")).await),
        }
    }

    /// Starts the program again on the same port and folder, and waits until it answers. A running process is killed
    /// first.
    ///
    /// # Errors
    /// Returns an [`Error`] in the same cases as [`Server::start`].
    pub async fn restart(&mut self) -> Result<(), Error> {
        self.kill().await?;
        self.run().await
    }

    /// Pauses the process (SIGSTOP), and waits until it is paused. Connections stay open, the operating system accepts
    /// new connections, and no request is answered.
    ///
    /// # Errors
    /// Returns an [`Error`] when the server does not run, or when the operating system refuses.
    pub async fn pause(&self) -> Result<(), Error> {
        let process = self.signal(Signal::STOP)?;
        let since = Instant::now();
        while !is_stopped(process).await {
            if since.elapsed() > SIGNAL_WITHIN {
                return Err(self.not_ready("was told to pause and did not").await);
            }
            sleep(MOMENT).await;
        }
        Ok(())
    }

    /// Resumes a paused process (SIGCONT).
    ///
    /// # Errors
    /// Returns an [`Error`] when the server does not run, or when the operating system refuses.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT).map(drop)
    }

    /// Chooses ports, and writes the configuration. A restart does not write the configuration again, because sentinels
    /// and promoted replicas store their state in it.
    fn prepare(&mut self) -> Result<(), Error> {
        let tls = self.config.tls.as_ref().map(|_| ports::free()).transpose()?;
        let bus = (self.part == Part::Node).then(ports::free).transpose()?;
        self.listens = Listens { plain: ports::free()?, tls, bus };
        self.write_files()
    }

    /// Starts the process and waits until it answers. Kills the process if it does not answer in time.
    async fn run(&mut self) -> Result<(), Error> {
        let log = File::options().create(true).append(true).open(self.log_file());
        let log = log.map_err(Error::io("open the server's log"))?;
        let errors = log.try_clone().map_err(Error::io("open the server's log"))?;
        let process = Command::new(&self.binary.path)
            .arg(self.folder.join("redis.conf"))
            .args((self.part == Part::Sentinel).then_some("--sentinel"))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .spawn()
            .map_err(|source| Error::CannotRun { path: self.binary.path.clone(), source })?;
        self.guardian.watch(process.id())?;
        self.process = Some(process);
        let up = self.until_ready().await;
        if up.is_err() {
            self.kill().await?;
        }
        up
    }

    async fn until_ready(&mut self) -> Result<(), Error> {
        let since = Instant::now();
        loop {
            // The process is checked first: while it lives, no other process can answer on its port.
            if let Some(status) = self.ended()? {
                return Err(self.not_ready(&format!("ended with {status} instead of starting")).await);
            }
            match ready::ask(self.listens.plain, WATCHER, &self.watchers_password).await {
                Ok(()) => return Ok(()),
                Err(instead) if since.elapsed() > self.config.start_within => {
                    let what = format!("is not up after {:?}: it {instead}", self.config.start_within);
                    return Err(self.not_ready(&what).await);
                }
                Err(_) => sleep(MOMENT).await,
            }
        }
    }

    fn write_files(&self) -> Result<(), Error> {
        let acl_file = self.folder.join("users.acl");
        let config = self.config.text(self.part, &self.folder, &acl_file, self.listens);
        fs::write(self.folder.join("redis.conf"), config)
            .map_err(Error::io("write the server's configuration"))?;
        fs::write(acl_file, self.config.acl(WATCHER, &self.watchers_password))
            .map_err(Error::io("write the server's users"))
    }

    /// Clears the log after a failed start.
    fn clear(&self) -> Result<(), Error> {
        fs::write(self.log_file(), "").map_err(Error::io("empty the server's log"))
    }

    fn signal(&self, signal: Signal) -> Result<u32, Error> {
        let process = self.process_id().ok_or(Error::NotRunning(self.port()))?;
        // The process has not been waited for, so its id cannot belong to another process.
        let id = i32::try_from(process).ok().and_then(Pid::from_raw).ok_or(Error::NotRunning(self.port()))?;
        kill_process(id, signal).map_err(|error| Error::io("send a signal to the server")(error.into()))?;
        Ok(process)
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        let status = match &mut self.process {
            Some(process) => process.try_wait().map_err(Error::io("look after the server"))?,
            None => None,
        };
        if status.is_some() {
            self.process = None;
        }
        Ok(status)
    }

    async fn gone(&mut self) -> Result<ExitStatus, Error> {
        let since = Instant::now();
        while since.elapsed() < SIGNAL_WITHIN {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            sleep(MOMENT).await;
        }
        Err(self.not_ready("was told to end and did not").await)
    }

    /// Returns the error for an unexpected behavior of the server, with its log.
    pub(crate) async fn not_ready(&self, what: &str) -> Error {
        Error::NotReady { server: self.to_string(), what: what.to_owned(), log: self.log().await }
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub(crate) fn scheme(&self) -> &'static str {
        if self.listens.tls.is_some() { "rediss" } else { "redis" }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on port {}", self.binary, self.port())
    }
}

impl Drop for Server {
    /// The blocking wait is short, because a killed process ends within a millisecond or two. The guardian is dropped
    /// next, and removes the folder.
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Creates a new empty folder, and returns its canonical path. The guardian removes the folder.
fn new_folder() -> Result<PathBuf, Error> {
    let new = tempfile::Builder::new().prefix("event-replay-server-").disable_cleanup(true).tempdir();
    new.and_then(|folder| folder.path().canonicalize()).map_err(Error::io("make a folder for the server"))
}

/// Whether the process is paused. The state is the letter after the process name in parentheses in `/proc`.
async fn is_stopped(process: u32) -> bool {
    let stat = tokio::fs::read_to_string(format!("/proc/{process}/stat")).await.unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
}

/// Percent-encodes a user or a password for a URL.
fn encoded(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(byte).collect()
}
