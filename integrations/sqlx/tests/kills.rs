//! Transactions of the example `ledger` while its process is killed several times. Each effect happens once. A full run
//! has 10,000 transactions and 13 kills.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

mod support;

use std::{collections::BTreeMap, time::Duration};

use event_replay::{Event, Filter, domain::ports::ReadRequest, prelude::*};
use event_replay_sqlx::set_aside;
use sqlx::{PgPool, SqlitePool};
use support::{Ledger, Postgres};

const USERS: i64 = 50;

/// Returns a number from the environment, `EVENT_REPLAY_EVENTS` or `EVENT_REPLAY_ROUNDS`.
fn number(name: &str, otherwise: i64) -> i64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Returns the number of orders. A full run has 10,000.
fn orders_in_all() -> i64 {
    number("EVENT_REPLAY_EVENTS", 1_000)
}

/// Returns the number of kills of the ledger. A full run has 13.
fn kills() -> i64 {
    number("EVENT_REPLAY_ROUNDS", 4)
}

/// Publishes the orders. User `u7` has the orders 7, 57, 107 and so on. The cents of an order are its number.
async fn publish_orders(store: &str) {
    let service = Service::new("shop", open(store).await.unwrap(), ())
        .settings(BusSettings { enable_validation: false, ..BusSettings::default() })
        .start()
        .await
        .unwrap();
    let orders = (0..orders_in_all()).map(|n| {
        let order = Event::new("order.placed").user(format!("u{}", n % USERS));
        service.emit(order.data(&serde_json::json!({ "cents": n }))).into_future()
    });
    for order in futures_util::future::join_all(orders).await {
        order.unwrap();
    }
    service.stop().await.unwrap();
}

/// Returns the numbers and cents of the payments in the log, by user, in log order.
async fn payments(store: &str) -> BTreeMap<String, Vec<(i64, i64)>> {
    let store = open(store).await.unwrap();
    let mut request = ReadRequest::new(Filter::types(["payment.captured"]), 1000);
    let mut payments: BTreeMap<String, Vec<(i64, i64)>> = BTreeMap::new();
    loop {
        let page = store.read(&request).await.unwrap();
        for stored in page.events {
            let event = stored.event.value().unwrap();
            let payment =
                (event["data"]["number"].as_i64().unwrap(), event["data"]["cents"].as_i64().unwrap());
            payments.entry(event["userId"].as_str().unwrap().to_owned()).or_default().push(payment);
        }
        match page.next {
            Some(next) => request.after = Some(next),
            None => return payments,
        }
    }
}

/// Runs the ledger on a database, and kills it while it works. `crash` crashes the database server, if there is one.
macro_rules! is_killed {
    ($pool:ty, $store:expr, $database:expr, $crash:expr) => {{
        let (store, database): (&str, &str) = ($store, $database);
        let mut ledger = Ledger::start(store, database);
        let pool = <$pool>::connect_lazy(database).unwrap();
        let orders = async || -> i64 {
            // The ledger creates the tables, and the database server may still be starting.
            let sum = "SELECT CAST(coalesce(sum(orders), 0) AS BIGINT) FROM account";
            sqlx::query_scalar(sum).fetch_one(&pool).await.unwrap_or(0)
        };
        for kill in 1..=kills() {
            // The kill happens at a random place of each part.
            let until = (kill - 1) * orders_in_all() / kills() + fastrand::i64(1..orders_in_all() / kills());
            while orders().await < until {
                assert!(ledger.is_running(), "the ledger ended by itself");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            drop(ledger);
            if kill % 4 == 0 {
                $crash();
            }
            ledger = Ledger::start(store, database);
        }
        let waiting = "SELECT CAST(count(*) AS BIGINT) FROM event_replay_outbox";
        while orders().await < orders_in_all()
            || sqlx::query_scalar::<_, i64>(waiting).fetch_one(&pool).await.unwrap() > 0
        {
            assert!(ledger.is_running(), "the ledger ended by itself");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(ledger);

        let accounts: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT user_id, orders, cents FROM account").fetch_all(&pool).await.unwrap();
        assert_eq!(accounts.len() as i64, USERS);
        for (user, orders, cents) in accounts {
            let first: i64 = user.trim_start_matches('u').parse().unwrap();
            let expected = (0..orders_in_all() / USERS).map(|n| first + n * USERS).sum::<i64>();
            assert_eq!(
                (orders, cents),
                (orders_in_all() / USERS, expected),
                "{user}: each order counts once"
            );
        }
        let noted: i64 = sqlx::query_scalar("SELECT CAST(count(*) AS BIGINT) FROM event_replay_inbox")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(noted, orders_in_all());
        assert!(set_aside(&pool, 10).await.unwrap().is_empty());
        let payments = payments(store).await;
        assert_eq!(payments.len() as i64, USERS);
        for (user, payments) in payments {
            let first: i64 = user.trim_start_matches('u').parse().unwrap();
            let expected: Vec<(i64, i64)> =
                (0..orders_in_all() / USERS).map(|n| (n + 1, first + n * USERS)).collect();
            assert_eq!(payments, expected, "{user}: each payment once, in order");
        }
    }};
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_on_sqlite_have_each_effect_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("events.db").display());
    publish_orders(&store).await;
    let database = format!("sqlite:{}?mode=rwc", folder.path().join("own.db").display());
    is_killed!(SqlitePool, &store, &database, || ());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn transactions_on_postgres_have_each_effect_once() {
    let Some(server) = Postgres::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", folder.path().join("events.db").display());
    publish_orders(&store).await;
    is_killed!(PgPool, &store, &server.url(), || server.crash());
}
