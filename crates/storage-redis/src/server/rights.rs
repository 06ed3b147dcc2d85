//! The rights that a user needs. The users in the documentation are made of these lists, and a start checks them.

use domain::StorageFailure;
use redis::FromRedisValue;

use crate::{
    client::{failure::unexpected_reply, link::Link},
    engine::keys::Keys,
    options::Copies,
};

/// The commands for reading, on keys of the namespace and on the server.
pub(crate) const READING: &[&str] = &[
    "exists",
    "fcall_ro",
    "get",
    "getrange",
    "hexists",
    "hget",
    "hgetall",
    "hkeys",
    "hlen",
    "hmget",
    "hscan",
    "info",
    "lindex",
    "llen",
    "lpos",
    "lrange",
    "object|encoding",
    "ping",
    "smembers",
    "strlen",
    "subscribe",
    "time",
    "unsubscribe",
    "xlen",
    "xrange",
    "xrevrange",
    "zcard",
    "zrange",
    "zrangebylex",
    "zrevrange",
    "zrevrangebylex",
    "zscore",
];

/// The additional commands for writing.
pub(crate) const WRITING: &[&str] = &[
    "append",
    "fcall",
    "function|load",
    "hdel",
    "hincrby",
    "hset",
    "hsetnx",
    "lpush",
    "lrem",
    "ltrim",
    "publish",
    "rename",
    "rpush",
    "sadd",
    "set",
    "setrange",
    "srem",
    "type",
    "unlink",
    "xadd",
    "xdel",
    "zadd",
    "zrem",
];

/// The additional command for waiting for copies: in memory, or in files.
const COPYING: [&str; 2] = ["wait", "waitaof"];

/// Commands that name no key. `PUBLISH` and `SUBSCRIBE` name a channel.
const KEYLESS: &[&str] =
    &["config|get", "fcall", "fcall_ro", "function|load", "info", "ping", "time", "unsubscribe"];

/// Returns a command with arguments that would let it run. The server checks rights for such a command.
fn words(command: &str, bell: &str) -> Vec<String> {
    let mut words: Vec<String> = command.split('|').map(str::to_owned).collect();
    match command {
        "publish" => words.extend([bell.to_owned(), "text".to_owned()]),
        "subscribe" => words.push(bell.to_owned()),
        "wait" => words.extend(["0".to_owned(), "1".to_owned()]),
        "waitaof" => words.extend(["0".to_owned(), "0".to_owned(), "1".to_owned()]),
        "fcall" | "fcall_ro" => words.extend(["function".to_owned(), "1".to_owned(), "KEY".to_owned()]),
        "function|load" => words.push("text".to_owned()),
        _ if KEYLESS.contains(&command) => {}
        _ => words.push("KEY".to_owned()),
    }
    words
}

/// Returns the commands that this user may not run, of all that writing needs, as the server names them. With
/// `copies`, the command that waits for copies is included.
pub(crate) async fn missing(
    link: &Link,
    keys: &Keys,
    copies: Option<Copies>,
) -> Result<Vec<String>, StorageFailure> {
    let bell = keys.bell();
    let mut args = Vec::new();
    let copying = copies.and_then(|copies| COPYING.get(usize::from(copies.synced)));
    for command in READING.iter().chain(WRITING).chain(copying) {
        let words = words(command, &bell);
        args.push(words.len().to_string());
        args.extend(words);
    }
    let answer = link.call("rights", &[keys.meta()], &args).await?;
    let missing: Vec<String> =
        FromRedisValue::from_redis_value(answer).map_err(|_| unexpected_reply("rights"))?;
    Ok(missing.iter().map(|words| words.split(' ').next().unwrap_or_default().to_uppercase()).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a panic is a test's way to fail")]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    /// The commands that a store could use: for keys of the used types, for channels, and for the server.
    const KNOWN: &str = "append copy del dump exists expire fcall fcall_ro get getdel getex getrange hdel hexists hexpire hget hgetall hincrby hkeys hlen \
        hmget hmset hrandfield hscan hset hsetnx hstrlen hvals info keys lindex linsert llen lmove lmpop lpop lpos lpush \
        lpushx lrange lrem lset ltrim persist ping psubscribe publish randomkey rename renamenx rpop rpoplpush rpush rpushx \
        sadd scan set setrange strlen scard sdiff sinter sismember smembers smismember smove sort spop spublish srandmember srem sscan \
        ssubscribe subscribe sunion time touch ttl type unlink unsubscribe wait waitaof watch xack xadd xautoclaim xclaim xdel \
        xgroup xinfo xlen xpending xrange xread xreadgroup xrevrange xsetid xtrim zadd zcard zcount zdiff zincrby zinter \
        zlexcount zmpop zmscore zpopmax zpopmin zrandmember zrange zrangebylex zrangebyscore zrangestore zrank zrem \
        zremrangebylex zremrangebyrank zremrangebyscore zrevrange zrevrangebylex zrevrangebyscore zrevrank zscan zscore \
        zunion";

    /// Returns the commands that a source file names in capitals and in quotes.
    fn commands(source: &str, quote: char) -> BTreeSet<&'static str> {
        let words: BTreeSet<String> = source
            .split(quote)
            .filter(|word| word.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
            .map(str::to_lowercase)
            .collect();
        KNOWN.split_whitespace().filter(|known| words.contains(*known)).collect()
    }

    /// Commands that the client sends without such a name in the sources.
    const OTHERWISE: &[&str] = &["ping", "subscribe", "unsubscribe"];

    /// Only an owner removes a namespace.
    const OF_OWNERS: &[&str] = &["scan"];

    #[test]
    fn every_command_in_the_sources_is_in_a_list() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut used = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let quote = match path.extension().and_then(|end| end.to_str()) {
                    Some("rs") if path.file_name().is_some_and(|name| name != "rights.rs") => '"',
                    Some("lua") => '\'',
                    _ => continue,
                };
                let source = fs::read_to_string(path).unwrap();
                // Tests run as owners, so their commands do not count. A command that a function names only as the key
                // of a table is called elsewhere.
                used.extend(commands(source.split("#[cfg(test)]").next().unwrap_or_default(), quote));
            }
        }
        let listed: BTreeSet<&str> = READING.iter().chain(WRITING).chain(&COPYING).copied().collect();
        let is_unlisted = |word: &&&str| !listed.contains(**word) && !OF_OWNERS.contains(*word);
        let unlisted: Vec<_> = used.iter().filter(is_unlisted).collect();
        assert_eq!(unlisted, [&""; 0], "a command that no user has the right to");
        let is_unused =
            |word: &&&str| !word.contains('|') && !OTHERWISE.contains(word) && !used.contains(**word);
        let unused: Vec<_> = listed.iter().filter(is_unused).collect();
        assert_eq!(unused, [&""; 0], "a right that is not needed");
    }
}
