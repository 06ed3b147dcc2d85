//! The metrics that a service records through the `metrics` facade, with exact counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use event_replay::{Event, Filter, Timestamp, domain::group::GroupPause, prelude::*, testing::TestService};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The values of all series, by name and labels. A histogram has the series `…_count` and `…_sum`.
#[derive(Clone, Default)]
struct Recorded(Arc<Mutex<BTreeMap<String, f64>>>);

/// One series.
struct Series {
    recorded: Recorded,
    name: String,
    labels: String,
}

impl Recorded {
    fn series(&self, key: &Key) -> Arc<Series> {
        let mut labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        labels.sort();
        let (name, labels) = (key.name().to_owned(), labels.join(","));
        Arc::new(Series { recorded: self.clone(), name, labels })
    }

    /// Returns the value of a series such as `name{a=1,b=2}`, if it was recorded.
    fn value(&self, series: &str) -> Option<f64> {
        self.0.lock().unwrap().get(series).copied()
    }

    /// Asserts that a metric has exactly these series.
    fn expect(&self, name: &str, expected: &[(&str, f64)]) {
        let recorded = self.0.lock().unwrap();
        let begin = format!("{name}{{");
        let found: BTreeMap<&str, f64> = recorded
            .iter()
            .filter_map(|(series, value)| Some((series.strip_prefix(&begin)?, *value)))
            .collect();
        let expected: BTreeMap<String, f64> =
            expected.iter().map(|(labels, value)| (format!("{labels}}}"), *value)).collect();
        let expected: BTreeMap<&str, f64> =
            expected.iter().map(|(labels, value)| (&**labels, *value)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

impl Series {
    fn change(&self, suffix: &str, change: impl FnOnce(&mut f64)) {
        let series = format!("{}{suffix}{{{}}}", self.name, self.labels);
        change(self.recorded.0.lock().unwrap().entry(series).or_default());
    }
}

impl CounterFn for Series {
    fn increment(&self, by: u64) {
        self.change("", |value| *value += by as f64);
    }

    fn absolute(&self, to: u64) {
        self.change("", |value| *value = to as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, by: f64) {
        self.change("", |value| *value += by);
    }

    fn decrement(&self, by: f64) {
        self.change("", |value| *value -= by);
    }

    fn set(&self, to: f64) {
        self.change("", |value| *value = to);
    }
}

impl HistogramFn for Series {
    fn record(&self, recorded: f64) {
        self.change("_count", |count| *count += 1.0);
        self.change("_sum", |sum| *sum += recorded);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.series(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("order.placed")]
struct OrderPlaced {
    #[entity(key)]
    user_id: String,
    /// The number of attempts that fail.
    failures: u32,
}

#[derive(Event, Serialize, Deserialize, JsonSchema)]
#[event("payment.captured")]
struct PaymentCaptured {
    #[entity(key)]
    user_id: String,
}

const HANDLER_TIME: Duration = Duration::from_millis(10);

async fn charge(order: OrderPlaced, cx: Context<()>) -> Result {
    tokio::time::sleep(HANDLER_TIME).await;
    if cx.attempt() <= order.failures {
        return Err(HandlerError::retry("the gateway does not answer"));
    }
    cx.emit(PaymentCaptured { user_id: order.user_id }).await?;
    Ok(())
}

async fn mail(_: PaymentCaptured) -> Result {
    Ok(())
}

fn shop(store: Arc<dyn Stores>) -> Service<()> {
    Service::new("shop", store, ())
        .event::<OrderPlaced>()
        .event::<PaymentCaptured>()
        .group("payments", |g| g.on(charge).max_retries(2))
        .group("mailer", |g| g.on_live(mail))
}

fn order(user: usize, failures: u32) -> OrderPlaced {
    OrderPlaced { user_id: format!("user-{user}"), failures }
}

#[tokio::test(start_paused = true)]
async fn deliveries_are_counted_and_timed_by_type_group_and_outcome() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let service = TestService::start(shop).await;
    // Five orders work at once, three fail once, and two fail in each of their three attempts.
    for (user, failures) in [0, 0, 0, 0, 0, 1, 1, 1, 9, 9].into_iter().enumerate() {
        service.emit(order(user, failures)).await.unwrap();
    }
    let past: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    for user in 10..14 {
        service.emit(order(user, 0)).expires_at(past).await.unwrap();
    }
    service.settle().await;
    // The handler of the group takes no replayed event, so the eight payments are skipped.
    let report = service.replay(Filter::types(["payment.captured"])).into("mailer").run().await.unwrap();
    assert_eq!(report.skipped_events, 8);

    recorded.expect(
        "event_replay_deliveries_total",
        &[
            ("group=payments,outcome=handled,type=order.placed", 8.0),
            ("group=payments,outcome=failed,type=order.placed", 9.0),
            ("group=payments,outcome=expired,type=order.placed", 4.0),
            ("group=mailer,outcome=handled,type=payment.captured", 8.0),
            ("group=mailer,outcome=skipped,type=payment.captured", 8.0),
        ],
    );
    recorded.expect(
        "event_replay_handler_seconds_count",
        &[
            ("group=payments,outcome=handled,type=order.placed", 8.0),
            ("group=payments,outcome=failed,type=order.placed", 9.0),
            ("group=mailer,outcome=handled,type=payment.captured", 8.0),
            ("group=mailer,outcome=skipped,type=payment.captured", 8.0),
        ],
    );
    let seconds = |outcome: &str| {
        let labels = format!("group=payments,outcome={outcome},type=order.placed");
        recorded.value(&format!("event_replay_handler_seconds_sum{{{labels}}}")).unwrap()
    };
    // A timer of the runtime may be a millisecond late.
    for (outcome, attempts) in [("handled", 8.0), ("failed", 9.0)] {
        let expected = attempts * HANDLER_TIME.as_secs_f64();
        let took = seconds(outcome);
        assert!((expected..expected * 1.2).contains(&took), "{outcome}: {took} s, {expected} s expected");
    }

    // The decisions of a group about its deliveries.
    recorded.expect("event_replay_retried_total", &[("kind=payments", 7.0)]);
    recorded.expect("event_replay_dead_lettered_total", &[("kind=payments", 2.0)]);
    recorded.expect("event_replay_expired_total", &[("kind=payments", 4.0)]);
    recorded.expect("event_replay_delivered_total", &[("kind=payments", 17.0), ("kind=mailer", 16.0)]);
    recorded.expect("event_replay_failed_attempts_total", &[("kind=order.placed", 9.0)]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_lag_of_each_group_of_the_service_is_a_gauge() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let service = TestService::start(shop).await;
    for user in 0..3 {
        service.emit(order(user, 0)).await.unwrap();
    }
    service.settle().await;
    let refreshed = Duration::from_secs(16);
    let lag = |payments: f64| {
        recorded
            .expect("event_replay_group_lag_events", &[("group=payments", payments), ("group=mailer", 0.0)]);
    };
    service.advance(refreshed).await;
    lag(0.0);

    let pause = GroupPause {
        source: GroupPause::OPERATOR.to_owned(),
        since: service.bus().clock().now(),
        by: "the test".to_owned(),
        reason: None,
        until: None,
    };
    service.store().pause_group("payments", &pause).await.unwrap();
    service.advance(Duration::from_secs(5)).await;
    for user in 0..4 {
        service.emit(order(user, 0)).await.unwrap();
    }
    service.advance(refreshed).await;
    lag(4.0);

    service.store().resume_group("payments", None).await.unwrap();
    service.settle().await;
    service.advance(refreshed).await;
    lag(0.0);
    service.stop().await;
}
