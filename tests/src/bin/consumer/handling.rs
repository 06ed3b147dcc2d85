//! The handler, which follows the instructions in the data of the event.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use domain::{Delivery, HandlerError, ports::EventHandler};
use serde_json::Value;

use crate::{effects::Effects, watched::Lapses};

pub(crate) struct Handling {
    pub(crate) effects: Arc<Effects>,
    pub(crate) lapses: Arc<Lapses>,
    /// A fault: the handler returns success before it handles the event.
    pub(crate) early: bool,
}

#[async_trait]
impl EventHandler for Handling {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let json: Value = serde_json::from_str(delivery.stored.event.json())?;
        let takes = Duration::from_millis(json["data"]["takesMs"].as_u64().unwrap_or(0));
        if self.early {
            let (effects, delivery) = (Arc::clone(&self.effects), delivery.clone());
            tokio::spawn(async move {
                tokio::time::sleep(takes).await;
                let _ = effects.delivery("handled", &delivery, false);
            });
            return Ok(());
        }
        let begun = Instant::now();
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        let fails = match json["data"]["does"].as_str() {
            Some("aborts") => std::process::abort(),
            Some("fails") => true,
            Some("failsOnce") => delivery.attempt == 1,
            _ => false,
        };
        let what = if fails { "failed" } else { "handled" };
        self.effects.delivery(what, delivery, self.lapses.any_since(begun))?;
        if fails { Err(HandlerError::retry("on purpose")) } else { Ok(()) }
    }
}
