//! The conditions that a server must meet before a write, and the findings that `health` prints.

mod facts;
mod replicas;

use std::time::Duration;

use domain::{
    StorageFailure,
    ports::engine::{Space, SpaceKind},
};
use futures_util::future::join_all;
use redis::{Pipeline, Value};
use tokio::time::{Instant, sleep};

use self::facts::Facts;
use crate::{
    client::{link::Link, reply::text},
    engine::RedisEngine,
    engine::{keys::Keys, partition::Partition, state::State},
    options::{Copies, RedisOptions},
    server::{namespace, rights},
};

/// The largest bucket of the dictionary: its fields, and the bytes of each. The compact encoding must allow this size.
const BUCKET: (u64, u64) = (128, 64);
/// The number of buckets in one check of the encoding.
const BUCKETS_LOOKED_AT: u32 = 32;
/// The pause before servers are checked again, after one of them was unreachable.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The least number of fields at which the encoding of a bucket is significant.
const FULL_BUCKET: i64 = 16;

/// The result of a check. A worse verdict is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// The check found no problem.
    Pass,
    /// The store works, but an operator should look at this.
    Warn,
    /// The store must not be written to.
    Fail,
}

/// One check and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name, in lower-case words and dashes.
    pub name: &'static str,
    /// Its result.
    pub verdict: Verdict,
    /// A text for people: the finding, and how to resolve it.
    pub message: String,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, message: impl Into<String>) -> Self {
        Self { name, verdict, message: message.into() }
    }
}

fn wide_encoding(found: &str) -> Check {
    let (entries, value) = BUCKET;
    let message = format!(
        "{found}, so that the index of ids takes three times the memory: run `CONFIG SET hash-max-listpack-entries \
         {entries}` and `CONFIG SET hash-max-listpack-value {value}`, or more"
    );
    Check::new("redis-encoding", Verdict::Warn, message)
}

/// Checks whether the user has the rights to write.
async fn rights(link: &Link, keys: &Keys, options: &RedisOptions) -> Result<Check, StorageFailure> {
    let missing = match rights::missing(link, keys, options.copies).await {
        Ok(missing) => missing,
        // The user lacks even the right to ask, which a write needs too.
        Err(StorageFailure::Denied(text)) => {
            return Ok(Check::new("redis-rights", Verdict::Fail, format!("this user can only read: {text}")));
        }
        Err(failure) => return Err(failure),
    };
    Ok(match missing.is_empty() {
        true => Check::new("redis-rights", Verdict::Pass, "this user has the rights to write"),
        false => {
            let message = format!(
                "this user lacks rights that writing needs on {}: {}",
                keys.named("*"),
                missing.join(", ")
            );
            Check::new("redis-rights", Verdict::Fail, message)
        }
    })
}

/// The result of the checks of one server, with its address.
type Look = (String, Result<Vec<Check>, StorageFailure>);

/// Checks every server of the store.
async fn looks(store: &Link, copies: Option<Copies>) -> Result<Vec<Look>, StorageFailure> {
    let look = async |server: Link| {
        let facts = Facts::of(&server).await?;
        let mut checks = facts.checks(store.is_of_several());
        checks.extend(copies.map(|copies| facts.copies(copies)));
        Ok(checks)
    };
    let servers = store.servers().await?.into_iter();
    Ok(join_all(servers.map(async |(address, server)| (address, look(server).await))).await)
}

/// Checks every server like [`looks`]. If several servers form one store and one is unreachable, it checks again until
/// the timeout, since another server may be about to take over.
async fn looks_in_time(store: &Link, options: &RedisOptions) -> Result<Vec<Look>, StorageFailure> {
    let deadline = Instant::now() + options.timeout;
    loop {
        let looks = looks(store, options.copies).await;
        let is_away = match &looks {
            Ok(looks) => looks.iter().any(|look| matches!(&look.1, Err(StorageFailure::Unavailable(_)))),
            Err(failure) => matches!(failure, StorageFailure::Unavailable(_)),
        };
        if !is_away || !store.is_of_several() || Instant::now() + LOOK_AGAIN >= deadline {
            return looks;
        }
        store.doubt();
        sleep(LOOK_AGAIN).await;
    }
}

/// Merges the checks of all servers. If one of several servers does not answer, that is a failed check of this server.
fn of_servers(looks: Vec<Look>) -> Result<Vec<Check>, StorageFailure> {
    let is_only = looks.len() == 1;
    let looked = |(address, checks): Look| match checks {
        Err(failure) if !is_only => {
            let message = format!("it does not answer: {failure}");
            Ok((address, vec![Check::new("redis-server", Verdict::Fail, message)]))
        }
        checks => Ok((address, checks?)),
    };
    Ok(together(looks.into_iter().map(looked).collect::<Result<_, StorageFailure>>()?))
}

/// The messages of a check, each with the addresses of its servers.
type Said = Vec<(String, Vec<String>)>;

/// Merges the checks of several servers: the worst verdict of each check, and the message of each server.
fn together(found: Vec<(String, Vec<Check>)>) -> Vec<Check> {
    let is_only = found.len() == 1;
    let mut checks: Vec<(Check, Said)> = Vec::new();
    for (address, of_server) in found {
        for check in of_server {
            let known = checks.iter_mut().find(|(known, _)| known.name == check.name);
            let Some((worst, said)) = known else {
                let said = vec![(check.message.clone(), vec![address.clone()])];
                checks.push((check, said));
                continue;
            };
            match said.iter_mut().find(|(message, _)| *message == check.message) {
                Some((_, addresses)) => addresses.push(address.clone()),
                None => said.push((check.message.clone(), vec![address.clone()])),
            }
            worst.verdict = worst.verdict.max(check.verdict);
        }
    }
    let one = |(mut check, said): (Check, Said)| {
        if !is_only {
            let words =
                said.iter().map(|(message, addresses)| format!("{}: {message}", addresses.join(", ")));
            check.message = words.collect::<Vec<_>>().join("; ");
        }
        check
    };
    checks.into_iter().map(one).collect()
}

/// Refuses a server with settings that forbid writes, and logs a warning for each setting that should be better.
pub(crate) async fn before_use(
    link: &Link,
    keys: &Keys,
    options: &RedisOptions,
) -> Result<(), StorageFailure> {
    let looks = looks_in_time(link, options).await?.into_iter();
    let found =
        looks.map(|(address, checks)| Ok((address, checks?))).collect::<Result<_, StorageFailure>>()?;
    let mut checks = together(found);
    refuse(&checks)?;
    checks.push(rights(link, keys, options).await?);
    refuse(&checks)?;
    for check in checks.iter().filter(|check| check.verdict == Verdict::Warn) {
        tracing::warn!(check = check.name, "{}", check.message);
    }
    Ok(())
}

fn refuse(checks: &[Check]) -> Result<(), StorageFailure> {
    let Some(check) = checks.iter().find(|check| check.verdict == Verdict::Fail) else { return Ok(()) };
    let message = check.message.clone();
    Err(match check.name {
        "redis-rights" => StorageFailure::Denied(message),
        "redis-role" | "redis-persistence" => StorageFailure::Unavailable(message),
        _ => StorageFailure::Foreign(message),
    })
}

/// Refuses to make a namespace over existing keys that are not part of one.
pub(crate) async fn before_making(link: &Link, keys: &Keys) -> Result<(), StorageFailure> {
    let space = |kind| keys.space(&Space::of(kind));
    let names = [
        keys.chunks(),
        keys.log(0),
        keys.directory(0),
        space(SpaceKind::Group),
        space(SpaceKind::Checkpoint),
        // The names in layout 1.
        keys.named("groups"),
        keys.named("checkpoints"),
    ];
    let mut pipeline = Pipeline::new();
    for name in &names {
        pipeline.cmd("EXISTS").arg(name);
    }
    for (name, answer) in names.iter().zip(link.read_all(&pipeline).await?) {
        if answer != Value::Int(0) {
            return Err(StorageFailure::Foreign(format!(
                "there is a key {name} on this server, and no namespace that it belongs to: what is left of one whose \
                 state was deleted, or another program's. Name another namespace, or remove the keys {}",
                keys.named("*")
            )));
        }
    }
    Ok(())
}

impl RedisEngine {
    /// Returns the checks of the server and of this user's rights. Needs no right to write. A check that this user may
    /// not make is a warning.
    ///
    /// # Errors
    /// Returns an error when the server cannot be reached.
    pub async fn checks(&self) -> Result<Vec<Check>, StorageFailure> {
        let looks = looks(self.link(), self.options().copies).await?;
        let is_only = looks.len() == 1;
        let mut checks = of_servers(looks)?;
        for wide in join_all(self.partitions().iter().map(wide_bucket)).await {
            match wide {
                Ok(None) => {}
                Ok(Some(wide)) => {
                    checks.retain(|check| check.name != wide.name);
                    checks.push(wide);
                }
                // An earlier check already says that this server does not answer.
                Err(StorageFailure::Unavailable(_)) if !is_only => {}
                Err(failure) => return Err(failure),
            }
        }
        let rights = rights(self.link(), &namespace::root(&self.options().namespace), self.options()).await?;
        // A user that only reads needs no more rights, so a lack of them is a warning.
        let verdict = if rights.verdict == Verdict::Fail { Verdict::Warn } else { rights.verdict };
        checks.push(Check { verdict, ..rights });
        Ok(checks)
    }

    /// Returns the checks of the servers of a store that cannot be opened, to show which of several servers is at
    /// fault. For a single server the result is empty, since its failure says everything.
    ///
    /// # Errors
    /// Returns an error when no server can be reached, or when the options are invalid.
    pub async fn server_checks(options: &RedisOptions) -> Result<Vec<Check>, StorageFailure> {
        let link = Self::way(options)?;
        match link.is_of_several() {
            true => of_servers(looks(&link, options.copies).await?),
            false => Ok(Vec::new()),
        }
    }

    /// Refuses a server with settings that forbid writes, as [`RedisEngine::create`] does.
    ///
    /// # Errors
    /// Returns a failure that says what to change.
    pub async fn check_writable(&self) -> Result<(), StorageFailure> {
        before_use(self.link(), &namespace::root(&self.options().namespace), self.options()).await
    }
}

/// Checks whether a bucket of the dictionary has left its compact encoding, which can differ from the present
/// configuration.
async fn wide_bucket(partition: &Partition) -> Result<Option<Check>, StorageFailure> {
    let state: State = partition.state().await?;
    let buckets = (1u32 << state.level) + state.split;
    let mut pipeline = Pipeline::new();
    for _ in 0..BUCKETS_LOOKED_AT {
        let key = partition.keys().bucket(fastrand::u32(..buckets));
        pipeline.cmd("HLEN").arg(&key);
        pipeline.cmd("OBJECT").arg("ENCODING").arg(&key);
    }
    let answers = match partition.link().read_all(&pipeline).await {
        Err(StorageFailure::Denied(_)) => return Ok(None),
        answers => answers?,
    };
    let wide = answers.chunks_exact(2).any(|pair| match pair {
        [Value::Int(length), encoding] => {
            (FULL_BUCKET..=BUCKET.0 as i64).contains(length) && text(encoding) == Some("hashtable")
        }
        _ => false,
    });
    Ok(wide.then(|| wide_encoding("hashes of the index are not kept compact")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_servers_say_is_one_check_with_the_worst_verdict() {
        let check = |verdict, message: &str| vec![Check::new("redis-server", verdict, message)];
        let found = vec![
            ("a:1".to_owned(), check(Verdict::Pass, "Redis 7")),
            ("a:2".to_owned(), check(Verdict::Warn, "Redis 6")),
            ("a:3".to_owned(), check(Verdict::Pass, "Redis 7")),
        ];
        let expected = check(Verdict::Warn, "a:1, a:3: Redis 7; a:2: Redis 6");
        assert_eq!(together(found.clone()), expected);
        let only = found.into_iter().take(1).collect();
        assert_eq!(
            together(only),
            check(Verdict::Pass, "Redis 7"),
            "a server that stands alone is not named"
        );
    }
}
