//! The state of a server's replicas, and the possible loss in a failover.

use super::{Check, Verdict, facts::Facts};
use crate::options::Copies;

/// The limits for a warning about a replica: bytes behind its master, and seconds of silence.
const BEHIND_BYTES: u64 = 16 << 20;
const SILENT_SECONDS: u64 = 10;

/// The oldest version that can wait for append-only files.
const WAITS_FOR_FILES: (u32, u32) = (7, 2);

/// A replica as its master sees it.
#[derive(Debug, PartialEq, Eq)]
struct Replica {
    address: String,
    is_online: bool,
    behind_bytes: u64,
    silent_seconds: u64,
}

impl Facts {
    /// Returns the checks of the replicas. Empty for a single server without replicas.
    pub(super) fn replication(&self, is_of_several: bool) -> Vec<Check> {
        let replicas = self.replicas();
        if replicas.is_empty() && !is_of_several {
            return Vec::new();
        }
        let mut checks = vec![lag(&replicas)];
        if is_of_several {
            checks.extend(self.failover());
            checks.extend(self.coverage());
        }
        checks
    }

    fn replicas(&self) -> Vec<Replica> {
        let written = self.number("master_repl_offset");
        let lines = (0..self.number("connected_slaves")).map(|number| self.info(&format!("slave{number}")));
        lines.filter_map(|line| replica(line, written)).collect()
    }

    /// Checks how much is lost when a replica takes over from this server. None if this user may not ask.
    fn failover(&self) -> Option<Check> {
        let least: u64 = self.setting("min-replicas-to-write")?.parse().ok()?;
        let within = self.setting("min-replicas-max-lag").unwrap_or("10");
        let says = |verdict, message| Some(Check::new("redis-failover", verdict, message));
        match least {
            0 => says(
                Verdict::Warn,
                "a failover loses writes that no replica had yet. A master that is cut off answers until it notices, \
                 and these writes are lost, too: `CONFIG SET min-replicas-to-write 1` bounds that"
                    .to_owned(),
            ),
            least => says(
                Verdict::Pass,
                format!(
                    "writes are refused where fewer than {least} replicas were heard of within {within} s: a failover takes what \
                     no replica had yet, of no more than about that time"
                ),
            ),
        }
    }

    /// Checks whether the server can confirm the copies for which appends wait.
    pub(super) fn copies(&self, copies: Copies) -> Check {
        let says = |verdict, message| Check::new("redis-copies", verdict, message);
        let Copies { replicas, synced, .. } = copies;
        let (name, version) = self.version_of();
        if synced && version < WAITS_FOR_FILES {
            return says(
                Verdict::Fail,
                format!(
                    "copies are to be synced to files, and the server is {name}, which cannot wait for that. Use Redis 7.2 or newer \
                     or Valkey, or let memory be enough (redis.copies.synced = false)"
                ),
            );
        }
        if synced && self.info("aof_enabled") != "1" {
            return says(
                Verdict::Fail,
                "copies are to be synced to files, and the server has no append-only file: `CONFIG SET appendonly yes`, and say so \
                 in its configuration"
                    .to_owned(),
            );
        }
        let online = self.replicas().iter().filter(|replica| replica.is_online).count() as u64;
        let file = if synced { "its append-only file and " } else { "" };
        let what = format!("an append is confirmed once {file}{replicas} replicas have it");
        match online >= u64::from(replicas) {
            true => says(Verdict::Pass, what),
            false => says(
                Verdict::Warn,
                format!(
                    "{what}, and {online} are there: publishers are told that copies are lacking, until there are more \
                     replicas or redis.copies.replicas is less"
                ),
            ),
        }
    }

    /// Checks whether the other partitions stay available after a master without replicas is lost. None outside a
    /// cluster.
    fn coverage(&self) -> Option<Check> {
        if self.info("cluster_enabled") != "1" {
            return None;
        }
        let says = |verdict, message: &str| Some(Check::new("redis-coverage", verdict, message));
        match self.setting("cluster-require-full-coverage")? {
            "no" => says(Verdict::Pass, "without a master, partitions on the others stay available"),
            _ => says(
                Verdict::Warn,
                "where a master is gone and no replica takes its place, the cluster refuses every partition: `CONFIG SET \
                 cluster-require-full-coverage no` keeps the others available",
            ),
        }
    }
}

/// Parses `ip=HOST,port=PORT,state=STATE,offset=BYTES,lag=SECONDS`.
fn replica(line: &str, written: u64) -> Option<Replica> {
    let field = |name: &str| line.split(',').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='));
    let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
    Some(Replica {
        address: format!("{}:{}", field("ip")?, field("port")?),
        is_online: field("state") == Some("online"),
        behind_bytes: written.saturating_sub(number("offset").unwrap_or(0)),
        silent_seconds: number("lag").unwrap_or(0),
    })
}

fn lag(replicas: &[Replica]) -> Check {
    let says = |verdict, message| Check::new("redis-replicas", verdict, message);
    if replicas.is_empty() {
        let message = "there is no replica: when this server is lost nothing can take its place, and what it stores is gone \
                       with its disk";
        return says(Verdict::Warn, message.to_owned());
    }
    let words = |replica: &Replica| {
        let Replica { address, is_online, behind_bytes, silent_seconds } = replica;
        let state = if *is_online { "" } else { ", which is only being filled" };
        let silent = match silent_seconds {
            0 | 1 => String::new(),
            seconds => format!(", silent for {seconds} s"),
        };
        format!("{address} is {behind_bytes} bytes behind{silent}{state}")
    };
    let is_amiss = |replica: &Replica| {
        !replica.is_online || replica.behind_bytes > BEHIND_BYTES || replica.silent_seconds > SILENT_SECONDS
    };
    let verdict = if replicas.iter().any(is_amiss) { Verdict::Warn } else { Verdict::Pass };
    says(verdict, replicas.iter().map(words).collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a panic is a test's way to fail")]
mod tests {
    use super::*;

    fn of(line: &str) -> Check {
        lag(&[replica(line, 100_000_000).unwrap()])
    }

    #[test]
    fn a_replica_that_is_far_behind_silent_or_not_filled_is_worth_a_look() {
        let well = of("ip=::1,port=7,state=online,offset=99999990,lag=1");
        assert_eq!((well.verdict, &*well.message), (Verdict::Pass, "::1:7 is 10 bytes behind"));
        for (line, said) in [
            ("ip=a,port=7,state=online,offset=1,lag=0", "a:7 is 99999999 bytes behind"),
            ("ip=a,port=7,state=online,offset=100000000,lag=11", "a:7 is 0 bytes behind, silent for 11 s"),
            (
                "ip=a,port=7,state=wait_bgsave,offset=100000000,lag=0",
                "a:7 is 0 bytes behind, which is only being filled",
            ),
        ] {
            let check = of(line);
            assert_eq!((check.verdict, &*check.message), (Verdict::Warn, said), "{line}");
        }
        assert_eq!(replica("state=online", 1), None);
    }
}
