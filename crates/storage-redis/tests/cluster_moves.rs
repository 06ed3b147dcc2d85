//! Slots of a cluster that migrate from one master to another, while events are appended, read, trimmed and erased.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;
mod load;

use conformance::Draft;
use domain::{
    Entity, Filter,
    ports::{Atomicity, EventStore as _, GroupHolds, ReadRequest, TrimRequest},
    retention::RetentionRule,
};
use event_replay_storage_redis::RedisEngine;
use harness::{Entry, namespace_at};
use load::{Answers, Load, log, patient};
use servers::{Binary, Cluster, Config};
use store::Store;
use tokio::{sync::OnceCell, task::JoinSet};

/// One cluster for these tests. It ends with the process.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

async fn shared() -> &'static Cluster {
    CLUSTER.get_or_init(async || Cluster::start(&Binary::default(), &Config::default()).await.unwrap()).await
}

/// To a function, a key that has migrated to another node looks like a key that does not exist. So a look-up of a term
/// by a function would find nothing, without an error.
#[tokio::test]
async fn what_a_term_names_is_found_after_every_key_that_goes() {
    load::seeded();
    let cluster = shared().await;
    for round in 0..load::rounds(4, 60) {
        let (namespace, slot) = namespace_at(cluster, round % 3).await;
        let store = Store::new(RedisEngine::create(patient(&namespace)).await.unwrap());
        let event = |n: usize| Draft::new(&format!("e{n}")).with("userId", "u1").event();
        store.append(&(0..8).map(event).collect::<Vec<_>>(), Atomicity::Each).await.unwrap();
        let look = async |at: &str| {
            let user = [("user".to_owned(), ["u1".to_owned()].into())];
            let filters = [
                Filter { entities: user.into(), ..Filter::default() },
                Filter { event_ids: (0..8).map(|n| format!("e{n}")).collect(), ..Filter::default() },
            ];
            for filter in filters {
                let page = store.read(&ReadRequest::new(filter.clone(), 100)).await.unwrap();
                assert_eq!(page.events.len(), 8, "{at}: {filter:?}");
            }
        };
        look("before").await;
        let moved = cluster.begin_move(slot, (round + 1) % 3).await.unwrap();
        let mut keys = moved.keys().await.unwrap();
        fastrand::shuffle(&mut keys);
        for key in &keys {
            moved.carry_key(key).await.unwrap();
            look(key).await;
        }
        moved.finish().await.unwrap();
        look("after").await;
    }
}

/// While a slot migrates, keys are read on the node that has them. A function with keys on both nodes waits.
#[tokio::test]
async fn a_slot_is_moved_while_events_are_appended_and_read() {
    let cluster = shared().await;
    let (namespace, slot) = namespace_at(cluster, 1).await;
    let mut load = Load::begin(&patient(&namespace), Answers::AreNeverLost).await;
    for round in 0..load::rounds(3, 60) {
        let to = [2, 0, 1][round % 3];
        let moved = cluster.begin_move(slot, to).await.unwrap();
        while moved.carry(fastrand::usize(1..40)).await.unwrap() > 0 {
            load.look().await;
            if round == 0 && moved.left().await.unwrap() < 50 {
                // The migration stops here, and readers continue over both nodes.
                let walks = load.walks();
                while load.walks() < walks + 2 {
                    load.look().await;
                }
            }
        }
        moved.finish().await.unwrap();
        load.goes_on().await;
    }
    let books = load.end().await;
    let log = log(&namespace).await;
    let settled = books.check(&log).unwrap();
    println!("moved: {settled:?} of {}", books.len());
    assert_eq!(settled.lost, 0);
    let store = Store::new(RedisEngine::open(namespace.options()).await.unwrap());
    assert_eq!(store.verify(None).await.unwrap().findings, []);
}

/// A node treats a removed key like a key that has migrated. So a function that removes a key and uses it again would
/// fail half done, and Redis does not undo its writes. A rewrite of a chunk would then leave the log without the
/// chunk.
#[tokio::test]
async fn a_function_is_refused_before_it_begins_as_long_as_its_slot_is_on_the_way() {
    let mut tasks = JoinSet::new();
    for binary in Binary::all().unwrap() {
        tasks.spawn(async move { is_refused_whole(&binary).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

async fn is_refused_whole(binary: &Binary) {
    let cluster = Cluster::start(binary, &Config::default()).await.unwrap();
    let (namespace, slot) = namespace_at(&cluster, 1).await;
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    store.append(&Draft::many("e", 3), Atomicity::Each).await.unwrap();
    // Loads the functions into the other node too.
    Store::new(RedisEngine::create(namespace_at(&cluster, 0).await.0.options()).await.unwrap());
    // The state in the middle of an erasure: one entry is copied, and two are missing.
    let key = |name: &str| namespace.key(name);
    let [(id, fields), ..]: [Entry; 1] =
        namespace.say::<Vec<Entry>>(&["XRANGE", &key("log:0"), "-", "1"]).await.try_into().unwrap();
    let (log, copy) = (key("log:0"), key("copy:0"));
    let mut words: Vec<&[u8]> = vec![b"XADD", copy.as_bytes(), id.as_bytes()];
    words.extend(fields.iter().flat_map(|(name, value)| [name.as_bytes(), value]));
    let _: String = namespace.command(&words).await;
    let _: i64 = namespace.say(&["HSET", &key("holes"), "0", "0"]).await;
    let _: i64 = namespace.say(&["SADD", &key("unscrubbed"), "0"]).await;
    let function = namespace.function("rewrite").await;
    let (meta, holes, unscrubbed) = (key("meta"), key("holes"), key("unscrubbed"));
    let words = ["FCALL", &function, "5", &meta, &log, &copy, &holes, &unscrubbed, "0", "1000", &id, "0"];

    let moved = cluster.begin_move(slot, 0).await.unwrap();
    let refused = cluster_says(&cluster, 1, &[&words]).await.unwrap_err();
    assert_eq!(refused.code(), Some("TRYAGAIN"), "{binary}, all keys are here: {refused}");
    while moved.carry(100).await.unwrap() > 0 {}
    let refused = cluster_says(&cluster, 0, &[&["ASKING"], &words]).await.unwrap_err();
    assert_eq!(refused.code(), Some("TRYAGAIN"), "{binary}, all keys are there: {refused}");
    moved.finish().await.unwrap();

    let (_, entries) = namespace.log().await;
    assert_eq!(entries.len(), 3, "{binary}");
    assert!(cluster_says(&cluster, 0, &[&words]).await.is_ok(), "{binary}: the slot has arrived");
    let (_, entries) = namespace.log().await;
    assert_eq!(entries.len(), 3, "{binary}");
    let copies: u64 = namespace.say(&["EXISTS", &copy]).await;
    assert_eq!(copies, 0, "{binary}");
}

/// Sends some commands to a node in one piece, and returns the answer to the last one.
async fn cluster_says(
    cluster: &Cluster,
    node: usize,
    commands: &[&[&str]],
) -> Result<redis::Value, redis::RedisError> {
    let client = redis::Client::open(cluster.nodes()[node].url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut pipeline = redis::Pipeline::new();
    for words in commands {
        pipeline.cmd(words[0]).arg(&words[1..]);
    }
    let mut values = connection.send_packed_commands(&pipeline, 0, commands.len()).await?;
    values.pop().unwrap().extract_error()
}

/// A removal consists of many calls, each of them atomic. Migrations during the removal do not change its result.
#[tokio::test]
async fn events_are_trimmed_and_erased_while_their_slot_is_moved() {
    let cluster = shared().await;
    let (namespace, slot) = namespace_at(cluster, 0).await;
    let store = Store::new(RedisEngine::create(patient(&namespace)).await.unwrap());
    let event = |n: usize| Draft::new(&format!("e{n}")).with("userId", format!("u{}", n % 20)).event();
    for batch in (0..1_000).map(event).collect::<Vec<_>>().chunks(100) {
        store.append(batch, Atomicity::Each).await.unwrap();
    }
    let removing = tokio::spawn({
        let store = store.clone();
        async move {
            for user in 0..10usize {
                store.erase(&Entity::new("user", format!("u{user}"))).await.unwrap();
                let max_events = Some(450 - 10 * user as u64);
                let rule = RetentionRule { max_events, ..RetentionRule::default() };
                let (holds, groups) = (Vec::new(), GroupHolds::default());
                let request = TrimRequest { rule, holds, limit: 7, dry_run: false, groups };
                while store.trim(&request).await.unwrap().more {}
            }
        }
    });
    for to in [1, 2, 0, 1] {
        let moved = cluster.begin_move(slot, to).await.unwrap();
        while moved.carry(10).await.unwrap() > 0 {}
        moved.finish().await.unwrap();
    }
    removing.await.unwrap();
    let mut kept: Vec<usize> = (0..1_000).collect();
    for user in 0..10 {
        kept.retain(|n| n % 20 != user);
        kept.drain(..kept.len().saturating_sub(450 - 10 * user));
    }
    let kept: Vec<String> = kept.iter().map(|n| format!("e{n}")).collect();
    let page = store.read(&ReadRequest::new(Filter::default(), 1_000)).await.unwrap();
    let left: Vec<&str> = page.events.iter().map(|stored| stored.event.id()).collect();
    assert_eq!(left, kept);
    assert_eq!(store.info().await.unwrap().events, kept.len() as u64);
    assert_eq!(store.verify(None).await.unwrap().findings, []);
}
