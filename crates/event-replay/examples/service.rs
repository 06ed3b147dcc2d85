//! A complete service: `cargo run --example service -- sqlite:shop.db`. It charges orders, emits payments, and sends
//! receipts.
#![allow(missing_docs, reason = "the names of the events say what they are")]

use std::{error::Error, sync::Arc};

use event_replay::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub mod gateway;
use gateway::{Declined, Gateway};

#[rustfmt::skip]
#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("order.placed")]
pub struct OrderPlaced { #[entity(key)] pub user_id: String, #[entity] pub order_id: String, #[schemars(range(min = 1))] pub cents: u64 }

#[rustfmt::skip]
#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("payment.captured")]
pub struct PaymentCaptured { #[entity(key)] pub user_id: String, #[entity] pub payment_id: String, pub cents: u64 }

async fn charge(order: OrderPlaced, cx: Context<Gateway>) -> Result {
    let (gateway, key) = (cx.state(), cx.event().id());
    let payment_id =
        gateway.charge(&order.user_id, order.cents, key).await.permanent_if(Declined::is_final)?;
    cx.emit(PaymentCaptured { user_id: order.user_id, payment_id, cents: order.cents }).await?;
    Ok(())
}

async fn receipt(payment: PaymentCaptured, cx: Context<Gateway>) -> Result {
    cx.state().send_receipt(&payment.user_id, payment.cents).await;
    Ok(())
}

/// Defines the service over any store. Tests use it too.
pub fn shop(store: Arc<dyn Stores>, gateway: Gateway) -> Service<Gateway> {
    Service::new("shop", store, gateway)
        .event::<OrderPlaced>()
        .event::<PaymentCaptured>()
        .group("payments", |g| g.on(charge).max_retries(5))
        .group("mailer", |g| g.on_live(receipt))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = open(&std::env::args().nth(1).unwrap_or("memory:".to_owned())).await?;
    shop(store, Gateway::default()).start().await?.run_until(shutdown_signal()).await?;
    Ok(())
}
