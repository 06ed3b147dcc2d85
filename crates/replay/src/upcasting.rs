//! A replay target that upcasts each event before another target gets it.

use async_trait::async_trait;
use domain::{
    ports::{DeliveryOutcome, EventUpcaster, ReplayDelivery, ReplayTarget, TargetError},
    upcast::upcast_stored,
};

/// Upcasts each event before the inner target gets it. An event that cannot be upcast has failed, and the inner target
/// does not get it.
pub(crate) struct UpcastingTarget<'a> {
    inner: &'a mut dyn ReplayTarget,
    upcaster: &'a dyn EventUpcaster,
}

/// A batch after upcasting.
struct Upcast {
    /// The deliveries that the inner target gets, in order.
    deliveries: Vec<ReplayDelivery>,
    /// For each delivery of the whole batch, the error of its upcaster.
    failures: Vec<Option<String>>,
}

impl<'a> UpcastingTarget<'a> {
    pub(crate) fn new(inner: &'a mut dyn ReplayTarget, upcaster: &'a dyn EventUpcaster) -> Self {
        Self { inner, upcaster }
    }

    /// Upcasts a batch. Returns none if no event of the batch needs it.
    fn upcast(&self, batch: &[ReplayDelivery]) -> Option<Upcast> {
        let needs_it = |delivery: &ReplayDelivery| {
            let event = &delivery.stored.event;
            self.upcaster.target(event.event_type(), event.version()).is_some()
        };
        if !batch.iter().any(needs_it) {
            return None;
        }
        let (mut deliveries, mut failures) = (Vec::new(), Vec::new());
        for delivery in batch {
            let upcast = upcast_stored(self.upcaster, &delivery.stored);
            failures.push(upcast.as_ref().err().map(ToString::to_string));
            deliveries.extend(
                upcast.ok().map(|stored| ReplayDelivery { stored: stored.into_owned(), ..delivery.clone() }),
            );
        }
        Some(Upcast { deliveries, failures })
    }
}

impl Upcast {
    /// Puts the failures of the upcaster between the outcomes of the inner target. A missing or surplus outcome stays
    /// missing or surplus, so that the run detects it.
    fn merge<T>(self, outcomes: Vec<T>, failed: impl Fn(String) -> T) -> Vec<T> {
        let mut outcomes = outcomes.into_iter();
        let mut merged: Vec<T> = Vec::with_capacity(self.failures.len());
        for failure in self.failures {
            match failure {
                Some(error) => merged.push(failed(error)),
                None => merged.extend(outcomes.next()),
            }
        }
        merged.extend(outcomes);
        merged
    }
}

#[async_trait]
impl ReplayTarget for UpcastingTarget<'_> {
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError> {
        let Some(upcast) = self.upcast(batch) else { return self.inner.deliver(batch).await };
        let outcomes = match upcast.deliveries.as_slice() {
            [] => Vec::new(),
            deliveries => self.inner.deliver(deliveries).await?,
        };
        Ok(upcast.merge(outcomes, DeliveryOutcome::Failed))
    }

    fn settled(&self, batch: &[ReplayDelivery]) -> Vec<Option<DeliveryOutcome>> {
        let Some(upcast) = self.upcast(batch) else { return self.inner.settled(batch) };
        let mut settled = self.inner.settled(&upcast.deliveries);
        settled.resize(upcast.deliveries.len(), None);
        upcast.merge(settled, |error| Some(DeliveryOutcome::Failed(error)))
    }
}
