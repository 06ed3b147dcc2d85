//! Consuming a group: fetch, settle, and deliveries as server-sent events.

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use bus::{DeliveryPool, Handout, ReceiverAnswer, SettleEffect};
use domain::{HandlerError, time::later};
use event_replay::{
    app,
    text::{name, number},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::{
    answer::{json, raw},
    app::App,
    body::Whole,
    call::{Answer, Call},
    consuming::{Consuming, Receipt},
    problem::{Code, Problem, Repeat},
    query::{Parameter, bad, contradiction},
    shape::{Member, Shape},
    streaming::{Parts, server_sent},
};

/// Maximum number of deliveries in one response. Clients of one group never hold more at the same time.
const MOST: usize = bus::MAX_CONCURRENCY;
/// Maximum number of settlements in one request.
pub(crate) const MOST_SETTLEMENTS: usize = 1000;
/// Maximum wait of a fetch, in seconds.
const LONGEST_WAIT: u64 = 60;
/// Minimum time limit of a delivery.
const SHORTEST_TIME: Duration = Duration::from_millis(100);
/// Idle time after which a stream sends a heartbeat.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The members of the body of a fetch.
pub(crate) const FETCH: &[Member] = &[
    Member::new("max", Shape::Whole(1, MOST as u64)),
    Member::new("wait", Shape::Whole(0, LONGEST_WAIT)),
    Member::new("timeout", Shape::Either(&Shape::Whole(100, 86_400_000), &Shape::Limit)),
    Member::new("client", Shape::Text),
];
/// The members of an answer to a delivery.
pub(crate) const SETTLEMENT: &[Member] = &[
    Member::required("receipt", Shape::Text),
    Member::required("outcome", Shape::Word(&["ok", "retry", "giveUp", "release", "extend"])),
    Member::new("afterMs", Shape::Whole(0, 86_400_000)),
    Member::new("error", Shape::Text),
];
/// The query parameters of a stream of deliveries.
pub(crate) const STREAM: &[Parameter] = &[
    Parameter::new("timeout", Shape::Limit, "How long a delivery may take: 30s, or milliseconds."),
    Parameter::new("client", Shape::Text, "The client's name, for the log."),
];

#[derive(Deserialize)]
#[serde(default)]
struct FetchBody {
    max: Whole,
    wait: Whole,
    timeout: Option<Time>,
    client: Option<String>,
}

impl Default for FetchBody {
    fn default() -> Self {
        Self { max: Whole(10), wait: Whole(0), timeout: None, client: None }
    }
}

/// A duration: milliseconds, or a number with a unit.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Milliseconds(Whole),
    Text(String),
}

impl Time {
    fn text(&self) -> String {
        match self {
            Self::Milliseconds(milliseconds) => milliseconds.0.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

fn time(text: &str) -> Result<Duration, String> {
    number::timeout(text).filter(|time| *time >= SHORTEST_TIME).ok_or_else(|| {
        "it is a number of milliseconds (30000) or one with a unit (30s), from 100ms to one day".to_owned()
    })
}

fn consuming(app: &App) -> Result<&Consuming, Problem> {
    match (&app.consuming, app.is_stopping()) {
        (Some(consuming), false) => Ok(consuming),
        (Some(_), true) => {
            Err(Problem::new(Code::Unavailable, "the server is stopping").repeat(Repeat::Later))
        }
        (None, _) => Err(Problem::new(Code::ReadOnly, "this server is read-only")),
    }
}

/// Handles `POST /v1/groups/{group}/fetch`: hands out ready deliveries.
pub(crate) async fn fetch(mut call: Call) -> Answer {
    let group = call.read_path("group", name::group)?;
    let body: FetchBody = call.json(FETCH).await?;
    let max = body.max.0 as usize;
    if !(1..=MOST).contains(&max) {
        return Err(bad("max", &format!("it is a whole number from 1 to {MOST}")));
    }
    if body.wait.0 > LONGEST_WAIT {
        return Err(bad("wait", &format!("it is a number of seconds from 0 to {LONGEST_WAIT}")));
    }
    let limit =
        body.timeout.map(|limit| time(&limit.text()).map_err(|error| bad("timeout", &error))).transpose()?;
    let limit = limit.unwrap_or(call.app.settings.handler_timeout);
    let consuming = consuming(&call.app)?;
    let pool = consuming.pool(&group).await?;
    let wait = Duration::from_secs(body.wait.0);
    let handed = wait_for(&call.app, &pool, max, limit, wait).await;
    tracing::debug!(group, client = body.client, deliveries = handed.len(), "fetched");
    let deadline = later(app::clock().now(), limit).to_string();
    let mut text = b"{\"deliveries\":[".to_vec();
    for (at, handed) in handed.iter().enumerate() {
        text.extend_from_slice(if at == 0 { b"\n" } else { b",\n" });
        write(handed, consuming, &deadline, &mut text);
    }
    text.extend_from_slice(b"]}\n");
    Ok(raw(StatusCode::OK, "application/json", text))
}

/// Returns deliveries that are ready, or that become ready within `wait`. After the server joins a group, its leases
/// take a moment.
async fn wait_for(
    app: &App,
    pool: &DeliveryPool,
    most: usize,
    limit: Duration,
    wait: Duration,
) -> Vec<Handout> {
    let until = Instant::now() + wait;
    loop {
        let handed = pool.take(most, limit);
        if !handed.is_empty() {
            return handed;
        }
        tokio::select! {
            () = app.stopped() => return vec![],
            () = tokio::time::sleep_until(until) => return vec![],
            () = pool.changed() => {}
        }
    }
}

/// Writes a delivery in the format of an `exec:` target, with a receipt and a deadline.
fn write(handed: &Handout, consuming: &Consuming, deadline: &str, text: &mut Vec<u8>) {
    let Handout { number, turn, delivery, .. } = handed;
    let receipt = Receipt { instance: consuming.instance(), number: *number, turn: *turn };
    targets::write_delivery(delivery, text);
    // The line is a JSON object. The new members go before its last brace.
    if text.last() == Some(&b'}') {
        text.pop();
    }
    text.extend_from_slice(format!(",\"receipt\":\"{receipt}\",\"deadline\":\"{deadline}\"}}").as_bytes());
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settlement {
    receipt: String,
    outcome: Word,
    after_ms: Option<Whole>,
    error: Option<String>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Word {
    Ok,
    Retry,
    GiveUp,
    Release,
    Extend,
}

#[derive(Serialize)]
struct Results<'a> {
    results: Vec<Settlements<'a>>,
}

#[derive(Serialize)]
struct Settlements<'a> {
    receipt: &'a str,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<jiff::Timestamp>,
}

/// Handles `POST /v1/groups/{group}/settle`: applies the answers of a client.
pub(crate) async fn settle(mut call: Call) -> Answer {
    let group = call.read_path("group", name::group)?;
    let settlements: Vec<Settlement> = call.json_list().await?;
    if settlements.len() > MOST_SETTLEMENTS {
        return Err(Problem::new(
            Code::TooLarge,
            format!("a request has at most {MOST_SETTLEMENTS} settlements"),
        ));
    }
    let Some(consuming) = &call.app.consuming else {
        return Err(Problem::new(Code::ReadOnly, "this server is read-only"));
    };
    let limit = call.app.settings.handler_timeout;
    let pool = consuming.known(&group).await;
    let mut outcomes = vec![];
    // All settlements are checked before the first one is applied.
    for settlement in &settlements {
        outcomes.push(outcome(settlement, limit)?);
    }
    let results = settlements.iter().zip(outcomes).map(|(settlement, outcome)| {
        let extends = match &outcome {
            ReceiverAnswer::Extend(time) => Some(later(app::clock().now(), *time)),
            _ => None,
        };
        let receipt = settlement.receipt.parse::<Receipt>().ok();
        let receipt = receipt.filter(|receipt| receipt.instance == consuming.instance());
        let settled = match (receipt, &pool) {
            (Some(receipt), Some(pool)) => pool.settle(receipt.number, receipt.turn, outcome),
            _ => SettleEffect::Expired,
        };
        let status = match settled {
            SettleEffect::Settled => "settled",
            SettleEffect::Released => "released",
            SettleEffect::Extended => "extended",
            SettleEffect::Expired => "expired",
        };
        let deadline = extends.filter(|_| settled == SettleEffect::Extended);
        Settlements { receipt: &settlement.receipt, status, deadline }
    });
    json(&Results { results: results.collect() })
}

fn outcome(settlement: &Settlement, limit: Duration) -> Result<ReceiverAnswer, Problem> {
    let Settlement { outcome, after_ms, error, .. } = settlement;
    let after = after_ms.map(|after| Duration::from_millis(after.0));
    if after.is_some_and(|after| after > Duration::from_secs(24 * 3600)) {
        return Err(bad("afterMs", "it is at most one day"));
    }
    let said = || error.as_deref().unwrap_or("the client says that it failed");
    Ok(match (outcome, after) {
        (Word::Ok, None) => ReceiverAnswer::Answered(Ok(())),
        (Word::Retry, None) => ReceiverAnswer::Answered(Err(HandlerError::retry(said()))),
        (Word::Retry, Some(after)) => ReceiverAnswer::Answered(Err(HandlerError::retry_after(after, said()))),
        (Word::GiveUp, None) => ReceiverAnswer::Answered(Err(HandlerError::give_up(said()))),
        (Word::Release, None) => ReceiverAnswer::Release,
        (Word::Extend, after) => ReceiverAnswer::Extend(after.unwrap_or(limit).max(SHORTEST_TIME)),
        (_, Some(_)) => return Err(contradiction("afterMs", "only retry and extend take it")),
    })
}

/// Handles `GET /v1/groups/{group}/deliveries`: sends deliveries as server-sent events. Clients settle the deliveries
/// in the same way as those of a fetch.
pub(crate) async fn deliveries(call: Call) -> Answer {
    let group = call.read_path("group", name::group)?;
    let limit = call.query.read("timeout", time)?.unwrap_or(call.app.settings.handler_timeout);
    let pool = consuming(&call.app)?.pool(&group).await?;
    let state = Streaming { app: call.app, group, pool, limit, opening: true };
    server_sent(state)
}

/// The state of a running stream.
struct Streaming {
    app: Arc<App>,
    group: String,
    pool: Arc<DeliveryPool>,
    limit: Duration,
    opening: bool,
}

impl Parts for Streaming {
    const NAME: &'static str = "deliveries";

    /// Returns the next part of the stream, or `None` after the server begins to stop.
    async fn next(&mut self) -> Result<Option<Bytes>, Problem> {
        if std::mem::take(&mut self.opening) {
            return Ok(Some(Bytes::from_static(b": delivers\n\n")));
        }
        let handed = wait_for(&self.app, &self.pool, MOST, self.limit, HEARTBEAT).await;
        if self.app.is_stopping() && handed.is_empty() {
            return Ok(None);
        }
        let consuming = consuming(&self.app)?;
        if handed.is_empty() {
            // The consumer may have ended in the meantime, such as after the deletion of its group.
            self.pool = consuming.pool(&self.group).await?;
            return Ok(Some(Bytes::from_static(b": alive\n\n")));
        }
        let deadline = later(app::clock().now(), self.limit).to_string();
        let mut text = Vec::new();
        for handed in &handed {
            text.extend_from_slice(b"event: delivery\ndata: ");
            write(handed, consuming, &deadline, &mut text);
            text.extend_from_slice(b"\n\n");
        }
        Ok(Some(text.into()))
    }
}
