//! A master with its replicas, and the sentinels that monitor them.

use std::{collections::HashMap, time::Duration};

use crate::{
    Binary, Config, Error, Server,
    command::{Patience, say, value_of},
    config::Part,
};

/// The name of the master in the sentinels.
const NAME: &str = "events";

/// Number of servers, and number of sentinels.
const EACH: usize = 3;

/// Number of sentinels that must agree that the master is down.
const QUORUM: usize = 2;

/// Time after which a sentinel considers a silent server down. It is far below a production value, because tests wait
/// for it.
const DOWN_AFTER: Duration = Duration::from_millis(700);

/// Failover timeout of the sentinels. They start another failover after twice this time.
const FAILOVER: Duration = Duration::from_secs(3);

/// Maximum wait of a test for a change of roles. Sentinels check once a second, and an election on a busy machine may
/// need several rounds. A sentinel that stalls for two seconds, such as on a slow disk, then does nothing for 30
/// seconds.
const CHANGE_WITHIN: Duration = Duration::from_secs(90);

/// A master, two replicas and three sentinels with a quorum of two. Dropping the value ends all processes.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Sentinels {
    /// Starts all processes. Waits until the replicas have copied the master and the sentinels know each other.
    ///
    /// All servers use `config`. The user `default` must keep all rights. The sentinels require no password, and use
    /// TLS if the servers use it.
    ///
    /// # Errors
    /// Returns an [`Error`] when a process does not start, or when the processes do not connect to each other.
    pub async fn start(binary: &Binary, config: &Config) -> Result<Self, Error> {
        let mut config = config.clone();
        let among_each_other = config.tls.as_ref().map(|_| "tls-replication yes".to_owned());
        let soon = ["repl-diskless-sync-delay 0", "repl-ping-replica-period 1"].map(str::to_owned);
        config.lines.extend(among_each_other.iter().cloned().chain(soon));
        if let Some(password) = &config.password {
            config.lines.push(format!("masterauth {password:?}"));
        }
        let mut servers = vec![Server::start(binary, &config).await?];
        let first = servers.first().map_or(0, Server::port);
        config.lines.push(format!("replicaof 127.0.0.1 {first}"));
        while servers.len() < EACH {
            servers.push(Server::start(binary, &config).await?);
        }
        let mut lines = vec![
            format!("sentinel monitor {NAME} 127.0.0.1 {first} {QUORUM}"),
            format!("sentinel down-after-milliseconds {NAME} {}", DOWN_AFTER.as_millis()),
            format!("sentinel failover-timeout {NAME} {}", FAILOVER.as_millis()),
            format!("sentinel parallel-syncs {NAME} {EACH}"),
        ];
        if let Some(password) = &config.password {
            lines.push(format!("sentinel auth-pass {NAME} {password:?}"));
        }
        lines.extend(among_each_other);
        let watching = Config { lines, tls: config.tls.clone(), ..Config::default() };
        let mut sentinels = Vec::new();
        while sentinels.len() < EACH {
            sentinels.push(Server::start_as(Part::Sentinel, binary, &watching).await?);
        }
        let all = Self { servers, sentinels };
        all.until_ready().await?;
        Ok(all)
    }

    /// Returns the URL for clients: `redis+sentinel://127.0.0.1:PORT,…/0?master=NAME` with the password of the servers.
    /// The scheme starts with `rediss` for TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let ports: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        let credentials = self.servers.first().map(Server::credentials).unwrap_or_default();
        let scheme = self.servers.first().map_or("redis", Server::scheme);
        format!("{scheme}+sentinel://{credentials}{}/0?master={NAME}", ports.join(","))
    }

    /// The name of the master in the sentinels.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The master and the replicas. The first server is the master at the start.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The servers, to kill or restart them.
    pub fn servers_mut(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The sentinels, to kill or restart them.
    pub fn sentinels_mut(&mut self) -> &mut [Server] {
        &mut self.sentinels
    }

    /// Returns the server that most sentinels name as the master, or `None` if they do not agree.
    pub async fn master(&self) -> Option<usize> {
        let mut said: HashMap<usize, usize> = HashMap::new();
        for sentinel in &self.sentinels {
            if let Some(master) = self.master_by(sentinel).await {
                *said.entry(master).or_default() += 1;
            }
        }
        said.into_iter().find(|(_, times)| *times >= QUORUM).map(|(master, _)| master)
    }

    /// Promotes a replica (`SENTINEL FAILOVER`). Waits until most sentinels report the new master, and returns its
    /// number.
    ///
    /// The old master does not take part, and later writes to it are lost. It becomes a replica about ten seconds
    /// later. [`Sentinels::until_ready`] waits for that.
    ///
    /// # Errors
    /// Returns an [`Error`] when the sentinels refuse, or when no replica is promoted.
    pub async fn promote(&self) -> Result<usize, Error> {
        let (Some(old), Some(sentinel)) = (self.master().await, self.sentinels.first()) else {
            return Err(self.disagree().await);
        };
        let patience = Patience::of(CHANGE_WITHIN);
        loop {
            let mut amiss = match self.other_master(old).await {
                Ok(new) => return Ok(new),
                Err(amiss) => amiss,
            };
            // The sentinel refuses while a failover runs, or while it does not know a healthy replica. It gives up a
            // failover whose replica does not become a master in time, so the request is repeated.
            if self.master_by(sentinel).await == Some(old)
                && let Err(refused) = say::<String>(sentinel, &["SENTINEL", "FAILOVER", NAME]).await
            {
                amiss = refused.to_string();
            }
            patience.more(sentinel, &amiss).await?;
        }
    }

    /// Waits until most sentinels name a server other than `old` as the master, and that server reports the master
    /// role.
    ///
    /// # Errors
    /// Returns an [`Error`] when this is not so within 90 seconds.
    pub async fn until_master_is_not(&self, old: usize) -> Result<usize, Error> {
        let Some(sentinel) = self.sentinels.first() else { return Err(self.disagree().await) };
        let patience = Patience::of(CHANGE_WITHIN);
        loop {
            match self.other_master(old).await {
                Ok(new) => return Ok(new),
                Err(amiss) => patience.more(sentinel, &amiss).await?,
            }
        }
    }

    async fn other_master(&self, old: usize) -> Result<usize, String> {
        let said = self.master().await.filter(|master| *master != old);
        let new = said.ok_or_else(|| format!("the master is still number {old}"))?;
        match value_of(&self.replication(new).await?, "role") {
            "master" => Ok(new),
            role => Err(format!("number {new} is still a {role}")),
        }
    }

    /// Waits until each running server is the master or has copied the master, and each running sentinel knows all
    /// servers and sentinels.
    ///
    /// # Errors
    /// Returns an [`Error`] when this is not so within 90 seconds.
    pub async fn until_ready(&self) -> Result<(), Error> {
        let Some(sentinel) = self.sentinels.first() else { return Err(self.disagree().await) };
        let patience = Patience::of(CHANGE_WITHIN);
        while let Err(amiss) = self.is_ready().await {
            patience.more(sentinel, &amiss).await?;
        }
        Ok(())
    }

    async fn is_ready(&self) -> Result<(), String> {
        let master = self.master().await.ok_or("the sentinels do not agree who is the master")?;
        let port = self.servers.get(master).map(|server| server.port().to_string()).unwrap_or_default();
        let mut running = 0;
        for (number, server) in self.servers.iter().enumerate() {
            if server.process_id().is_none() {
                continue;
            }
            running += 1;
            let info = self.replication(number).await?;
            let [role, of, link] =
                ["role", "master_port", "master_link_status"].map(|name| value_of(&info, name));
            let fine = if number == master { role == "master" } else { (of, link) == (&port, "up") };
            if !fine {
                return Err(format!("number {number} is {role} of {of}, {link}, and {master} is the master"));
            }
        }
        for sentinel in self.sentinels.iter().filter(|sentinel| sentinel.process_id().is_some()) {
            self.knows(sentinel, &port, running - 1).await?;
        }
        Ok(())
    }

    /// Checks that a sentinel sees a healthy master on this port, at least `replicas` healthy replicas, and all other
    /// sentinels.
    async fn knows(&self, sentinel: &Server, port: &str, replicas: usize) -> Result<(), String> {
        let asked = |what: &'static str| async move {
            say::<redis::Value>(sentinel, &["SENTINEL", what, NAME]).await.map_err(|error| error.to_string())
        };
        let shape = |error: redis::ParsingError| error.to_string();
        let master: HashMap<String, String> =
            redis::from_redis_value(asked("MASTER").await?).map_err(shape)?;
        let is = |name: &str| master.get(name).map(String::as_str).unwrap_or_default();
        let others = (self.sentinels.len() - 1).to_string();
        if (is("port"), is("flags"), is("num-other-sentinels")) != (port, "master", &others) {
            return Err(format!("a sentinel sees {master:?}"));
        }
        let seen: Vec<HashMap<String, String>> =
            redis::from_redis_value(asked("REPLICAS").await?).map_err(shape)?;
        let well = seen.iter().filter(|replica| {
            let is = |name: &str| replica.get(name).map(String::as_str).unwrap_or_default();
            // The other fields of a replica may be ten seconds old.
            is("flags") == "slave"
        });
        match well.count() >= replicas {
            true => Ok(()),
            false => Err(format!("a sentinel sees replicas {seen:?}")),
        }
    }

    async fn master_by(&self, sentinel: &Server) -> Option<usize> {
        sentinel.process_id()?;
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME];
        let (_, port): (String, u16) = say(sentinel, &words).await.ok()?;
        self.servers.iter().position(|server| server.port() == port)
    }

    async fn replication(&self, number: usize) -> Result<String, String> {
        let server = self.servers.get(number).ok_or("there is no such server")?;
        say(server, &["INFO", "replication"]).await.map_err(|error| error.to_string())
    }

    async fn disagree(&self) -> Error {
        match self.sentinels.first() {
            Some(sentinel) => sentinel.not_ready("and its fellows do not agree who is the master").await,
            None => Error::NotInstalled("there is no sentinel".to_owned()),
        }
    }
}
