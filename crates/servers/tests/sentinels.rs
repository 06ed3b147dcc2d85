//! Servers and sentinels connect to each other. A replica replaces the master on request or after a failure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use event_replay_servers::{Binary, Config, Sentinels};
use support::{connect, get, set};

#[tokio::test]
async fn every_installed_program_forms_a_trio_and_changes_roles() {
    // The programs run concurrently, because each test waits most of the time.
    let mut tasks = tokio::task::JoinSet::new();
    for binary in Binary::all().unwrap() {
        tasks.spawn(async move { roles_change(&binary).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
}

async fn roles_change(binary: &Binary) {
    let trio = Sentinels::start(binary, &Config::default()).await.unwrap();
    assert_eq!(trio.master().await, Some(0));
    assert_eq!((trio.servers().len(), trio.sentinels().len()), (3, 3));
    set(&mut connect(&trio.servers()[0].url()).await.unwrap(), "key", "kept").await.unwrap();

    let new = trio.promote().await.unwrap();
    assert_ne!(new, 0);
    assert_eq!(trio.master().await, Some(new));
    trio.until_ready().await.unwrap();
    for server in trio.servers() {
        let value = get(&mut connect(&server.url()).await.unwrap(), "key").await.unwrap();
        assert_eq!(value.as_deref(), Some("kept"), "{binary}");
    }
    let refused = set(&mut connect(&trio.servers()[0].url()).await.unwrap(), "key", "no").await.unwrap_err();
    assert_eq!(refused.code(), Some("READONLY"), "{binary}");
}

#[tokio::test]
async fn a_killed_master_is_replaced_and_comes_back_as_a_replica() {
    let mut trio = Sentinels::start(&Binary::default(), &Config::default()).await.unwrap();
    trio.servers_mut()[0].kill().await.unwrap();
    let new = trio.until_master_is_not(0).await.unwrap();
    set(&mut connect(&trio.servers()[new].url()).await.unwrap(), "key", "kept").await.unwrap();
    trio.servers_mut()[0].restart().await.unwrap();
    trio.until_ready().await.unwrap();
    let value = get(&mut connect(&trio.servers()[0].url()).await.unwrap(), "key").await.unwrap();
    assert_eq!(value.as_deref(), Some("kept"));
}

#[tokio::test]
async fn a_sentinel_remembers_the_master() {
    let mut trio = Sentinels::start(&Binary::default(), &Config::default()).await.unwrap();
    let new = trio.promote().await.unwrap();
    for sentinel in trio.sentinels_mut() {
        sentinel.restart().await.unwrap();
    }
    assert_eq!(trio.master().await, Some(new));
}

#[tokio::test]
async fn a_trio_asks_for_its_password() {
    let password = "p@ss:/word?#%é";
    let config = Config { password: Some(password.to_owned()), ..Config::default() };
    let trio = Sentinels::start(&Binary::default(), &config).await.unwrap();
    assert!(
        trio.url().starts_with("redis+sentinel://:p%40ss%3A%2Fword%3F%23%25%C3%A9@127.0.0.1:"),
        "{}",
        trio.url()
    );
    assert!(trio.url().ends_with("/0?master=events"), "{}", trio.url());
    let new = trio.promote().await.unwrap();
    let bare = format!("redis://127.0.0.1:{}", trio.servers()[new].port());
    match connect(&bare).await {
        Ok(mut connection) => {
            assert_eq!(get(&mut connection, "key").await.unwrap_err().code(), Some("NOAUTH"));
        }
        Err(refused) => assert_eq!(refused.code(), Some("NOAUTH")),
    }
}
