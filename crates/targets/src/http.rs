//! Deliveries to an HTTP endpoint: a POST an event.
//!
//! # The request
//! The body is the stored event as JSON, as [`write_delivery`] has it for groups and [`write_replayed`] for replays; its
//! type is `application/json`. Headers name what a receiver may want without parsing: `Event-Id`, `Event-Type`,
//! `Event-Position`, `Delivery-Attempt`, for groups `Delivery-Group`, for replays `Replay-Id`. Bytes of a value that are
//! not visible ASCII, and `%`, are percent-encoded. A user and password in the URL become Basic authentication.
//!
//! # The answer
//! | answer | becomes |
//! |---|---|
//! | 2xx | handled |
//! | 429, 5xx | tried again; not before `Retry-After`, in seconds or as a date |
//! | no connection, a connection that breaks, no answer in time | tried again |
//! | 3xx | given up: redirects are not followed |
//! | any other | given up |
//!
//! Errors carry the status and the first 500 bytes of the body, escaped. The URL's query and password are in no error and
//! no log, for they may be secrets.
//!
//! Connections are kept alive and used again. Proxies in the environment are not used: events go where the URL says.
//! Certificates are checked against the system's roots, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name.

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
    batch::{Attempt, Batches},
    failure::Failure,
    json_line::{write_delivery, write_replayed},
};

/// Hands a group's deliveries to an HTTP endpoint. A request takes no longer than the delivery has time, nor than the
/// endpoint's timeout.
#[derive(Debug, Clone)]
pub struct HttpHandler(Client);

impl HttpHandler {
    /// A handler for an endpoint. Nothing is sent yet; for https the system's certificates are read from disk.
    ///
    /// # Errors
    /// The system's certificates cannot be read.
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

/// Hands a replay's events to an HTTP endpoint. Each is tried up to four times; then it has failed. While no connection can
/// be made, the replay waits.
#[derive(Debug)]
pub struct HttpTarget {
    client: Client,
    batches: Batches,
}

impl HttpTarget {
    /// As [`HttpHandler::new`].
    ///
    /// # Errors
    /// The system's certificates cannot be read.
    pub fn new(endpoint: Endpoint) -> Result<Self, EndpointError> {
        Ok(Self { client: Client::new(endpoint)?, batches: Batches::new() })
    }

    /// How many events may be open at once, of different ordering keys; those of one key go one after the other. Else one:
    /// everything in log order.
    #[must_use]
    pub fn with_concurrency(mut self, concurrency: usize) -> Self {
        self.batches.set_concurrency(concurrency);
        self
    }

    /// The pause before an event is tried again, which grows with each attempt; else a second.
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
        let mut body = Vec::new();
        write_replayed(delivery, &mut body);
        let request =
            describe(&delivery.stored, attempt).header("replay-id", header_value(&delivery.replay_id));
        self.post(request, body, None).await
    }
}

/// The headers that every request has.
fn describe(stored: &StoredEvent, attempt: u32) -> Builder {
    Request::post("/")
        .header("content-type", "application/json")
        .header("user-agent", concat!("event-replay/", env!("CARGO_PKG_VERSION")))
        .header("event-id", header_value(stored.event.id()))
        .header("event-type", header_value(stored.event.event_type()))
        .header("event-position", header_value(&stored.position.to_string()))
        .header("delivery-attempt", attempt)
}

/// A text as the value of a header.
fn header_value(text: &str) -> HeaderValue {
    use std::fmt::Write as _;
    let mut value = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'!'..=b'~' if byte != b'%' => value.push(char::from(byte)),
            // Writing to memory cannot fail.
            _ => drop(write!(value, "%{byte:02X}")),
        }
    }
    // Visible ASCII is always a value.
    HeaderValue::try_from(value).unwrap_or(HeaderValue::from_static(""))
}
