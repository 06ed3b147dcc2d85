//! A service that depends on `event-replay` by path, and on no other crate of the workspace. Its argument is the location
//! of its store: `a-service-outside redis://localhost`.

use std::{error::Error, sync::Arc};

use event_replay::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod orders;

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("order.placed")]
struct OrderPlaced {
    #[entity(key)]
    user_id: String,
    cents: u64,
}

#[derive(Event, Serialize, Deserialize, JsonSchema, Debug, PartialEq)]
#[event("payment.captured")]
struct PaymentCaptured {
    #[entity(key)]
    user_id: String,
    cents: u64,
}

async fn charge(order: OrderPlaced, cx: Context<()>) -> Result {
    cx.emit(PaymentCaptured { user_id: order.user_id, cents: order.cents }).await?;
    Ok(())
}

fn shop(store: Arc<dyn Stores>) -> Service<()> {
    Service::new("shop", store, ())
        .event::<OrderPlaced>()
        .event::<PaymentCaptured>()
        .group("payments", |g| g.on(charge).max_retries(5))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let store = open(&std::env::args().nth(1).unwrap_or("memory:".to_owned())).await?;
    let service = shop(store).start().await?;
    orders::place(&service).await?;
    Ok(service.stop().await?)
}

#[cfg(test)]
mod tests {
    use event_replay::testing::TestService;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_order_is_captured() {
        let service = TestService::start(shop).await;
        service.emit(OrderPlaced { user_id: "ann".into(), cents: 500 }).await.unwrap();
        service.settle().await;
        let captured = PaymentCaptured { user_id: "ann".into(), cents: 500 };
        assert_eq!(service.published::<PaymentCaptured>().await, [captured]);
        service.stop().await;
    }
}
