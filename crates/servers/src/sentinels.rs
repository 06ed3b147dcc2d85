//! A master with its replicas, and the sentinels that watch over them.

use std::{collections::HashMap, time::Duration};

use crate::{
    Binary, Config, Error, Server,
    command::{Patience, say, value_of},
    config::Part,
};

/// The name by which the sentinels know the master.
const NAME: &str = "events";

/// How many servers there are, and how many sentinels.
const EACH: usize = 3;

/// How many sentinels must agree that the master is down.
const QUORUM: usize = 2;

/// When a sentinel takes a silent server for down: far below what one would set, for tests wait for it.
const DOWN_AFTER: Duration = Duration::from_millis(700);

/// What a failover may take, by the sentinels' own setting. Twice as long passes before they try another one.
const FAILOVER: Duration = Duration::from_secs(3);

/// How long a test may wait for a change of roles: sentinels look around once a second, and their elections may need more
/// than one round on a busy machine. One that was held up for two seconds, by a slow disk, does nothing for half a minute.
const CHANGE_WITHIN: Duration = Duration::from_secs(90);

/// A master, two replicas and three sentinels of which two must agree. Dropping it ends them all.
#[derive(Debug)]
pub struct Sentinels {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Sentinels {
    /// Starts them, and waits until the replicas have what the master has and the sentinels know each other.
    ///
    /// The servers are as `config` says, and the user `default` must keep all rights. The sentinels let everybody in, and speak
    /// TLS where the servers do.
    ///
    /// # Errors
    /// One of them does not start, or they do not find together.
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

    /// Where clients connect: `redis+sentinel://127.0.0.1:PORT,…/0?master=NAME`, with the password of the servers; with
    /// `rediss` for TLS.
    #[must_use]
    pub fn url(&self) -> String {
        let ports: Vec<String> =
            self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port())).collect();
        let credentials = self.servers.first().map(Server::credentials).unwrap_or_default();
        let scheme = self.servers.first().map_or("redis", Server::scheme);
        format!("{scheme}+sentinel://{credentials}{}/0?master={NAME}", ports.join(","))
    }

    /// The name by which the sentinels know the master.
    #[must_use]
    pub fn name(&self) -> &'static str {
        NAME
    }

    /// The master and the replicas; the first one was the master in the beginning.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The same, to be killed or started again.
    pub fn servers_mut(&mut self) -> &mut [Server] {
        &mut self.servers
    }

    /// The sentinels.
    #[must_use]
    pub fn sentinels(&self) -> &[Server] {
        &self.sentinels
    }

    /// The same, to be killed or started again.
    pub fn sentinels_mut(&mut self) -> &mut [Server] {
        &mut self.sentinels
    }

    /// Which server is the master by what most sentinels say; `None` where they do not agree.
    pub async fn master(&self) -> Option<usize> {
        let mut said: HashMap<usize, usize> = HashMap::new();
        for sentinel in &self.sentinels {
            if let Some(master) = self.master_by(sentinel).await {
                *said.entry(master).or_default() += 1;
            }
        }
        said.into_iter().find(|(_, times)| *times >= QUORUM).map(|(master, _)| master)
    }

    /// Has a replica promoted (`SENTINEL FAILOVER`), waits until most sentinels say so, and answers which one it is.
    ///
    /// The old master is not asked, and what it answers from then on is lost: it becomes a replica some ten seconds later, of
    /// which [`Sentinels::until_ready`] waits for the end.
    ///
    /// # Errors
    /// The sentinels refuse, or none is promoted.
    pub async fn promote(&self) -> Result<usize, Error> {
        let (Some(old), Some(sentinel)) = (self.master().await, self.sentinels.first()) else {
            return Err(self.disagree().await);
        };
        let patience = Patience::of(CHANGE_WITHIN);
        // Refused as long as an earlier one is under way, or as the replicas are not known to be well.
        while let Err(refused) = say::<String>(sentinel, &["SENTINEL", "FAILOVER", NAME]).await {
            patience.more(sentinel, &refused.to_string()).await?;
        }
        self.until_master_is_not(old).await
    }

    /// Waits until most sentinels name another server than `old` as the master, and that one says so too.
    ///
    /// # Errors
    /// They do not within a minute and a half.
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

    /// Waits until every server that runs is the master or has what the master has, and every sentinel that runs knows all
    /// of them and the other sentinels.
    ///
    /// # Errors
    /// It is not so within a minute and a half.
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

    /// Whether a sentinel sees a master in order at this port, so many replicas that could be promoted, and all its fellows.
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
            // What else it says of a replica is as old as ten seconds.
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
