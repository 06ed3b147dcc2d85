//! What a server is told when it starts.

use std::{fmt::Write as _, path::Path, path::PathBuf, time::Duration};

/// What a server is told when it starts. The default keeps nothing on disk and lets everybody in.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whether each write goes to the append-only file, and when that file is synced.
    pub aof: Aof,
    /// How much memory data may take, and what happens when it is full. `None`: no limit.
    pub max_memory: Option<MaxMemory>,
    /// The password of the user `default`. `None`: it needs none.
    pub password: Option<String>,
    /// Users besides, as lines of an ACL file without the word `user`: `reader on >secret ~* +@read`. A line for
    /// `default` replaces what [`Config::password`] says.
    pub users: Vec<String>,
    /// TLS instead of plain connections.
    pub tls: Option<Tls>,
    /// Lines of `redis.conf` besides; they win over what the other fields lead to.
    pub lines: Vec<String>,
    /// How long the server may take until it answers, loading included. Default: 10 s.
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

/// When the append-only file is synced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aof {
    /// There is none: a killed server comes back empty.
    Off,
    /// Once a second, in the background.
    EverySecond,
    /// Before a write is answered.
    Always,
}

/// How much memory data may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxMemory {
    /// The limit in bytes.
    pub bytes: u64,
    /// What happens when it is reached: `noeviction`, `allkeys-lru`, …
    pub policy: String,
}

/// Certificates of a server that speaks TLS alone.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Who must have signed the clients' certificates (PEM).
    pub ca: PathBuf,
    /// The server's certificate (PEM).
    pub certificate: PathBuf,
    /// The key of that certificate (PEM).
    pub key: PathBuf,
    /// What is asked of clients.
    pub clients: ClientCertificates,
}

/// What a server that speaks TLS asks of its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    Ignored,
    /// A client without a certificate is let in, one with a wrong one is not.
    Optional,
    /// A client without a certificate is refused.
    Required,
}

/// Where a server listens. One that speaks TLS has a plain port besides, for knowing when it is up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listens {
    pub(crate) plain: u16,
    pub(crate) tls: Option<u16>,
    /// For the other nodes of a cluster.
    pub(crate) bus: Option<u16>,
}

/// What a process is among those it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// A server by itself, a master or a replica.
    Alone,
    /// A sentinel, which holds no data.
    Sentinel,
    /// A node of a cluster.
    Node,
}

impl Config {
    /// The text of `redis.conf`.
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

    /// The text of the ACL file: the users asked for, `default`, and one who may only say PING, so that a server that lets
    /// no other user in can still be asked whether it is up.
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

/// A path as `redis.conf` wants it: it splits lines at spaces.
fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('\\', "\\\\").replace('"', "\\\""))
}
