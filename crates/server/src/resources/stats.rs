//! Counts of stored events.

use event_replay::{
    app::{self, histogram::HistogramBy},
    text::number,
};

use super::filter;
use crate::{
    answer::json,
    call::{Answer, Call},
    problem::{Code, Problem},
    query::Parameter,
    shape::Shape,
};

/// The query parameter with the length of an interval.
pub(crate) const INTERVAL: Parameter =
    Parameter::required("interval", Shape::Duration, "The length of an interval: 30s, 1m, 1h, 1d.");
/// The query parameter that selects the names by which events are counted.
pub(crate) const BY: Parameter =
    Parameter::new("by", Shape::Word(&["type", "source"]), "type or source: count each of them by itself.");

/// Handles `GET /v1/stats`: counts the events that match a filter.
pub(crate) async fn show(call: Call) -> Answer {
    let wanted = filter::of_query(&call.query)?;
    let bounds = filter::bounds_of_query(&call.query)?.resolve(&call.app.store).await?;
    json(&app::stats::stats(&call.app.store, &call.app.settings, wanted, &bounds, None).await?)
}

/// Handles `GET /v1/events/histogram`: counts the events that match a filter over time.
pub(crate) async fn histogram(call: Call) -> Answer {
    let wanted = filter::of_query(&call.query)?;
    let interval = call
        .query
        .read(INTERVAL.name, number::duration)?
        .ok_or_else(|| Problem::new(Code::BadParameter, "interval: it is missing").hint("add interval=1h"))?;
    let by = call.query.choice(BY.name, &[("type", HistogramBy::Type), ("source", HistogramBy::Source)])?;
    let bounds = filter::bounds_of_query(&call.query)?.resolve(&call.app.store).await?;
    json(&app::histogram::histogram(&call.app.store, wanted, &bounds, interval, by).await?)
}
