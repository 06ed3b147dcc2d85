//! Publishing: one event, lines of events, or an array of events.

use std::sync::Arc;

use axum::body::Bytes;
use bus::{
    Intake, IntakeError, IntakeOptions, IntakeReport, Line, LineError, PublishOptions, Published, Publisher,
    Rejection, line_limit,
};
use domain::{Priority, Violation};
use event_replay::{
    app::{
        explanations::NO_SCHEMA,
        intake::{DeliveryIntake, LineFailure, PublishReport, Waiting},
        publish::{DeliveryRequest, PublishRequest},
        source::with_source,
    },
    text::{
        name::{self, PRIORITIES},
        number, time,
    },
    unknown_types,
};
use http::StatusCode;
use serde::Serialize;
use serde_json::value::RawValue;

use super::cloud;
use crate::{
    answer::json_with,
    body::{media_type, unsupported},
    call::{Answer, Call},
    cloudevents::{self, Mode},
    problem::{Code, Problem},
    query::{Parameter, Query, contradiction},
    shape::Shape,
};

/// The query parameters of a publish request.
pub(crate) const PARAMETERS: &[Parameter] = &[
    Parameter::new("atomic", Shape::Flag, "All or nothing: if one event is refused, none is stored."),
    Parameter::new("partial", Shape::Word(&["ok"]), "ok: answer 200 although some events were refused."),
    Parameter::new(
        "delay",
        Shape::Delay,
        "Let the events come into the log after this much time: 500 (milliseconds), 90s, 2h.",
    ),
    Parameter::new(
        "priority",
        Shape::Word(&["low", "medium", "high", "critical"]),
        "Among the events that a group has fetched, which goes first: low, medium, high, critical.",
    ),
    Parameter::new("expiresIn", Shape::Duration, "Do not deliver the events any more after this much time."),
    Parameter::new("expiresAt", Shape::Time, "Do not deliver the events any more from this time on."),
    Parameter::new("retries", Shape::Whole(0, 1000), "How often a failed delivery is tried again."),
    Parameter::new(
        "unknownTypes",
        Shape::Word(&["refuse", "accept"]),
        "Refuse or accept events whose type has no schema.",
    ),
    Parameter::new("noValidation", Shape::Flag, "Check the envelope and the limits alone, not the schemas."),
    Parameter::new(
        "id",
        Shape::Word(&["source+id"]),
        "source+id: the id of an event is the source and the id of its CloudEvent, with # between.",
    ),
    Parameter::new("service", Shape::Name, "The source of events that name none."),
];

/// The accepted media types of bodies.
const TAKEN: &str = "application/json, application/x-ndjson, application/cloudevents+json or \
                     application/cloudevents-batch+json";

/// The options of a publish request.
struct Asked {
    atomic: bool,
    partial: bool,
    request: PublishRequest,
    delivery: Option<PublishOptions>,
    service: Option<String>,
    id_with_source: bool,
}

impl Asked {
    fn read(query: &Query, service: Option<&String>) -> Result<Self, Problem> {
        let retries = query.read("retries", number::retries)?;
        let delivery = DeliveryRequest {
            delay: query.read("delay", delay)?,
            priority: query.choice("priority", &PRIORITIES)?.unwrap_or(Priority::Medium),
            expires_in: query.read("expiresIn", number::duration)?,
            expires_at: query.read("expiresAt", time::point)?,
            // The cast is lossless, because the number of retries is at most 1000.
            retries: retries.map(|retries| retries as u16),
        };
        if delivery.expires_in.is_some() && delivery.expires_at.is_some() {
            return Err(contradiction("expiresIn", "it is given beside expiresAt; leave one of them out"));
        }
        let asked = Self {
            atomic: query.flag("atomic")?,
            partial: query.choice("partial", &[("ok", true)])?.unwrap_or(false),
            request: PublishRequest {
                unknown_types: query.read("unknownTypes", unknown_types)?,
                no_validation: query.flag("noValidation")?,
            },
            delivery: delivery.options()?,
            service: query.read("service", name::name)?.or_else(|| service.cloned()),
            id_with_source: query.choice("id", &[("source+id", true)])?.unwrap_or(false),
        };
        match (asked.atomic, asked.partial, asked.delivery.is_some()) {
            (true, _, true) => Err(contradiction(
                "atomic",
                "it stores all or nothing, and takes no delay, priority, expiresIn, expiresAt or retries",
            )),
            (true, true, _) => {
                Err(contradiction("partial", "it is given beside atomic, which stores all or nothing"))
            }
            _ => Ok(asked),
        }
    }
}

/// Parses a delay. A number without a unit is in milliseconds. A number with a unit may be up to days.
fn delay(text: &str) -> Result<std::time::Duration, String> {
    text.parse::<u64>().map(std::time::Duration::from_millis).or_else(|_| number::duration(text))
}

/// The events of a body, by the form of the body.
enum Events {
    One(Bytes),
    Lines(Bytes),
    Array(Bytes),
}

/// Handles `POST /v1/events`: publishes the events of the body.
pub(crate) async fn publish(mut call: Call) -> Answer {
    let asked = Asked::read(&call.query, call.app.settings.service.as_ref())?;
    let media = media_type(call.headers());
    let body = call.bytes().await?;
    let mode = cloudevents::mode(call.headers())?;
    let publisher = call.app.publisher(asked.request).await?;
    if let Some(mode) = mode {
        let texts = cloud::events(&call.app, mode, &call.parts.headers, &body, asked.id_with_source).await?;
        return match texts.as_slice() {
            [Err(rejection)] if mode != Mode::Batch => Err(cloudevents::bad(rejection)),
            [Ok(text)] if mode != Mode::Batch && !asked.atomic => {
                one(&publisher, &asked, text).await.map_err(cloud::with_advice)
            }
            texts => {
                let entries: Vec<Entry<'_>> =
                    (1..).zip(texts).map(|(line, text)| entry(line, text)).collect();
                many(publisher, &asked, &entries).await
            }
        };
    }
    let events = match media.as_deref() {
        None | Some("application/json") => match body.trim_ascii_start().first() {
            Some(b'[') => Events::Array(body),
            _ => Events::One(body),
        },
        Some("application/x-ndjson") => Events::Lines(body),
        Some(other) => return Err(unsupported(other, TAKEN)),
    };
    match events {
        Events::One(body) if !asked.atomic => one(&publisher, &asked, &body).await,
        Events::One(body) => many(publisher, &asked, &[Ok(Line::Text { line: 1, bytes: &body })]).await,
        Events::Lines(body) => {
            let entries = lines(&body, line_limit(&call.app.settings.limits));
            many(publisher, &asked, &entries).await
        }
        Events::Array(body) => {
            let elements: Vec<&RawValue> = serde_json::from_slice(&body).map_err(|error| {
                Problem::new(Code::BadRequest, format!("the body is not an array of JSON objects: {error}"))
            })?;
            let entries: Vec<Entry<'_>> = (1..)
                .zip(&elements)
                .map(|(line, element)| Ok(Line::Text { line, bytes: element.get().as_bytes() }))
                .collect();
            many(publisher, &asked, &entries).await
        }
    }
}

/// An event of a body, or the error of an entry that is no event.
type Entry<'a> = Result<Line<'a>, LineError>;

/// Returns the entry for a CloudEvent.
fn entry(line: u64, text: &Result<Vec<u8>, Rejection>) -> Entry<'_> {
    match text {
        Ok(text) => Ok(Line::Text { line, bytes: text }),
        Err(rejection) => {
            let Rejection { event_id, event_type, violations } = rejection.clone();
            Err(LineError { line, event_id, event_type, violations })
        }
    }
}

/// Splits a body into lines. A line over the limit is marked as too long, and the other lines are still accepted.
fn lines(body: &[u8], limit: usize) -> Vec<Entry<'_>> {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n'));
    let lines = lines.filter(|(_, bytes)| !bytes.trim_ascii().is_empty());
    lines
        .map(|(line, bytes)| match bytes.len() > limit {
            true => Ok(Line::TooLong { line, bytes: bytes.len() as u64 }),
            false => Ok(Line::Text { line, bytes }),
        })
        .collect()
}

/// The result for one event: the counts of a report, and the position of the event.
#[derive(Serialize)]
struct PublishedOne<R: Serialize> {
    #[serde(flatten)]
    report: R,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<domain::Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<jiff::Timestamp>,
}

/// Publishes one event. The append is shared with events of concurrent requests.
async fn one(publisher: &Publisher, asked: &Asked, body: &[u8]) -> Answer {
    let named = asked.service.as_deref().and_then(|service| with_source(body, service));
    let text = named.as_deref().unwrap_or_else(|| body.trim_ascii());
    let options = asked.delivery.clone().unwrap_or_default();
    let published = publisher.publish_with(text, &options).await?;
    let mut report = match options.delay {
        Some(_) => PublishReport::of_scheduled(),
        None => PublishReport::default(),
    };
    let part = IntakeReport::default();
    let (status, part) = match published {
        Published::Stored(_) => (StatusCode::CREATED, IntakeReport { stored: 1, ..part }),
        Published::AlreadyStored(_) => (StatusCode::OK, IntakeReport { already_stored: 1, ..part }),
        Published::Scheduled { .. } => {
            report.waits(Waiting::Now);
            (StatusCode::ACCEPTED, part)
        }
        Published::AlreadyScheduled { .. } => {
            report.waits(Waiting::Before);
            (StatusCode::OK, part)
        }
    };
    report.add(part);
    let document =
        PublishedOne { report: report.document(), position: published.position(), due: published.due() };
    json_with(status, &document)
}

/// Publishes any number of events, and returns a report.
async fn many(publisher: Arc<Publisher>, asked: &Asked, entries: &[Entry<'_>]) -> Answer {
    let (report, failure) = match &asked.delivery {
        None => take_in(publisher, asked, entries).await,
        Some(options) => deliver(&publisher, asked, options, entries).await,
    };
    match failure {
        Some(problem) => Err(problem.with(report.document())),
        None => answer_of(&report, asked),
    }
}

/// Publishes events with delivery options.
async fn deliver(
    publisher: &Publisher,
    asked: &Asked,
    options: &PublishOptions,
    entries: &[Entry<'_>],
) -> (PublishReport, Option<Problem>) {
    let intake = DeliveryIntake { publisher, options, service: asked.service.as_deref() };
    let mut report = intake.report();
    for part in entries.chunk_by(|one, next| one.is_ok() == next.is_ok()) {
        let lines: Vec<Line<'_>> = part.iter().filter_map(|entry| entry.as_ref().ok().copied()).collect();
        if let Err(failure) = intake.lines(&lines, |line| line, &mut report).await {
            return (report, Some(of_line(failure)));
        }
        for error in part.iter().filter_map(|entry| entry.as_ref().err()) {
            report.add(IntakeReport { rejected: 1, errors: vec![error.clone()], ..IntakeReport::default() });
        }
    }
    (report, None)
}

/// Returns the problem for a line. A failure of the store ends the request. The counts cover the events before the
/// failure.
fn of_line(failure: LineFailure) -> Problem {
    let LineFailure { line, error } = failure;
    Problem::from(error).during(format!("publishing event {line}"))
}

async fn take_in(
    publisher: Arc<Publisher>,
    asked: &Asked,
    entries: &[Entry<'_>],
) -> (PublishReport, Option<Problem>) {
    let mut report = PublishReport::default();
    let options = IntakeOptions { atomic: asked.atomic, ..IntakeOptions::default() };
    let mut intake = Intake::new(publisher, options);
    for entry in entries {
        let named = match (entry, asked.service.as_deref()) {
            (Ok(Line::Text { bytes, .. }), Some(service)) => with_source(bytes, service),
            _ => None,
        };
        let taken = match (entry, &named) {
            (Err(error), _) => {
                intake.refuse(error.clone());
                Ok(())
            }
            (Ok(Line::Text { line, .. }), Some(named)) => intake.line(*line, named).await,
            (Ok(line), _) => intake.take(*line).await,
        };
        if let Err(error) = taken {
            return failed(report, error);
        }
    }
    match intake.finish().await {
        Ok(part) => {
            report.add(part);
            (report, None)
        }
        Err(error) => failed(report, error),
    }
}

fn failed(mut report: PublishReport, error: IntakeError) -> (PublishReport, Option<Problem>) {
    let problem = match error {
        IntakeError::Store { error, lines, report: part } => {
            report.add(*part);
            Problem::from(error).during(format!("storing events {} to {}", lines.start(), lines.end()))
        }
        IntakeError::TooLargeToBeAtomic { .. } => Problem::new(Code::TooLarge, error.to_string()),
        other => Problem::new(Code::Internal, other.to_string()),
    };
    (report, Some(problem))
}

fn answer_of(report: &PublishReport, asked: &Asked) -> Answer {
    if report.lines() == 0 {
        return Err(Problem::new(Code::BadRequest, "the body has no events"));
    }
    if !report.is_clean() && !asked.partial {
        let refused = report.sum().rejected + report.sum().conflicts;
        let said = format!("{refused} of {} events were refused", report.lines());
        let again =
            "the counts say what was stored; the same request can be sent again and stores nothing twice";
        let mut violations = report.sum().errors.iter().flat_map(|error| &error.violations);
        let hint = match violations.any(Violation::is_no_schema) {
            true => format!("{}; {again}", NO_SCHEMA.over_http),
            false => again.to_owned(),
        };
        return Err(Problem::new(Code::Rejected, said).hint(hint).with(report.document()));
    }
    let status = match (report.is_clean(), report.waiting(), report.sum().stored) {
        (false, _, _) => StatusCode::OK,
        (true, Some((1.., _)), _) => StatusCode::ACCEPTED,
        (true, _, 1..) => StatusCode::CREATED,
        (true, _, 0) => StatusCode::OK,
    };
    json_with(status, &report.document())
}
