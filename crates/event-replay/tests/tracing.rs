//! Traces across services: spans, and the W3C trace context in the metadata of events.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a panic is a test's way to fail")]

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex},
};

use event_replay::{
    Event, Filter,
    prelude::*,
    replay::ReplayOptions,
    targets::NdjsonTarget,
    testing::TestService,
    trace::{self, TraceParent},
};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{Layer, layer::Context as LayerContext, prelude::*, registry::LookupSpan};

type Fields = BTreeMap<&'static str, String>;

/// The spans of the target `event_replay`, in the order of their start.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Known>>);

/// Spans by name with their fields, and the index of each in the list.
type Known = (Vec<(&'static str, Fields)>, HashMap<span::Id, usize>);

struct Read<'f>(&'f mut Fields);

impl Visit for Read<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, _: LayerContext<'_, S>) {
        if attributes.metadata().target() != trace::TARGET {
            return;
        }
        let (spans, places) = &mut *self.0.lock().unwrap();
        let mut fields = Fields::new();
        attributes.record(&mut Read(&mut fields));
        places.insert(id.clone(), spans.len());
        spans.push((attributes.metadata().name(), fields));
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, _: LayerContext<'_, S>) {
        let (spans, places) = &mut *self.0.lock().unwrap();
        if let Some(place) = places.get(id) {
            values.record(&mut Read(&mut spans[*place].1));
        }
    }

    fn on_close(&self, id: span::Id, _: LayerContext<'_, S>) {
        self.0.lock().unwrap().1.remove(&id);
    }
}

impl Spans {
    fn named(&self, name: &str) -> Vec<Fields> {
        let spans = &self.0.lock().unwrap().0;
        spans.iter().filter(|(own, _)| *own == name).map(|(_, fields)| fields.clone()).collect()
    }
}

fn shop(store: Arc<dyn Stores>) -> Service<()> {
    Service::new("shop", store, ())
        .settings(BusSettings { enable_validation: false, ..BusSettings::default() })
        .group("payments", |g| g.on_types(["order.placed"], capture).max_retries(1))
        .group("mailer", |g| g.on_types(["payment.captured"], mail))
}

async fn capture(order: Event, cx: Context<()>) -> Result {
    if order.value()?["data"]["fails"] == true && cx.attempt() == 1 {
        return Err(HandlerError::retry("the printer is jammed"));
    }
    cx.emit(Event::new("payment.captured").user("ann")).await?;
    Ok(())
}

async fn mail(_: Event) -> Result {
    Ok(())
}

fn carried(event: &Event) -> TraceParent {
    TraceParent::of(event).expect("an event of a trace")
}

#[tokio::test(start_paused = true)]
async fn a_trace_goes_through_every_handler_that_follows() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let service = TestService::start(shop).await;
    let request: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let order = Event::new("order.placed").user("ann");
    trace::within(request, service.emit(order).into_future()).await.unwrap();
    service.settle().await;

    let log = service.log().await;
    let [order, payment] = [carried(&log[0]), carried(&log[1])];
    assert_eq!([order.trace_id(), payment.trace_id()], [request.trace_id(), request.trace_id()]);
    let handled = spans.named("handle");
    let [of_order, of_payment] = &handled[..] else { panic!("{handled:?}") };
    assert_eq!((&*of_order["group"], &*of_order["outcome"]), ("payments", "handled"));
    assert_eq!(of_order["parent_span_id"], order.span_id(), "beneath the emission of the order");
    assert_eq!(of_payment["parent_span_id"], payment.span_id());
    assert_eq!(of_payment["trace_id"], request.trace_id());
    assert!(!of_order.contains_key("linked_trace_id"));
    let published = spans.named("publish");
    assert_eq!(published.iter().map(|span| &*span["position"]).collect::<Vec<_>>(), ["0:1", "0:2"]);
    assert_eq!(
        (&published[1]["trace_id"], &published[1]["span_id"]),
        (&payment.trace_id(), &payment.span_id())
    );
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_begins_traces_that_link_to_the_first() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let service = TestService::start(shop).await;
    service.emit(Event::new("order.placed").user("ann")).await.unwrap();
    service.settle().await;
    let first = carried(&service.log().await[0]);
    service.replay(Filter::types(["order.placed"])).into("payments").run().await.unwrap();
    let handled = spans.named("handle");
    let [live, _, replayed] = &handled[..] else { panic!("{handled:?}") };
    assert_eq!(live["trace_id"], first.trace_id());
    assert_eq!(replayed["linked_trace_id"], first.trace_id());
    assert_ne!(replayed["trace_id"], first.trace_id());
    assert!(replayed.contains_key("replay_id") && !replayed.contains_key("parent_span_id"), "{replayed:?}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_running_replay_is_a_span_that_its_deliveries_name() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let service = TestService::start(shop).await;
    for user in ["ann", "bob"] {
        service.emit(Event::new("order.placed").user(user)).await.unwrap();
    }
    service.settle().await;
    let orders = || service.replay(Filter::types(["order.placed"])).into("payments");

    // A replay within a trace continues it.
    let request: TraceParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    let within = trace::within(request, async { orders().run().await.unwrap() }).await;
    // A replay that the service hosts begins a trace of its own.
    let hosted = orders().start().await.unwrap();
    while service.replays().find_replay(&hosted).await.unwrap().report.is_none() {
        service.advance(std::time::Duration::from_secs(1)).await;
    }
    // The span ends when the host has noticed the end of its runner.
    service.advance(std::time::Duration::from_secs(2)).await;

    let replays = spans.named("replay");
    let [first, second] = &replays[..] else { panic!("{replays:?}") };
    for (span, id) in [(first, &within.replay_id), (second, &hosted)] {
        assert_eq!(span["replay_id"], *id);
        let facts = ["target", "events", "outcome"].map(|field| &*span[field]);
        assert_eq!(facts, ["payments", "2", "completed"]);
        let handled = spans.named("handle");
        let deliveries = handled.iter().filter(|handle| handle.get("replay_id") == Some(id)).count();
        assert_eq!(deliveries, 2, "each delivery of a replay names it");
    }
    assert_eq!(first["trace_id"], request.trace_id());
    assert_eq!(first["parent_span_id"], request.span_id());
    assert_ne!(second["trace_id"], request.trace_id());
    assert_eq!((second["trace_id"].len(), second["span_id"].len()), (32, 16));
    assert!(!second.contains_key("parent_span_id"), "{second:?}");
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_replay_to_a_target_is_a_span_too() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let service = TestService::start(shop).await;
    service.emit(Event::new("order.placed").user("ann")).await.unwrap();
    service.settle().await;
    let options = ReplayOptions { target: "sheet".to_owned(), ..ReplayOptions::default() };
    let mut sheet = NdjsonTarget::new(Vec::new());
    let report =
        service.replays().replay_events(Filter::types(["order.*"]), &options, &mut sheet).await.unwrap();
    let replays = spans.named("replay");
    let [replay] = &replays[..] else { panic!("{replays:?}") };
    assert_eq!(replay["replay_id"], report.replay_id);
    let facts = ["target", "events", "outcome"].map(|field| &*replay[field]);
    assert_eq!(facts, ["sheet", "1", "completed"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_a_span_with_its_outcome() {
    let spans = Spans::default();
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let service = TestService::start(shop).await;
    let order = Event::new("order.placed").user("ann").data(&serde_json::json!({ "fails": true }));
    service.emit(order).await.unwrap();
    service.settle().await;
    let handled = spans.named("handle");
    let of_order: Vec<(&str, &str)> = handled
        .iter()
        .filter(|span| span["group"] == "payments")
        .map(|span| (&*span["attempt"], &*span["outcome"]))
        .collect();
    assert_eq!(of_order, [("1", "failed"), ("2", "handled")]);
    assert_ne!(handled[0]["span_id"], handled[1]["span_id"]);
    service.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_trace_that_others_began_goes_on_where_nothing_is_recorded() {
    let service = TestService::start(shop).await;
    service.emit(Event::new("order.placed").user("bob")).await.unwrap();
    let other = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
    service.emit(Event::new("order.placed").user("ann").metadata("traceparent", other)).await.unwrap();
    service.settle().await;
    let log = service.log().await;
    let traces: Vec<Option<TraceParent>> = log.iter().map(TraceParent::of).collect();
    assert_eq!(traces.iter().flatten().count(), 2, "no trace begins without a subscriber: {traces:?}");
    let payment =
        log.iter().filter(|event| event.event_type() == "payment.captured").find_map(TraceParent::of);
    let payment = payment.expect("the payment of ann");
    assert_eq!(payment.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(!payment.is_sampled(), "whether it is recorded is for the first to say");
    service.stop().await;
}
