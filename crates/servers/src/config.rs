//! The configuration of a server.

use std::{fmt::Write as _, path::Path, path::PathBuf, time::Duration};

/// The configuration of a server. The default writes nothing to disk, and requires no password.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether the server uses an append-only file, and when it syncs the file.
    pub aof: Aof,
    /// Memory limit for data, and the eviction policy. `None` means no limit.
    pub max_memory: Option<MaxMemory>,
    /// Password of the user `default`. `None` means no password.
    pub password: Option<String>,
    /// Additional users, as lines of an ACL file without the word `user`: `reader on >secret ~* +@read`. A line for
    /// `default` replaces [`Config::password`].
    pub users: Vec<String>,
    /// TLS for client connections. `None` means plain connections.
    pub tls: Option<Tls>,
    /// Additional lines of `redis.conf`. These lines override the other fields.
    pub lines: Vec<String>,
    /// Time limit for the first response after a start, including the load of data. The default is 10 seconds.
    pub start_within: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            aof: Aof::Off,
            max_memory: None,
            password: None,
            users: Vec::new(),
            tls: None,
            lines: Vec::new(),
            start_within: Duration::from_secs(10),
        }
    }
}

/// The sync policy of the append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aof {
    /// No append-only file. A killed server restarts without data.
    Off,
    /// One sync per second, in the background.
    EverySecond,
    /// A sync before each response to a write.
    Always,
}

/// Memory limit for data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxMemory {
    /// The limit in bytes.
    pub bytes: u64,
    /// The eviction policy at the limit: `noeviction`, `allkeys-lru`, …
    pub policy: String,
}

/// The certificates of a server that serves clients only over TLS.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificate of the authority that must have signed the client certificates (PEM).
    pub ca: PathBuf,
    /// The certificate of the server (PEM).
    pub certificate: PathBuf,
    /// The private key of that certificate (PEM).
    pub key: PathBuf,
    /// The requirement for client certificates.
    pub clients: ClientCertificates,
}

/// The requirement of a TLS server for client certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Client certificates are ignored.
    Ignored,
    /// A client without a certificate is accepted. A client with an invalid certificate is refused.
    Optional,
    /// A client without a certificate is refused.
    Required,
}

/// The ports of a server. A TLS server also has a plain port, for the check whether it is up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listens {
    pub(crate) plain: u16,
    pub(crate) tls: Option<u16>,
    /// The port for the other nodes of a cluster.
    pub(crate) bus: Option<u16>,
}

/// The role of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A standalone server, a master or a replica.
    Alone,
    /// A sentinel, which holds no data.
    Sentinel,
    /// A node of a cluster.
    Node,
}

impl Config {
    /// Returns the text of `redis.conf`.
    pub(crate) fn text(&self, part: Part, folder: &Path, acl_file: &Path, listens: Listens) -> String {
        let mut lines = vec![
            "bind 127.0.0.1".to_owned(),
            format!("port {}", listens.plain),
            "daemonize no".to_owned(),
            "logfile \"\"".to_owned(),
            format!("dir {}", quoted(folder)),
            format!("aclfile {}", quoted(acl_file)),
        ];
        if part != Part::Sentinel {
            lines.push("save \"\"".to_owned());
            lines.extend(self.aof.lines().iter().map(|&line| line.to_owned()));
        }
        if let Some(bus) = listens.bus {
            lines.push("cluster-enabled yes".to_owned());
            lines.push("cluster-config-file nodes.conf".to_owned());
            lines.push(format!("cluster-port {bus}"));
        }
        if let Some(limit) = &self.max_memory {
            lines.push(format!("maxmemory {}", limit.bytes));
            lines.push(format!("maxmemory-policy {}", limit.policy));
        }
        if let (Some(tls), Some(port)) = (&self.tls, listens.tls) {
            lines.extend(tls.lines(port));
        }
        lines.extend(self.lines.iter().cloned());
        lines.join("\n") + "\n"
    }

    /// Returns the text of the ACL file: the configured users, `default`, and a user with only the right to `PING`.
    /// With that user the start check works on a server that accepts no other user.
    pub(crate) fn acl(&self, watcher: &str, watchers_password: &str) -> String {
        let mut text = format!("user {watcher} on >{watchers_password} -@all +ping\n");
        if !self.users.iter().any(|line| line.split_whitespace().next() == Some("default")) {
            let password =
                self.password.as_ref().map_or("nopass".to_owned(), |password| format!(">{password}"));
            let _ = writeln!(text, "user default on {password} ~* &* +@all");
        }
        for line in &self.users {
            let _ = writeln!(text, "user {line}");
        }
        text
    }
}

impl Aof {
    fn lines(self) -> &'static [&'static str] {
        match self {
            Self::Off => &["appendonly no"],
            Self::EverySecond => &["appendonly yes", "appendfsync everysec"],
            Self::Always => &["appendonly yes", "appendfsync always"],
        }
    }
}

impl Tls {
    fn lines(&self, port: u16) -> [String; 5] {
        let clients = match self.clients {
            ClientCertificates::Ignored => "no",
            ClientCertificates::Optional => "optional",
            ClientCertificates::Required => "yes",
        };
        [
            format!("tls-port {port}"),
            format!("tls-ca-cert-file {}", quoted(&self.ca)),
            format!("tls-cert-file {}", quoted(&self.certificate)),
            format!("tls-key-file {}", quoted(&self.key)),
            format!("tls-auth-clients {clients}"),
        ]
    }
}

/// Quotes a path for `redis.conf`, which splits lines at spaces.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}
