//! A store on the master that sentinels name, during failovers of that master.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod harness;
mod load;

use std::time::{Duration, Instant};

use conformance::{Draft, ManualClock};
use domain::{
    StorageFailure,
    ports::{Atomicity, EventStore as _, EventStoreError, RetentionMode},
};
use event_replay_storage_redis::{RedisEngine, RedisOptions, Tls};
use harness::{Namespace, RedisHarness};
use load::{Answers, Load, log, patient};
use servers::{Binary, Certificates, ClientCertificates, Config, Proxy, Sentinels};
use store::Store;
use tokio::{
    sync::OnceCell,
    time::{sleep, timeout},
};

/// Longer than any wait in these tests. A test that reaches this limit has failed.
const LONG: Duration = Duration::from_secs(60);

mod laws {
    conformance::suite!(crate::of_all_laws().await);
}

/// One trio for the laws. It ends with the process.
static TRIO: OnceCell<Sentinels> = OnceCell::const_new();

async fn of_all_laws() -> RedisHarness {
    let trio = TRIO.get_or_init(async || trio().await).await;
    RedisHarness::over(trio.url(), trio.servers())
}

async fn trio() -> Sentinels {
    Sentinels::start(&Binary::default(), &Config::default()).await.unwrap()
}

fn namespace(trio: &Sentinels) -> Namespace {
    RedisHarness::over(trio.url(), trio.servers()).namespace(ManualClock::default(), RetentionMode::History)
}

#[tokio::test]
async fn writers_and_readers_go_on_by_themselves_when_a_replica_is_promoted() {
    let trio = trio().await;
    let namespace = namespace(&trio);
    let mut load = Load::begin(&patient(&namespace), Answers::MayBeLost).await;
    let mut new = 0;
    for round in 0..load::rounds(1, 10) {
        if round > 0 {
            trio.until_ready().await.unwrap();
        }
        new = trio.promote().await.unwrap();
        load.goes_on().await;
    }
    let books = load.end().await;
    // The old master may still call itself a master, so plain commands go to the new one.
    let namespace = Namespace { servers: vec![trio.servers()[new].url()], ..namespace };
    let log = log(&namespace).await;
    let settled = books.check(&log).unwrap();
    println!("promoted {new}: {settled:?} of {}", books.len());
    assert!(log.epoch >= 2, "the log epoch is raised where something may have been lost");
}

#[tokio::test]
async fn writers_and_readers_go_on_by_themselves_when_the_master_is_killed() {
    let mut trio = trio().await;
    let namespace = namespace(&trio);
    let mut load = Load::begin(&patient(&namespace), Answers::MayBeLost).await;
    let mut killed = None;
    for round in 0..load::rounds(1, 10) {
        let master = trio.master().await.unwrap();
        killed = Some(master);
        trio.servers_mut()[master].kill().await.unwrap();
        load.goes_on().await;
        if round + 1 < load::rounds(1, 10) {
            trio.servers_mut()[master].restart().await.unwrap();
            trio.until_ready().await.unwrap();
        }
    }
    let books = load.end().await;
    // The sentinel that is asked may learn of the new master after the clients do.
    let new = trio.until_master_is_not(killed.unwrap()).await.unwrap();
    let namespace = Namespace { servers: vec![trio.servers()[new].url()], ..namespace };
    let log = log(&namespace).await;
    let settled = books.check(&log).unwrap();
    println!("killed: {settled:?} of {}", books.len());
    assert!(log.epoch >= 2);
}

/// A store that is opened during a failover waits until it can be opened.
#[tokio::test]
async fn a_store_is_opened_while_a_replica_takes_its_masters_place() {
    let mut trio = trio().await;
    let namespace = namespace(&trio);
    RedisEngine::create(namespace.options()).await.unwrap();
    trio.servers_mut()[0].kill().await.unwrap();
    let store = Store::new(RedisEngine::create(patient(&namespace)).await.unwrap());
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
}

/// A master that hangs is detected by its silence. The outcomes of its writes in progress are unknown, and calls
/// continue on another server. When the master continues, it is a replica.
#[tokio::test]
async fn writers_and_readers_go_on_by_themselves_when_the_master_hangs() {
    let trio = trio().await;
    let namespace = namespace(&trio);
    let options = RedisOptions { timeout: Duration::from_secs(4), ..namespace.options() };
    let mut load = Load::begin(&options, Answers::MayBeLate).await;
    trio.servers()[0].pause().await.unwrap();
    let new = trio.until_master_is_not(0).await.unwrap();
    load.goes_on().await;
    trio.servers()[0].resume().unwrap();
    load.goes_on().await;
    let books = load.end().await;
    let namespace = Namespace { servers: vec![trio.servers()[new].url()], ..namespace };
    println!("hung: {:?} of {}", books.check(&log(&namespace).await).unwrap(), books.len());
}

/// A caller that waits for events is woken by events on the new master.
#[tokio::test]
async fn a_subscription_follows_the_master() {
    let trio = trio().await;
    let namespace = namespace(&trio);
    let engine = RedisEngine::create(patient(&namespace)).await.unwrap();
    let store = Store::new(engine.clone());
    let head = store.head().await.unwrap();
    assert_eq!(store.changed(&head, Duration::from_millis(50)).await.unwrap(), head);
    let bell = namespace.key("bell");
    let subscribed = async |server: usize| {
        let namespace = Namespace { servers: vec![trio.servers()[server].url()], ..namespace.clone() };
        let (_, count): (String, u64) = namespace.say(&["PUBSUB", "NUMSUB", &bell]).await;
        count
    };
    assert_eq!(subscribed(0).await, 1);
    let new = trio.promote().await.unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.changed(&head, LONG).await }
    });
    let since = Instant::now();
    while subscribed(new).await == 0 {
        assert!(since.elapsed() < LONG, "the subscription stays where it was");
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(subscribed(0).await, 0);
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
    let woken = timeout(LONG, waiting).await.unwrap().unwrap().unwrap();
    assert_eq!(woken, store.head().await.unwrap());
    engine.close().await;
}

#[tokio::test]
async fn one_sentinel_is_enough_and_a_replica_is_none() {
    let mut trio = trio().await;
    let namespace = namespace(&trio);
    trio.sentinels_mut()[0].kill().await.unwrap();
    trio.sentinels()[1].pause().await.unwrap();
    let store = Store::new(RedisEngine::create(namespace.options()).await.unwrap());
    store.append(&Draft::many("e", 3), Atomicity::Each).await.unwrap();
    assert_eq!(store.info().await.unwrap().events, 3);
    trio.sentinels()[1].resume().unwrap();

    // A sentinel that names a replica is not trusted. The call asks again until its timeout.
    let port = trio.servers()[1].port();
    let options = RedisOptions {
        url: trio.url().replace("master=events", "master=other"),
        timeout: Duration::from_millis(700),
        ..namespace.options()
    };
    let words = ["SENTINEL", "MONITOR", "other", "127.0.0.1", &port.to_string(), "1"];
    let sentinel = Namespace { servers: vec![trio.sentinels()[2].url()], ..namespace.clone() };
    let _: String = sentinel.say(&words).await;
    let failure = RedisEngine::open(options).await.unwrap_err();
    assert!(matches!(&failure, StorageFailure::Unavailable(_)), "{failure}");
}

#[tokio::test]
async fn who_cannot_be_found_is_an_error_with_its_reason() {
    let mut trio = trio().await;
    let namespace = namespace(&trio);
    let unknown = RedisOptions { url: trio.url().replace("events", "nobody"), ..namespace.options() };
    let failure = RedisEngine::open(unknown).await.unwrap_err();
    assert!(matches!(&failure, StorageFailure::Foreign(text) if text.contains("\"nobody\"")), "{failure}");

    let short = RedisOptions { timeout: Duration::from_millis(700), ..namespace.options() };
    let store = Store::new(RedisEngine::create(short.clone()).await.unwrap());
    for sentinel in trio.sentinels_mut() {
        sentinel.kill().await.unwrap();
    }
    // While the master stays the same, no call needs the sentinels.
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
    let failure = RedisEngine::open(short).await.unwrap_err();
    assert!(matches!(&failure, StorageFailure::Unavailable(text) if text.contains("sentinel")), "{failure}");
    for server in trio.servers_mut() {
        server.kill().await.unwrap();
    }
    // The answer to the first call is lost with the connection. The second call cannot be sent, so it was not done.
    let first = store.append(&Draft::many("f", 1), Atomicity::Each).await.unwrap_err();
    let second = store.append(&Draft::many("f", 1), Atomicity::Each).await.unwrap_err();
    let kinds = [&first, &second].map(|error| match error {
        EventStoreError::Storage(failure) => failure.kind(),
        other => panic!("{other}"),
    });
    assert_eq!(kinds[1], "unavailable", "{first} {second}");
}

#[tokio::test]
async fn servers_and_sentinels_have_passwords_of_their_own() {
    let password = "p@ss:/word?#%é";
    let config = Config { password: Some(password.to_owned()), ..Config::default() };
    let trio = Sentinels::start(&Binary::default(), &config).await.unwrap();
    for sentinel in trio.sentinels() {
        let sentinel = Namespace { servers: vec![sentinel.url()], ..namespace(&trio) };
        let _: String = sentinel.say(&["ACL", "SETUSER", "default", "resetpass", ">other"]).await;
    }
    let options = namespace(&trio).options();
    let refused = RedisEngine::create(options.clone()).await.unwrap_err();
    assert!(matches!(&refused, StorageFailure::Denied(text) if text.contains("sentinel")), "{refused}");

    let sentinel_password = Some("other".to_owned());
    let store =
        Store::new(RedisEngine::create(RedisOptions { sentinel_password, ..options.clone() }).await.unwrap());
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
    let wrong = RedisOptions {
        password: Some("wrong".to_owned()),
        sentinel_password: Some("other".to_owned()),
        ..options
    };
    let refused = RedisEngine::create(wrong).await.unwrap_err();
    assert!(matches!(&refused, StorageFailure::Denied(_)), "{refused}");
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_told_and_not_sent_again() {
    let trio = trio().await;
    let proxy = Proxy::start(trio.servers()[0].port()).await.unwrap();
    for sentinel in trio.sentinels() {
        let sentinel = Namespace { servers: vec![sentinel.url()], ..namespace(&trio) };
        let words = ["SENTINEL", "MONITOR", "far", "127.0.0.1", &proxy.port().to_string(), "2"];
        let _: String = sentinel.say(&words).await;
    }
    let url = trio.url().replace("master=events", "master=far");
    let store =
        Store::new(RedisEngine::create(RedisOptions { url, ..patient(&namespace(&trio)) }).await.unwrap());
    load::answers::are_told(&store, &proxy).await;
}

/// A user of the sentinels with only the rights that the documentation names.
#[tokio::test]
async fn a_user_of_the_sentinels_needs_the_rights_that_the_documentation_names() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).unwrap();
    let rights = "+sentinel|get-master-addr-by-name +subscribe &+switch-master";
    assert!(page.contains(&format!("at the sentinels `{rights}`")));
    let trio = trio().await;
    let namespace = namespace(&trio);
    for sentinel in trio.sentinels() {
        let sentinel = Namespace { servers: vec![sentinel.url()], ..namespace.clone() };
        let mut words = vec!["ACL", "SETUSER", "asker", "on", ">secret", "resetchannels", "-@all"];
        words.extend(rights.split(' '));
        let _: String = sentinel.say(&words).await;
        let _: String = sentinel.say(&["ACL", "SETUSER", "default", "resetpass", ">other"]).await;
    }
    let asker = RedisOptions {
        sentinel_user: Some("asker".to_owned()),
        sentinel_password: Some("secret".to_owned()),
        ..patient(&namespace)
    };
    let store = Store::new(RedisEngine::create(asker).await.unwrap());
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
    // The client listens to all three sentinels.
    let since = Instant::now();
    for sentinel in trio.sentinels() {
        let url = sentinel.url_with("default", "other");
        let sentinel = Namespace { servers: vec![url], ..namespace.clone() };
        let listens = |line: &str| line.contains(" user=asker ") && line.contains(" sub=1 ");
        while !sentinel.say::<String>(&["CLIENT", "LIST"]).await.lines().any(listens) {
            assert!(since.elapsed() < LONG, "nobody listens");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// All connections use TLS.
#[tokio::test]
async fn servers_and_sentinels_may_speak_tls() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::make(folder.path()).unwrap();
    let tls = Some(certificates.tls(ClientCertificates::Ignored));
    let trio = Sentinels::start(&Binary::default(), &Config { tls, ..Config::default() }).await.unwrap();
    assert!(trio.url().starts_with("rediss+sentinel://"));
    let tls = Tls { ca: Some(certificates.ca.clone()), client: None };
    let options = RedisOptions { tls, timeout: LONG, ..RedisOptions::new(trio.url()) };
    let store = Store::new(RedisEngine::create(options).await.unwrap());
    store.append(&Draft::many("e", 1), Atomicity::Each).await.unwrap();
    let new = trio.promote().await.unwrap();
    assert_eq!(store.info().await.unwrap().events, 1);
    assert_ne!(new, 0);
}
