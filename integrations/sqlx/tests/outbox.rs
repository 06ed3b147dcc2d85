//! The guarantees of inbox and outbox, on SQLite and PostgreSQL.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{sync::Arc, time::Duration};

use event_replay::{Backoff, Event, Filter, Group, NewEvent, prelude::*, testing::TestService};
use event_replay_sqlx::{PutError, Relay, create_tables, forget_handled, once, put, set_aside};
use sqlx::{PgPool, SqlitePool};
use support::Postgres;

fn noted(user: &str, number: i64) -> NewEvent {
    Event::new("line.noted").user(user).data(&serde_json::json!({ "number": number }))
}

fn shop<S: Send + Sync + 'static>(store: Arc<dyn Stores>, state: S) -> Service<S> {
    let settings = BusSettings { enable_validation: false, ..BusSettings::default() };
    Service::new("shop", store, state).settings(settings)
}

/// Returns the numbers in the events of a user, in log order.
async fn numbers<S: Send + Sync + 'static>(service: &TestService<S>, user: &str) -> Vec<i64> {
    let lines = service.history(Filter::types(["line.noted"]).entity("user", user)).await.unwrap();
    let number = |stored: &event_replay::StoredEvent| {
        stored.event.value().unwrap()["data"]["number"].as_i64().unwrap()
    };
    lines.events().iter().map(number).collect()
}

/// Defines the tests for a kind of database. `open` returns a pool, and a guard that keeps the database.
macro_rules! promises {
    ($module:ident, $pool:ty, $begin:literal, $open:expr) => {
        mod $module {
            use super::*;

            #[tokio::test]
            async fn a_redelivery_finds_the_note_of_the_first() {
                let Some((pool, _kept)) = $open().await else { return };
                async fn count(order: Event, cx: Context<$pool>) -> Result {
                    let mut tx = cx.state().begin_with($begin).await?;
                    if once(&cx, &mut tx).await? {
                        sqlx::query("INSERT INTO effect VALUES ($1)").bind(order.id()).execute(&mut *tx).await?;
                    }
                    // The first attempt loses all its writes.
                    if cx.attempt() == 1 && !cx.is_replay() {
                        tx.rollback().await?;
                        return Err(HandlerError::retry("the power went out"));
                    }
                    tx.commit().await?;
                    Ok(())
                }
                let state = pool.clone();
                let service = TestService::start(|store| {
                    let soon = Backoff::new(Duration::from_millis(1), Duration::from_millis(2));
                    let group = |g: Group<$pool>| g.on_types(["order.placed"], count).backoff(soon);
                    shop(store, state).group("one", group).group("other", group)
                })
                .await;
                let start = service.store().head().await.unwrap();
                for n in 0..20 {
                    service.emit(Event::new("order.placed").user(format!("u{n}"))).await.unwrap();
                }
                service.settle().await;
                let effects = async || -> i64 {
                    sqlx::query_scalar("SELECT CAST(count(*) AS BIGINT) FROM effect").fetch_one(&pool).await.unwrap()
                };
                assert_eq!(effects().await, 40, "each of two groups has notes of its own");
                service.store().reset_group("one", &start).await.unwrap();
                service.settle().await;
                assert_eq!(effects().await, 40);
                assert_eq!(forget_handled(&pool, Duration::from_secs(3600)).await.unwrap(), 0);
                service.stop().await;
            }

            #[tokio::test]
            async fn what_was_rolled_back_is_never_published() {
                let Some((pool, _kept)) = $open().await else { return };
                let service = TestService::start(|store| shop(store, ())).await;
                for number in 0..6 {
                    let mut tx = pool.begin_with($begin).await.unwrap();
                    put(&mut tx, service.emit(noted("ann", number))).await.unwrap();
                    match number % 2 {
                        0 => tx.commit().await.unwrap(),
                        _ => tx.rollback().await.unwrap(),
                    }
                    assert!(numbers(&service, "ann").await.is_empty(), "nothing is published before a relay does it");
                }
                assert_eq!(Relay::step(&pool, service.bus(), 2).await.unwrap(), 2);
                assert_eq!(Relay::step(&pool, service.bus(), 100).await.unwrap(), 1);
                assert_eq!(Relay::step(&pool, service.bus(), 100).await.unwrap(), 0);
                assert_eq!(numbers(&service, "ann").await, [0, 2, 4]);
                service.stop().await;
            }

            #[tokio::test]
            async fn an_event_that_was_published_and_not_removed_is_not_stored_again() {
                let Some((pool, _kept)) = $open().await else { return };
                let service = TestService::start(|store| shop(store, ())).await;
                let mut tx = pool.begin_with($begin).await.unwrap();
                put(&mut tx, service.emit(noted("ann", 1)).id("line-1")).await.unwrap();
                tx.commit().await.unwrap();
                // The relay was killed after it published the event, and before it removed the event from the outbox.
                let json: String = sqlx::query_scalar("SELECT json FROM event_replay_outbox").fetch_one(&pool).await.unwrap();
                service.bus().publish(json.as_bytes()).await.unwrap();
                assert_eq!(Relay::step(&pool, service.bus(), 100).await.unwrap(), 1);
                assert_eq!(numbers(&service, "ann").await, [1]);
                service.stop().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn events_of_a_key_are_published_in_the_order_of_commits() {
                let Some((pool, _kept)) = $open().await else { return };
                let service = Arc::new(TestService::start(|store| shop(store, ())).await);
                let mut writers = tokio::task::JoinSet::new();
                for writer in 0..8 {
                    let (pool, service) = (pool.clone(), Arc::clone(&service));
                    writers.spawn(async move {
                        for n in 0..20 {
                            let user = format!("u{}", (writer + n) % 3);
                            let mut tx = pool.begin_with($begin).await.unwrap();
                            let number = sqlx::query_scalar(
                                "INSERT INTO counter VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = counter.n + 1 RETURNING n",
                            );
                            let number: i64 = number.bind(&user).fetch_one(&mut *tx).await.unwrap();
                            put(&mut tx, service.emit(noted(&user, number))).await.unwrap();
                            tokio::task::yield_now().await;
                            tx.commit().await.unwrap();
                        }
                    });
                }
                // Two relays run while transactions commit.
                while !writers.is_empty() {
                    let relay = || Relay::step(&pool, service.bus(), 7);
                    let (one, other) = tokio::join!(relay(), relay());
                    (one.unwrap(), other.unwrap());
                    while writers.try_join_next().is_some_and(|writer| writer.is_ok()) {}
                }
                while Relay::step(&pool, service.bus(), 100).await.unwrap() > 0 {}
                let mut all = 0;
                for user in ["u0", "u1", "u2"] {
                    let numbers = numbers(&service, user).await;
                    all += numbers.len();
                    assert_eq!(numbers, Vec::from_iter(1..=numbers.len() as i64), "{user}");
                }
                assert_eq!(all, 160);
            }

            #[tokio::test]
            async fn an_event_that_the_log_refuses_is_set_aside_and_its_key_goes_on() {
                let Some((pool, _kept)) = $open().await else { return };
                let service = TestService::start(|store| shop(store, ())).await;
                for number in 1..=3 {
                    let mut tx = pool.begin_with($begin).await.unwrap();
                    let line = service.emit(noted("ann", number)).id(format!("line-{number}"));
                    put(&mut tx, line).await.unwrap();
                    tx.commit().await.unwrap();
                }
                service.emit(Event::new("other.type").user("ann")).id("line-2").await.unwrap();
                assert_eq!(Relay::step(&pool, service.bus(), 100).await.unwrap(), 3);
                assert_eq!(numbers(&service, "ann").await, [1, 3]);
                let aside = set_aside(&pool, 10).await.unwrap();
                let [refused] = &aside[..] else { panic!("{aside:?}") };
                assert_eq!(refused.event_id, "line-2");
                assert!(refused.failure.contains("stored already with other content"), "{}", refused.failure);
                assert_eq!(Relay::step(&pool, service.bus(), 100).await.unwrap(), 0, "it is not tried again");
                service.stop().await;
            }

            #[tokio::test]
            async fn what_an_outbox_cannot_keep_is_refused() {
                let Some((pool, _kept)) = $open().await else { return };
                let service = TestService::start(|store| shop(store, ())).await;
                let mut tx = pool.begin_with($begin).await.unwrap();
                let delayed = service.emit(noted("ann", 1)).delay(Duration::from_secs(1));
                let refused = put(&mut tx, delayed).await.unwrap_err();
                assert!(matches!(&refused, PutError::Emit(error) if error.kind() == "options-not-kept"), "{refused}");
                tx.commit().await.unwrap();
                assert_eq!(Relay::step(&pool, service.bus(), 100).await.unwrap(), 0);
                service.stop().await;
            }
        }
    };
}

/// Creates the tables of a database, including the tables of the tests.
macro_rules! tables {
    ($pool:expr) => {
        create_tables($pool).await.unwrap();
        create_tables($pool).await.unwrap();
        for table in
            ["CREATE TABLE effect (event_id TEXT)", "CREATE TABLE counter (id TEXT PRIMARY KEY, n BIGINT)"]
        {
            sqlx::query(table).execute($pool).await.unwrap();
        }
    };
}

async fn sqlite() -> Option<(SqlitePool, tempfile::TempDir)> {
    let folder = tempfile::tempdir().unwrap();
    let pool = SqlitePool::connect(&format!("sqlite:{}?mode=rwc", folder.path().join("own.db").display()))
        .await
        .unwrap();
    tables!(&pool);
    Some((pool, folder))
}

async fn postgres() -> Option<(PgPool, Postgres)> {
    let server = Postgres::start()?;
    let pool = PgPool::connect(&server.url()).await.unwrap();
    tables!(&pool);
    Some((pool, server))
}

promises!(on_sqlite, SqlitePool, "BEGIN IMMEDIATE", sqlite);
promises!(on_postgres, PgPool, "BEGIN", postgres);
