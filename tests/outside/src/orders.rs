//! Orders for the service, and a report of what became of them.

use std::error::Error;

use event_replay::{Filter, RunningService};

use crate::OrderPlaced;

/// Places three orders, waits for their payments, and replays every order. Prints the numbers of orders and payments.
pub(crate) async fn place(service: &RunningService<()>) -> Result<(), Box<dyn Error>> {
    for cents in [300, 500, 700] {
        let order = OrderPlaced { user_id: "ann".into(), cents };
        service.emit(order).correlation(format!("wf-{cents}")).await?;
    }
    service.settle().await?;
    let replayed = service.replay(Filter::types(["order.placed"])).into("payments").run().await?;
    service.settle().await?;
    let payments = service.history(Filter::types(["payment.captured"])).await?;
    let health = service.health().await?;
    println!(
        "{} orders replayed, {} failed; {} payments; healthy: {}",
        replayed.total_events,
        replayed.failed_replays,
        payments.events().len(),
        health.is_healthy
    );
    Ok(())
}
