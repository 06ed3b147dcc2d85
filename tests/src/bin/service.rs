//! The service of `docs/rust.md` in a process of its own: it charges orders, and emits payments. It runs until its stdin
//! ends or it is killed. The tests kill this process.
//!
//! STORE is a file, or the URL of a store on Redis. The command is `test-service STORE GROUP NUMBER EFFECTS [name=…]
//! [lease=MS] [fault=random-ids]`. Each charge is one line of the file EFFECTS (see `effects`). With the fault, each
//! attempt emits its payment under an id of its own, so that the tests can prove that they detect duplicates.

#[path = "consumer/effects.rs"]
mod effects;
#[path = "consumer/stdin.rs"]
mod stdin;

use std::{collections::HashMap, time::Duration};

use anyhow::{Context as _, anyhow};
use effects::Effects;
use event_replay::{Backoff, EmitError, PublishError, prelude::*};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("order.placed")]
struct OrderPlaced {
    #[entity(key)]
    user_id: String,
    number: u64,
    takes_ms: u64,
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("payment.captured")]
struct PaymentCaptured {
    #[entity(key)]
    user_id: String,
    number: u64,
}

/// The least time between an emission and the answer with the fault.
const CONTROL_WAIT: Duration = Duration::from_millis(200);

struct Gateway {
    effects: Effects,
    has_random_ids: bool,
}

async fn charge(order: OrderPlaced, cx: Context<Gateway>) -> Result {
    let (gateway, takes) = (cx.state(), Duration::from_millis(order.takes_ms));
    tokio::time::sleep(takes).await;
    gateway.effects.delivery("handled", cx.delivery(), false)?;
    let emit = cx.emit(PaymentCaptured { user_id: order.user_id, number: order.number });
    let emit = if gateway.has_random_ids { emit.id(format!("{:032x}", fastrand::u128(..))) } else { emit };
    match emit.await {
        // A conflict is a defect. The end of the process shows it to the test.
        Err(EmitError::Publish(PublishError::Conflict { .. })) => std::process::exit(9),
        emitted => emitted?,
    };
    // A kill in this time comes after the emission and before the answer. The control must be sure to meet one.
    tokio::time::sleep(if gateway.has_random_ids { takes.max(CONTROL_WAIT) } else { takes }).await;
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [store, group, number, effects, options @ ..] = args.as_slice() else {
        return Err(anyhow!("STORE GROUP NUMBER EFFECTS [name=…] [lease=MS] [fault=random-ids]"));
    };
    let options: HashMap<&str, &str> = options.iter().filter_map(|option| option.split_once('=')).collect();
    let lease = options.get("lease").map_or(Ok(3_000), |lease| lease.parse::<u64>()).context("lease")?;
    let name = options.get("name").map_or_else(|| format!("p{number}"), |name| (*name).to_owned());
    let gateway = Gateway {
        effects: Effects::open(effects, number)?,
        has_random_ids: options.get("fault") == Some(&"random-ids"),
    };
    let location = if store.contains("://") { store.clone() } else { format!("sqlite:{store}") };
    let service = Service::new("shop", open(&location).await?, gateway)
        .event::<OrderPlaced>()
        .event::<PaymentCaptured>()
        .group(group, |g| {
            let fast = Backoff::new(Duration::from_millis(50), Duration::from_millis(200));
            let g = g.on(charge).max_retries(5).backoff(fast).start_at(StartAt::Earliest);
            g.lease(Duration::from_millis(lease)).consumer_name(name)
        })
        .start()
        .await?;
    service.run_until(stdin::end()).await?;
    Ok(())
}
