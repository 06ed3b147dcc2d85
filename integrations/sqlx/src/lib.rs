//! Inbox and outbox of a service in its own database, with [`sqlx`]: SQLite and PostgreSQL.
//!
//! A handler is called at least once. Its effect happens once if the same transaction records the event ([`once`]).
//! Events that result from the effect are written to an outbox in the same transaction ([`put`]). A [`Relay`] publishes
//! them afterwards, at least once and in order per ordering key. Their ids are fixed, so the log contains each of them
//! once.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use event_replay::prelude::*;
//! use event_replay_sqlx::{Relay, RelayOptions, create_tables, once, put};
//! use schemars::JsonSchema;
//! use serde::{Deserialize, Serialize};
//! use sqlx::{Sqlite, SqlitePool};
//!
//! #[derive(Event, Serialize, Deserialize, JsonSchema)]
//! #[event("order.placed")]
//! struct OrderPlaced {
//!     #[entity(key)]
//!     user_id: String,
//!     cents: i64,
//! }
//!
//! #[derive(Event, Serialize, Deserialize, JsonSchema)]
//! #[event("payment.captured")]
//! struct PaymentCaptured {
//!     #[entity(key)]
//!     user_id: String,
//!     cents: i64,
//! }
//!
//! async fn charge(order: OrderPlaced, cx: Context<SqlitePool>) -> Result {
//!     let mut tx = cx.state().begin_with("BEGIN IMMEDIATE").await?;
//!     if once(&cx, &mut tx).await? {
//!         sqlx::query("INSERT INTO payment VALUES ($1, $2)").bind(&order.user_id).bind(order.cents).execute(&mut *tx).await?;
//!         put(&mut tx, cx.emit(PaymentCaptured { user_id: order.user_id, cents: order.cents })).await?;
//!     }
//!     tx.commit().await?;
//!     Ok(())
//! }
//!
//! # let folder = tempfile::tempdir()?;
//! # let location = format!("sqlite:{}?mode=rwc", folder.path().join("own.db").display());
//! let pool = SqlitePool::connect(&location).await?;
//! create_tables::<Sqlite>(&pool).await?;
//! sqlx::query("CREATE TABLE payment (user_id TEXT, cents BIGINT)").execute(&pool).await?;
//! let service = Service::new("shop", open("memory:").await?, pool.clone())
//!     .event::<OrderPlaced>()
//!     .event::<PaymentCaptured>()
//!     .group("payments", |g| g.on(charge))
//!     .start()
//!     .await?;
//! let relay = Relay::start(pool.clone(), service.bus().clone(), RelayOptions::default());
//! service.emit(OrderPlaced { user_id: "ann".into(), cents: 500 }).await?;
//! service.settle().await?;
//! relay.stop().await;
//! let paid: i64 = sqlx::query_scalar("SELECT sum(cents) FROM payment").fetch_one(&pool).await?;
//! assert_eq!(paid, 500);
//! service.stop().await?;
//! # Ok(()) }
//! # #[cfg(not(feature = "sqlite"))] fn main() {}
//! ```
//!
//! # Versions
//! `sqlx` with SQLite and the SQLite store of `event-replay` link the same C library. Both must therefore use one
//! version of `libsqlite3-sys`. Cargo finds one unless the lock file pins another version: sqlx 0.9 is compatible with
//! rusqlite 0.39. If Cargo finds none, run `cargo update -p rusqlite --precise 0.39.0`. This restriction does not exist
//! for `sqlx` with PostgreSQL only.

mod database;
mod inbox;
mod outbox;
mod relay;

pub use database::{OutboxDatabase, SetAside, create_tables};
pub use inbox::{forget_handled, once};
pub use outbox::{PutError, put, set_aside};
pub use relay::{Relay, RelayError, RelayOptions};
