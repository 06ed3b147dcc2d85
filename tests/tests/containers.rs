//! Redis in containers. The image of this machine starts, keeps data, and is removed afterwards.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a panic is a test's way to fail"
)]

#[path = "support/running.rs"]
mod running;

use redis::AsyncCommands;
use running::Running;

#[tokio::test]
async fn a_redis_answers_wherever_it_runs() {
    for running in Running::everywhere().await {
        let client = redis::Client::open(running.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let pong: String = redis::cmd("PING").query_async(&mut connection).await.unwrap();
        assert_eq!(pong, "PONG", "{}", running.name());
        let () = connection.set("key", "value").await.unwrap();
        let value: String = connection.get("key").await.unwrap();
        assert_eq!(value, "value", "{}", running.name());
        println!("{} answers", running.name());

        running.stop().await;
        assert!(client.get_multiplexed_async_connection().await.is_err(), "it still answers");
    }
}

#[tokio::test]
async fn a_container_takes_settings() {
    let Some(running) = Running::container(&["--appendonly", "yes", "--maxmemory", "50mb"]).await else {
        return;
    };
    let mut connection =
        redis::Client::open(running.url()).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut asked = redis::cmd("CONFIG");
    asked.arg("GET").arg("appendonly").arg("maxmemory").arg("save");
    let said: std::collections::BTreeMap<String, String> = asked.query_async(&mut connection).await.unwrap();
    assert_eq!(said["appendonly"], "yes");
    assert_eq!(said["maxmemory"], (50 << 20).to_string());
    assert_eq!(said["save"], "");
    running.stop().await;
}
