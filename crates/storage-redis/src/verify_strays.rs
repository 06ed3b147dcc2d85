//! Verification of keys that nothing leads to: events that wait and are not on the schedule, lists of dead letters and
//! groups' keys whose groups are on no list.
//!
//! Only a look at every key of the server finds those. Services and operators need that right (`SCAN`) for nothing else, and
//! it shows the keys of other namespaces: for a user who lacks it, this much is left out.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{StorageFailure, ports::VerifyReport};
use redis::{FromRedisValue, Pipeline, Value, cmd};

use crate::{
    dead_letter_rows::{STATES, state_key},
    failure::shape,
    group_rows::{answers, groups_key},
    store::RedisStore,
    verify_looks::{Found, look_twice, or_damage},
    verify_schedule::waits_unnamed,
};

/// Keys that one round trip looks at.
const LOOKED_AT_ONCE: usize = 1_000;

/// Adds what is found to a report.
pub(crate) async fn check(store: &RedisStore, report: &mut VerifyReport) -> Result<(), StorageFailure> {
    let checked = check_keys(store, report).await;
    match or_damage(checked, report) {
        Err(StorageFailure::Denied(_)) => Ok(()),
        other => other,
    }
}

/// The keys of the namespace that need somebody to name them, by what that is.
#[derive(Default)]
struct Keys {
    /// Ids of events that wait.
    waiting: BTreeSet<String>,
    /// Groups that have lists of dead letters.
    with_letters: BTreeSet<String>,
    /// Groups that have keys of their own, each with one of them.
    groups: BTreeMap<String, String>,
}

impl Keys {
    /// Notes a key, which begins as every key of the namespace does.
    fn note(&mut self, key: &str, prefix: &str) {
        let Some(name) = key.strip_prefix(prefix) else { return };
        let of = |text: &str| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            String::from_utf8(bytes).ok()
        };
        if let Some(id) = name.strip_prefix("wait:") {
            self.waiting.extend(of(id));
        } else if let Some(rest) = name.strip_prefix("dl:in:") {
            self.with_letters.extend(rest.split_once(':').and_then(|(_, group)| of(group)));
        } else if let Some(rest) = name.strip_prefix("g:") {
            let group = rest.split_once(':').and_then(|(group, _)| of(group));
            self.groups.extend(group.map(|group| (group, key.to_owned())));
        }
    }
}

async fn check_keys(store: &RedisStore, report: &mut VerifyReport) -> Result<(), StorageFailure> {
    let (mut place, prefix) = (0u64, store.keys().named(""));
    let (mut with_letters, mut groups) = (BTreeSet::new(), BTreeMap::new());
    loop {
        let mut scan = cmd("SCAN");
        scan.arg(place).arg("MATCH").arg(format!("{prefix}[dgw]*")).arg("COUNT").arg(LOOKED_AT_ONCE);
        let (next, names): (u64, Vec<String>) =
            FromRedisValue::from_redis_value(store.link().read(&scan).await?).map_err(|_| shape("a scan"))?;
        let mut keys = Keys::default();
        names.iter().for_each(|name| keys.note(name, &prefix));
        let waiting: Vec<String> = keys.waiting.into_iter().collect();
        look_twice(store, &waiting, |store, id| Box::pin(waits_unnamed(store, id)), report).await?;
        with_letters.extend(keys.with_letters);
        groups.extend(keys.groups);
        if next == 0 {
            break;
        }
        place = next;
    }
    let with_letters: Vec<String> = with_letters.into_iter().collect();
    let groups: Vec<(String, String)> = groups.into_iter().collect();
    look_twice(store, &with_letters, |store, group| Box::pin(letters_of(store, group)), report).await?;
    look_twice(store, &groups, |store, group| Box::pin(keys_of(store, group)), report).await
}

/// What is wrong with a group that has lists of dead letters. Of those with records the walk over records tells.
async fn letters_of(store: &RedisStore, group: &String) -> Result<Vec<Found>, StorageFailure> {
    let lists = STATES.map(|(state, _)| state_key(store.keys(), group, state));
    let mut command = cmd("EXISTS");
    command.arg(&lists[..]);
    if store.link().read(&command).await? == Value::Int(0)
        || store.groups_with_letters().await?.contains(group)
    {
        return Ok(Vec::new());
    }
    Ok(vec![(None, format!("there are lists of dead letters of the group {group:?}, which is on no list"))])
}

/// What is wrong with a group that has a key of its own.
async fn keys_of(store: &RedisStore, (group, key): &(String, String)) -> Result<Vec<Found>, StorageFailure> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("EXISTS").arg(key).cmd("HEXISTS").arg(groups_key(store.keys())).arg(group);
    Ok(match answers(store.link().read_all(&pipeline).await?)? {
        [Value::Int(1), Value::Int(0)] => {
            vec![(None, format!("there are keys of the group {group:?}, which does not exist"))]
        }
        _ => Vec::new(),
    })
}
