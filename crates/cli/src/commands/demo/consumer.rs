//! The consumer that loses its data in the demo: a read model that follows the log and accepts replays.
//!
//! It keeps the position of its last event in each partition, and so applies each event once. The log and a replay both
//! deliver the events of a partition in the order of their positions. Its memory grows with the figures, not the
//! events.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{
    Cursor, Filter, Position, StoredEvent,
    ports::{DeliveryOutcome, Order, ReplayDelivery, ReplayTarget, TargetError},
};
use event_replay::StoreHandle;
use generator::{Projection, ReadModel};

use crate::{
    commands::walk::Walk,
    errors::CliError,
    output::{Printer, bar::Bar},
};

/// A read model with its progress through the log. A clone stands for a copy on disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Consumer {
    projection: Projection,
    events: u64,
    /// The last sequence of each partition.
    reached: BTreeMap<u16, u64>,
    /// The cursor up to which the consumer has read the log.
    cursor: Option<Cursor>,
}

impl Consumer {
    /// Applies the new events of the log. Shows the number of applied events in the bar.
    pub(super) async fn follow(
        &mut self,
        stores: &StoreHandle,
        printer: &Printer,
        bar: &Bar,
    ) -> Result<(), CliError> {
        let head = stores.head().await?;
        let mut walk = Walk::new(stores.ports().clone(), Filter::default(), Order::OldestFirst, None)
            .after(self.cursor.clone())
            .until(Some(head.clone()));
        while let Some(page) = walk.page(printer).await? {
            for stored in &page.events {
                self.take(stored).map_err(|error| {
                    CliError::failed(format!("the event at {} cannot be read: {error}", stored.position))
                })?;
            }
            bar.at(self.events);
        }
        self.cursor = Some(head);
        Ok(())
    }

    /// Applies an event unless it was applied before.
    fn take(&mut self, stored: &StoredEvent) -> Result<(), serde_json::Error> {
        let Position { partition, sequence } = stored.position;
        if self.reached.get(&partition) < Some(&sequence) {
            self.projection.fold(&stored.event.value()?);
            self.reached.insert(partition, sequence);
            self.events += 1;
        }
        Ok(())
    }

    /// The read model.
    pub(super) fn model(&self) -> &ReadModel {
        self.projection.read_model()
    }

    /// Events that were applied.
    pub(super) fn events(&self) -> u64 {
        self.events
    }
}

/// A replay target that hands events to a consumer.
pub(super) struct IntoConsumer<'a> {
    consumer: &'a mut Consumer,
    delivered: u64,
    /// The delivery, counted from 1, that the target drops while it reports success.
    loses: Option<u64>,
}

impl<'a> IntoConsumer<'a> {
    /// Creates a target that delivers every event, or drops one delivery.
    pub(super) fn new(consumer: &'a mut Consumer, loses: Option<u64>) -> Self {
        Self { consumer, delivered: 0, loses }
    }
}

#[async_trait]
impl ReplayTarget for IntoConsumer<'_> {
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError> {
        let mut outcomes = Vec::with_capacity(batch.len());
        for delivery in batch {
            self.delivered += 1;
            if self.loses == Some(self.delivered) {
                outcomes.push(DeliveryOutcome::Handled);
                continue;
            }
            outcomes.push(match self.consumer.take(&delivery.stored) {
                Ok(()) => DeliveryOutcome::Handled,
                Err(error) => DeliveryOutcome::Failed(error.to_string()),
            });
        }
        Ok(outcomes)
    }
}

#[cfg(test)]
mod tests {
    use domain::{Document, Limits};
    use generator::{Generator, Settings, Validity};
    use jiff::Timestamp;

    use super::*;

    fn deliveries() -> Vec<ReplayDelivery> {
        let valid = Generator::new(Settings::demo(300)).filter(|event| event.validity == Validity::Valid);
        let events = valid.map(|event| {
            Document::parse(event.json.as_bytes(), &Limits::default()).unwrap().into_event().unwrap()
        });
        let stored = events.zip(1..).map(|(event, sequence)| StoredEvent {
            event,
            position: Position::new(0, sequence),
            stored_at: Timestamp::UNIX_EPOCH,
            replay_count: 0,
            last_replay_at: None,
        });
        let (replay_id, replay_timestamp) = ("r".to_owned(), Timestamp::UNIX_EPOCH);
        stored
            .map(|stored| ReplayDelivery { stored, replay_id: replay_id.clone(), replay_timestamp })
            .collect()
    }

    #[tokio::test]
    async fn what_is_delivered_again_is_handled_and_changes_nothing() {
        let (batch, mut consumer) = (deliveries(), Consumer::default());
        for _ in 0..2 {
            let outcomes = IntoConsumer::new(&mut consumer, None).deliver(&batch).await.unwrap();
            assert!(outcomes.iter().all(|outcome| *outcome == DeliveryOutcome::Handled));
            assert_eq!(
                (consumer.events(), consumer.model().events()),
                (batch.len() as u64, batch.len() as i64)
            );
        }
    }

    #[tokio::test]
    async fn a_target_that_loses_a_delivery_says_that_all_is_well() {
        let (batch, mut consumer) = (deliveries(), Consumer::default());
        let outcomes = IntoConsumer::new(&mut consumer, Some(7)).deliver(&batch).await.unwrap();
        assert!(outcomes.iter().all(|outcome| *outcome == DeliveryOutcome::Handled));
        assert_eq!(consumer.model().events(), batch.len() as i64 - 1);
    }
}
