//! Delivers events to an HTTP endpoint, with one POST for each event.
//!
//! # The request
//! The body is the stored event as JSON, in the format of [`write_delivery`] for groups and of [`write_replayed`] for
//! replays. Its type is `application/json`. Headers contain the values that a receiver may need without parsing:
//! `Event-Id`, `Event-Type`, `Event-Position`, `Delivery-Attempt`, for groups `Delivery-Group`, for replays
//! `Replay-Id`. Bytes of a value that are not visible ASCII, and `%`, are percent-encoded. A user and password in the
//! URL become Basic authentication.
//!
//! # The answer
//! | answer | result |
//! |---|---|
//! | 2xx | handled |
//! | 429, 5xx | retried, not before `Retry-After`, which is in seconds or a date |
//! | no connection, a broken connection, no answer in time | retried |
//! | 3xx | given up, because redirects are not followed |
//! | any other | given up |
//!
//! Errors contain the status and the first 500 bytes of the body, escaped. No error and no log contains the URL's query
//! and password, because they may be secrets.
//!
//! Connections are kept alive and used again. Proxies in the environment are not used, so events go directly to the
//! host of the URL. Certificates are checked against the system's roots, or against the roots in `SSL_CERT_FILE` and
//! `SSL_CERT_DIR`.

mod answer;
mod client;
mod endpoint;

use std::time::Duration;

use async_trait::async_trait;
use domain::{
    StoredEvent,
    delivery::{Delivery, HandlerError},
    ports::{DeliveryOutcome, EventHandler, ReplayDelivery, ReplayTarget, TargetError},
    time::until,
};
use http::{HeaderValue, Request, request::Builder};

use self::client::Client;
pub use self::endpoint::{Endpoint, EndpointError};
use crate::{
    answer::{AnsweringTarget, NoAnswer, TargetAnswer},
    batch::{Attempt, Batches},
    failure::Failure,
    json_line::{write_delivery, write_replayed},
};

/// Delivers the events of a group to an HTTP endpoint. The time limit of a request is the lesser of the delivery's
/// remaining time and the endpoint's timeout.
#[derive(Debug, Clone)]
pub struct HttpHandler(Client);

impl HttpHandler {
    /// Returns a handler for an endpoint. It sends no request yet. For https it reads the system's certificates from
    /// disk.
    ///
    /// # Errors
    /// Returns [`EndpointError::Certificates`] when the system's certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, EndpointError> {
        Ok(Self(Client::new(endpoint)?))
    }
}

#[async_trait]
impl EventHandler for HttpHandler {
    async fn handle(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let mut body = Vec::new();
        write_delivery(delivery, &mut body);
        let mut request = describe(&delivery.stored, delivery.attempt)
            .header("delivery-group", header_value(&delivery.group));
        if let Some(replay) = delivery.replay() {
            request = request.header("replay-id", header_value(&replay.replay_id));
        }
        let time = until(delivery.delivered_at, delivery.deadline);
        Ok(self.0.post(request, body, Some(time)).await?)
    }
}

/// Delivers the events of a replay to an HTTP endpoint. After four failed attempts an event has failed. While no
/// connection is possible, the replay waits.
#[derive(Debug)]
pub struct HttpTarget {
    client: Client,
    batches: Batches,
}

impl HttpTarget {
    /// Returns a target for an endpoint, as [`HttpHandler::new`] does.
    ///
    /// # Errors
    /// Returns [`EndpointError::Certificates`] when the system's certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, EndpointError> {
        Ok(Self { client: Client::new(endpoint)?, batches: Batches::new() })
    }

    /// Sets the highest number of events in flight. They have different ordering keys, and events of one key go one
    /// after the other. The default is 1: all events go in log order.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.batches.set_concurrency(concurrency);
        self
    }

    /// Sets the pause before the first retry of an event. The pause grows with each attempt. The default is one second.
    #[must_use]
    pub fn with_retry_pause(mut self, pause: Duration) -> Self {
        self.batches.set_first_pause(pause);
        self
    }
}

#[async_trait]
impl ReplayTarget for HttpTarget {
    async fn deliver(&mut self, batch: &[ReplayDelivery]) -> Result<Vec<DeliveryOutcome>, TargetError> {
        self.batches.deliver(&self.client, batch).await
    }

    fn settled(&self, batch: &[ReplayDelivery]) -> Vec<Option<DeliveryOutcome>> {
        self.batches.settled(batch)
    }
}

#[async_trait]
impl Attempt for Client {
    async fn attempt(&self, delivery: &ReplayDelivery, attempt: u32) -> Result<(), Failure> {
        let (request, body) = replayed(delivery, attempt);
        self.post(request, body, None).await
    }
}

#[async_trait]
impl AnsweringTarget for HttpTarget {
    async fn ask(&self, delivery: &ReplayDelivery) -> Result<TargetAnswer, NoAnswer> {
        let (request, body) = replayed(delivery, 1);
        Ok(self.client.ask(request, body).await?)
    }
}

/// Returns the request of a replayed event, and its body.
fn replayed(delivery: &ReplayDelivery, attempt: u32) -> (Builder, Vec<u8>) {
    let mut body = Vec::new();
    write_replayed(delivery, &mut body);
    let request = describe(&delivery.stored, attempt).header("replay-id", header_value(&delivery.replay_id));
    (request, body)
}

/// Returns a request with the headers that every request has.
fn describe(stored: &StoredEvent, attempt: u32) -> Builder {
    Request::post("/")
        .header("content-type", "application/json")
        .header("user-agent", concat!("event-replay/", env!("CARGO_PKG_VERSION")))
        .header("event-id", header_value(stored.event.id()))
        .header("event-type", header_value(stored.event.event_type()))
        .header("event-position", header_value(&stored.position.to_string()))
        .header("delivery-attempt", attempt)
}

/// Returns a text as the value of a header.
fn header_value(text: &str) -> HeaderValue {
    use std::fmt::Write as _;
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => value.push(char::from(byte)),
            // A write to memory cannot fail.
            _ => drop(write!(value, "%{byte:02X}")),
        }
    }
    // Visible ASCII is always a valid value.
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
}
