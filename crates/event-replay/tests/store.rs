//! Tests of opening stores by location, waiting for groups, and retention.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{sync::Arc, time::Duration};

use event_replay::{
    Bus, Clock, Housekeeper, HousekeepingOptions, OpenError, OpenOptions, RedisAccess, RetentionRule,
    RuntimeClock, Stores,
    domain::{Filter, ports::ReadRequest},
    open, open_with, replay_manager, schemas_of, until_idle,
    validation::SchemaRegistry,
};

fn event(id: &str) -> Vec<u8> {
    format!(
        r#"{{"id":"{id}","type":"shelf.counted","version":"1.0","timestamp":"2024-01-15T10:30:00Z","source":"warehouse","metadata":{{}},"data":{{"count":1}}}}"#
    )
    .into_bytes()
}

async fn publish(store: &Arc<dyn Stores>, ids: &[&str]) {
    let bus = Bus::builder(store.clone()).enable_validation(false).build().await.unwrap();
    for id in ids {
        bus.publish(&event(id)).await.unwrap();
    }
    bus.close().await;
}

async fn ids(store: &Arc<dyn Stores>) -> Vec<String> {
    let page = store.read(&ReadRequest::new(Filter::default(), 100)).await.unwrap();
    page.events.iter().map(|stored| stored.event.id().to_owned()).collect()
}

#[tokio::test]
async fn a_file_is_made_once_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("below/events.db");
    let location = format!("sqlite:{}?namespace=blue", path.display());
    publish(&open(&location).await.unwrap(), &["e1"]).await;
    let again = open(&location).await.unwrap();
    assert_eq!(ids(&again).await, ["e1"]);
    assert_eq!(again.info().await.unwrap().namespace, "blue");
    let Err(OpenError::Storage { location: named, .. }) = open(&format!("sqlite:{}", path.display())).await
    else {
        panic!("another namespace in the same file was opened");
    };
    assert_eq!(named.to_string(), format!("sqlite:{}", path.display()));
}

#[tokio::test]
async fn each_store_in_memory_is_another() {
    let (one, other) = (open("memory:").await.unwrap(), open("memory:").await.unwrap());
    publish(&one, &["e1"]).await;
    assert_eq!((ids(&one).await.len(), ids(&other).await.len()), (1, 0));
}

#[tokio::test]
async fn what_names_no_store_is_refused_and_not_repeated() {
    let Err(error) = open("postgres://me:secret@host").await else { panic!("postgres was opened") };
    assert!(matches!(error, OpenError::Location(_)), "{error}");
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test]
async fn a_store_on_redis_is_opened_by_its_address_and_password() {
    let config = servers::Config { password: Some("secret".to_owned()), ..servers::Config::default() };
    let server = servers::Server::start(&servers::Binary::default(), &config).await.unwrap();
    let location = format!("redis://127.0.0.1:{}?namespace=blue", server.port());
    let Err(OpenError::Storage { failure, .. }) = open(&location).await else { panic!("without a password") };
    assert_eq!(failure.kind(), "denied", "{failure}");
    let redis = RedisAccess { password: Some("secret".to_owned()), ..RedisAccess::default() };
    let options = OpenOptions { redis, ..OpenOptions::default() };
    publish(&open_with(&location, options.clone()).await.unwrap(), &["e1"]).await;
    let again = open_with(&location, options).await.unwrap();
    assert_eq!(ids(&again).await, ["e1"]);
    assert_eq!(again.info().await.unwrap().namespace, "blue");
    publish(&open(&server.url()).await.unwrap(), &["e2"]).await;
    assert_eq!(ids(&again).await, ["e1"], "another namespace");
}

#[tokio::test]
async fn several_servers_are_opened_as_one_store() {
    let config = servers::Config { password: Some("secret".to_owned()), ..servers::Config::default() };
    let trio = servers::Sentinels::start(&servers::Binary::default(), &config).await.unwrap();
    let cluster = servers::Cluster::start(&servers::Binary::default(), &config).await.unwrap();
    for location in [trio.url() + "&namespace=blue", cluster.url() + "?namespace=blue"] {
        publish(&open(&location).await.unwrap(), &["e1"]).await;
        let bare = location.replace(":secret@", "");
        let Err(OpenError::Storage { failure, .. }) = open(&bare).await else { panic!("without a password") };
        assert_eq!(failure.kind(), "denied", "{failure}");
        let redis = RedisAccess { password: Some("secret".to_owned()), ..RedisAccess::default() };
        let options = OpenOptions { redis, ..OpenOptions::default() };
        let again = open_with(&bare, options).await.unwrap();
        assert_eq!(ids(&again).await, ["e1"]);
        assert_eq!(again.info().await.unwrap().namespace, "blue");
    }
}

#[tokio::test]
async fn a_redis_that_cannot_be_reached_is_an_error_without_its_password() {
    let began = std::time::Instant::now();
    let Err(error) = open("redis://me:hunter2@127.0.0.1:1").await else { panic!("nobody was opened") };
    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(error.to_string().starts_with("redis://me:***@127.0.0.1:1: "), "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[tokio::test]
async fn waiting_for_a_group_that_is_not_there_is_an_error() {
    let store = open("memory:").await.unwrap();
    let error = until_idle(&*store, "nobody").await.unwrap_err();
    assert_eq!(error.to_string(), r#"there is no group named "nobody""#);
}

#[tokio::test]
async fn schemas_that_were_added_to_a_store_serve_beside_the_built_in_ones() {
    use event_replay::domain::ports::{Describes, SchemaRecord};
    let store = open("memory:").await.unwrap();
    let record = SchemaRecord {
        event_type: "shelf.counted".to_owned(),
        event_version: None,
        document: r#"{"properties":{"count":{"minimum":2}}}"#.to_owned(),
        pointer: String::new(),
        describes: Describes::Data,
        added_at: "2024-01-15T10:30:00Z".parse().unwrap(),
    };
    let says = |schemas: &SchemaRegistry| {
        let event = serde_json::from_slice(&event("e1")).unwrap();
        let errors = schemas.validate_event(&event).errors;
        errors.iter().map(|violation| violation.rule.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(says(&schemas_of(&*store).await.unwrap()), ["schema"]);
    store.put_schema(record).await.unwrap();
    assert_eq!(says(&schemas_of(&*store).await.unwrap()), ["minimum"]);
}

#[tokio::test(start_paused = true)]
async fn a_housekeeper_applies_its_rules_at_once_and_again_and_not_after_it_was_stopped() {
    let clock: Arc<dyn Clock> = Arc::new(RuntimeClock::default());
    let options = OpenOptions { clock: clock.clone(), ..OpenOptions::default() };
    let store = open_with("memory:", options).await.unwrap();
    publish(&store, &["e1", "e2", "e3"]).await;
    let options = HousekeepingOptions {
        rules: vec![RetentionRule { max_events: Some(2), ..RetentionRule::default() }],
        every: Duration::from_secs(60),
    };
    let keeper = Housekeeper::spawn(replay_manager(&store, None, clock), options);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ids(&store).await, ["e2", "e3"]);
    publish(&store, &["e4"]).await;
    tokio::time::sleep(Duration::from_secs(50)).await;
    assert_eq!(ids(&store).await, ["e2", "e3", "e4"], "its time has not come");
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(ids(&store).await, ["e3", "e4"]);
    keeper.stop().await;
    publish(&store, &["e5"]).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(ids(&store).await, ["e3", "e4", "e5"]);
}
