//! The URL of a store: one server, sentinels that name its master, or nodes of a cluster.

use domain::StorageFailure;
use redis::{ConnectionInfo, IntoConnectionInfo, RedisError};

/// The default port of a sentinel.
const SENTINEL_PORT: u16 = 26379;
/// The default port of a server.
const SERVER_PORT: u16 = 6379;

/// The place of a store. User, password, database and TLS are for the servers, and are the same for all of them.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// One server.
    Server(ConnectionInfo),
    /// The master that these sentinels name.
    Sentinel {
        /// The sentinels, with the settings of the servers.
        sentinels: Vec<ConnectionInfo>,
        /// The name of the master, as the sentinels know it.
        master: String,
    },
    /// A cluster to which these nodes belong.
    Cluster {
        /// Some of its nodes.
        seeds: Vec<ConnectionInfo>,
    },
}

/// Refuses a text that is not a URL of a store on Redis. The error never repeats the URL, which may hold a password.
///
/// # Errors
/// Returns a sentence that names the mistake.
pub fn check_url(url: &str) -> Result<(), String> {
    parse(url).map(drop)
}

/// Parses a URL.
pub(crate) fn place(url: &str) -> Result<Place, StorageFailure> {
    parse(url).map_err(|wrong| {
        StorageFailure::Foreign(format!("the URL of the Redis store makes no sense: {wrong}"))
    })
}

fn parse(url: &str) -> Result<Place, String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err("it does not begin with redis://, redis+sentinel:// or redis+cluster://".to_owned());
    };
    match scheme {
        "redis+sentinel" => sentinel("redis", rest),
        "rediss+sentinel" => sentinel("rediss", rest),
        "redis+cluster" => cluster("redis", rest),
        "rediss+cluster" => cluster("rediss", rest),
        _ => url.into_connection_info().map(Place::Server).map_err(|error| said(&error)),
    }
}

fn sentinel(scheme: &str, rest: &str) -> Result<Place, String> {
    let parts = Parts::of(rest);
    let mut master = None;
    for (name, value) in parts.parameters()? {
        match name {
            "master" if master.is_none() => master = Some(value),
            "master" => return Err("it names two masters".to_owned()),
            other => return Err(format!("there is no parameter {other:?}; there is ?master=NAME")),
        }
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    match master {
        None => {
            Err("it does not say by which name the sentinels know the master: add ?master=NAME".to_owned())
        }
        Some(name) if name.is_empty() || !name.chars().all(is_plain) => {
            Err("the name of a master has letters, digits, dots, dashes or underscores".to_owned())
        }
        Some(name) => {
            let sentinels = parts.hosts(scheme, SENTINEL_PORT)?;
            Ok(Place::Sentinel { sentinels, master: name.to_owned() })
        }
    }
}

fn cluster(scheme: &str, rest: &str) -> Result<Place, String> {
    let parts = Parts::of(rest);
    if let Some((name, _)) = parts.parameters()?.first() {
        return Err(format!("a cluster has no parameter {name:?}"));
    }
    if !matches!(parts.database, "" | "0") {
        return Err("a cluster has no databases: leave out what stands behind the slash".to_owned());
    }
    Ok(Place::Cluster { seeds: parts.hosts(scheme, SERVER_PORT)? })
}

/// The parts of `[USER[:PASSWORD]@]HOST[:PORT][,HOST[:PORT]…][/DB][?NAME=VALUE…][#insecure]`.
struct Parts<'a> {
    credentials: Option<&'a str>,
    hosts: &'a str,
    database: &'a str,
    query: &'a str,
    fragment: &'a str,
}

impl<'a> Parts<'a> {
    fn of(rest: &'a str) -> Self {
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (credentials, hosts) = match authority.rsplit_once('@') {
            Some((credentials, hosts)) => (Some(credentials), hosts),
            None => (None, authority),
        };
        Self { credentials, hosts, database, query, fragment }
    }

    fn parameters(&self) -> Result<Vec<(&'a str, &'a str)>, String> {
        let pair =
            |text: &'a str| text.split_once('=').ok_or("a parameter is written ?NAME=VALUE".to_owned());
        self.query.split('&').filter(|text| !text.is_empty()).map(pair).collect()
    }

    /// Returns each host as the URL of one server, parsed by the client library.
    fn hosts(&self, scheme: &str, port: u16) -> Result<Vec<ConnectionInfo>, String> {
        let credentials = self.credentials.map(|text| format!("{text}@")).unwrap_or_default();
        let fragment = if self.fragment.is_empty() { String::new() } else { format!("#{}", self.fragment) };
        let one = |host: &str| {
            if host.is_empty() {
                return Err("the name of a host is missing: they are written HOST:PORT,HOST:PORT".to_owned());
            }
            let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
            let port = if has_port { String::new() } else { format!(":{port}") };
            let url = format!("{scheme}://{credentials}{host}{port}/{}{fragment}", self.database);
            url.as_str().into_connection_info().map_err(|error| said(&error))
        };
        self.hosts.split(',').map(one).collect()
    }
}

/// Returns the client library's message about a URL, without the URL.
fn said(error: &RedisError) -> String {
    // The message has the form `DESCRIPTION - KIND`.
    let text = error.to_string();
    text.split(" - ").next().unwrap_or(error.category()).to_owned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]
mod tests {
    use super::*;

    fn shown(infos: &[ConnectionInfo]) -> Vec<String> {
        infos.iter().map(|info| info.addr().to_string()).collect()
    }

    #[test]
    fn sentinels_are_read_with_what_the_servers_want() {
        let url = "redis+sentinel://ann:p%40ss@one:1,[::1]:2,[fe80::1],three/2?master=the.m-1";
        let Place::Sentinel { sentinels, master } = place(url).unwrap() else { panic!("{url}") };
        assert_eq!(shown(&sentinels), ["one:1", "::1:2", "fe80::1:26379", "three:26379"]);
        assert_eq!(master, "the.m-1");
        for info in &sentinels {
            let settings = info.redis_settings();
            assert_eq!((settings.username(), settings.password()), (Some("ann"), Some("p@ss")));
            assert_eq!(settings.db(), 2);
            assert!(matches!(info.addr(), redis::ConnectionAddr::Tcp(..)));
        }
    }

    #[test]
    fn nodes_are_read_with_what_all_want() {
        let Place::Cluster { seeds } = place("rediss+cluster://:pw@one,two:7000/0#insecure").unwrap() else {
            panic!("no cluster")
        };
        assert_eq!(shown(&seeds), ["one:6379", "two:7000"]);
        for info in &seeds {
            assert_eq!(info.redis_settings().password(), Some("pw"));
            assert!(matches!(info.addr(), redis::ConnectionAddr::TcpTls { insecure: true, .. }));
        }
        assert!(matches!(place("redis+cluster://one/").unwrap(), Place::Cluster { .. }));
        assert!(matches!(place("redis://one/3").unwrap(), Place::Server(_)));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_a_sentence_and_without_the_password() {
        for (url, because) in [
            ("host:6379", "does not begin"),
            ("redis+sentinel://:secret@host", "by which name"),
            ("redis+sentinel://:secret@host?master=", "the name of a master has"),
            ("redis+sentinel://:secret@host?master=a%20b", "the name of a master has"),
            ("redis+sentinel://:secret@host?master=a&master=b", "two masters"),
            ("redis+sentinel://:secret@host?master=a&quorum=2", "no parameter \"quorum\""),
            ("redis+sentinel://:secret@host?master", "?NAME=VALUE"),
            ("redis+sentinel://?master=a", "host is missing"),
            ("redis+sentinel://:secret@one,,two?master=a", "host is missing"),
            ("redis+sentinel://:secret@one:port?master=a", ""),
            ("redis+sentinel://:secret@one/x?master=a", "database"),
            ("redis+cluster://", "host is missing"),
            ("redis+cluster://:secret@one,", "host is missing"),
            ("redis+cluster://:secret@one/1", "no databases"),
            ("redis+cluster://:secret@one?master=a", "no parameter \"master\""),
            ("redis+cluster://:secret@one:70000", ""),
            ("redis+cluster://:secret@0.0.0.0", "wildcard"),
            ("redis+clusters://:secret@one", ""),
            ("http://:secret@one", ""),
            ("redis://:secret@", ""),
        ] {
            let said = check_url(url).unwrap_err();
            assert!(said.contains(because) && !said.is_empty(), "{url}: {said}");
            assert!(!said.contains("secret"), "{url}: {said}");
            let failure = place(url).unwrap_err().to_string();
            assert!(failure.contains(&said), "{failure}");
        }
    }
}
