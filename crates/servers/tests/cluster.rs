//! Six nodes form a cluster. Replicas are promoted, and slots are moved step by step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use event_replay_servers::{Binary, Cluster, Config, Failover};
use support::{connect, get, set};

/// A key in a slot of node 2.
const KEY: &str = "{foo}1";
const SLOT: u16 = 12_182;

async fn ask(cluster: &Cluster, node: usize, key: &str) -> Result<Option<String>, String> {
    let mut connection = connect(&cluster.nodes()[node].url()).await.unwrap();
    get(&mut connection, key).await.map_err(|error| error.code().unwrap_or_default().to_owned())
}

async fn tell(cluster: &Cluster, node: usize, key: &str, value: &str) {
    set(&mut connect(&cluster.nodes()[node].url()).await.unwrap(), key, value).await.unwrap();
}

#[tokio::test]
async fn every_installed_program_forms_a_cluster_and_moves_a_slot() {
    for binary in Binary::all().unwrap() {
        let cluster = Cluster::start(&binary, &Config::default()).await.unwrap();
        assert_eq!(cluster.slot_of(KEY).await.unwrap(), SLOT);
        assert_eq!(cluster.master_of(SLOT).await, Some(2));
        for node in 0..3 {
            assert_eq!(cluster.replicas_of(node).await, [node + 3], "{binary}");
        }
        for number in 0..40 {
            tell(&cluster, 2, &format!("{{foo}}{number}"), "kept").await;
        }
        assert_eq!(ask(&cluster, 0, KEY).await.unwrap_err(), "MOVED");

        let moved = cluster.begin_move(SLOT, 0).await.unwrap();
        assert_eq!((moved.from(), moved.to(), moved.left().await.unwrap()), (2, 0, 40));
        moved.carry_key(KEY).await.unwrap();
        assert_eq!(ask(&cluster, 2, KEY).await.unwrap_err(), "ASK", "{binary}");
        assert_eq!(ask(&cluster, 0, KEY).await.unwrap_err(), "MOVED", "{binary}");
        assert_eq!(moved.carry(20).await.unwrap(), 20);
        assert_eq!(moved.left().await.unwrap(), 19);
        moved.finish().await.unwrap();

        assert_eq!(cluster.master_of(SLOT).await, Some(0), "{binary}");
        cluster.until_ready().await.unwrap();
        assert_eq!(ask(&cluster, 2, KEY).await.unwrap_err(), "MOVED");
        for number in 0..40 {
            assert_eq!(ask(&cluster, 0, &format!("{{foo}}{number}")).await.unwrap().as_deref(), Some("kept"));
        }
    }
}

#[tokio::test]
async fn replicas_are_promoted_in_three_ways() {
    let cluster = Cluster::start(&Binary::default(), &Config::default()).await.unwrap();
    tell(&cluster, 2, KEY, "kept").await;
    for (replica, how) in [(3, Failover::Agreed), (4, Failover::Forced), (5, Failover::Takeover)] {
        cluster.promote(replica, how).await.unwrap();
        cluster.until_ready().await.unwrap();
        assert_eq!(cluster.replicas_of(replica).await, [replica - 3], "{how:?}");
    }
    assert_eq!(cluster.master_of(SLOT).await, Some(5));
    assert_eq!(ask(&cluster, 5, KEY).await.unwrap().as_deref(), Some("kept"));
    assert_eq!(ask(&cluster, 2, KEY).await.unwrap_err(), "MOVED");
}

#[tokio::test]
async fn the_replica_of_a_killed_master_takes_its_place() {
    let mut cluster = Cluster::start(&Binary::default(), &Config::default()).await.unwrap();
    cluster.nodes_mut()[2].kill().await.unwrap();
    cluster.until_master(5).await.unwrap();
    cluster.until_ready().await.unwrap();
    tell(&cluster, 5, KEY, "kept").await;
    cluster.nodes_mut()[2].restart().await.unwrap();
    cluster.until_ready().await.unwrap();
    assert_eq!(cluster.replicas_of(5).await, [2]);
    assert_eq!(cluster.master_of(SLOT).await, Some(5));
}

#[tokio::test]
async fn a_move_that_is_given_up_leaves_the_slot_where_it_was() {
    let config = Config { password: Some("p@ss:/word?#%é".to_owned()), ..Config::default() };
    let cluster = Cluster::start(&Binary::default(), &config).await.unwrap();
    assert!(
        cluster.url().starts_with("redis+cluster://:p%40ss%3A%2Fword%3F%23%25%C3%A9@127.0.0.1:"),
        "{}",
        cluster.url()
    );
    assert_eq!(cluster.url().matches("127.0.0.1").count(), 6);
    tell(&cluster, 2, KEY, "kept").await;
    let moved = cluster.begin_move(SLOT, 1).await.unwrap();
    moved.carry_key("{foo}none").await.unwrap();
    moved.abandon().await.unwrap();
    cluster.until_ready().await.unwrap();
    assert_eq!(cluster.master_of(SLOT).await, Some(2));
    // A complete move with all keys works, with or without a password.
    cluster.begin_move(SLOT, 1).await.unwrap().finish().await.unwrap();
    assert_eq!(ask(&cluster, 1, KEY).await.unwrap().as_deref(), Some("kept"));
}
