//! A service with accounts in its own database: `ledger STORE DATABASE`, such as `ledger sqlite:events.db
//! postgres://localhost/shop`. It adds each order to the account of its user, and publishes the payment. Each effect
//! happens once, even if the process is killed at any time.

use std::time::Duration;

use event_replay::prelude::*;
use event_replay_sqlx::{Relay, RelayOptions, create_tables, once, put};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sqlx::{PgPool, SqlitePool};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("order.placed")]
struct OrderPlaced {
    #[entity(key)]
    user_id: String,
    cents: i64,
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("payment.captured")]
struct PaymentCaptured {
    #[entity(key)]
    user_id: String,
    /// Which payment of the user it is, from 1.
    number: i64,
    cents: i64,
}

const ACCOUNT: &str = "CREATE TABLE IF NOT EXISTS account (user_id TEXT PRIMARY KEY, orders BIGINT NOT NULL, cents BIGINT NOT NULL)";
const ADD: &str = "INSERT INTO account VALUES ($1, 1, $2) ON CONFLICT (user_id) \
                   DO UPDATE SET orders = account.orders + 1, cents = account.cents + excluded.cents RETURNING orders";

/// Defines the service for a kind of database. Only the begin of a transaction differs.
macro_rules! ledger {
    ($name:ident, $pool:ty, $begin:literal) => {
        async fn $name(store: &str, database: &str) -> Result<(), Box<dyn std::error::Error>> {
            async fn charge(order: OrderPlaced, cx: Context<$pool>) -> Result {
                let mut tx = cx.state().begin_with($begin).await?;
                if once(&cx, &mut tx).await? {
                    let OrderPlaced { user_id, cents } = order;
                    let number =
                        sqlx::query_scalar(ADD).bind(&user_id).bind(cents).fetch_one(&mut *tx).await?;
                    put(&mut tx, cx.emit(PaymentCaptured { user_id, number, cents })).await?;
                }
                tx.commit().await?;
                Ok(())
            }

            let pool = <$pool>::connect(database).await?;
            create_tables(&pool).await?;
            sqlx::query(ACCOUNT).execute(&pool).await?;
            let service = Service::new("ledger", open(store).await?, pool.clone())
                .event::<OrderPlaced>()
                .event::<PaymentCaptured>()
                .group("accounts", |g| {
                    g.on(charge).start_at(StartAt::Earliest).max_retries(20).lease(Duration::from_secs(1))
                })
                .start()
                .await?;
            let relay = Relay::start(pool, service.bus().clone(), RelayOptions::default());
            let stopped = service.run_until(shutdown_signal()).await;
            relay.stop().await;
            Ok(stopped?)
        }
    };
}

ledger!(on_sqlite, SqlitePool, "BEGIN IMMEDIATE");
ledger!(on_postgres, PgPool, "BEGIN");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(store), Some(database)) = (arguments.next(), arguments.next()) else {
        return Err("usage: ledger STORE DATABASE".into());
    };
    match database.starts_with("postgres:") {
        true => on_postgres(&store, &database).await,
        false => on_sqlite(&store, &database).await,
    }
}
