//! Events that say how they are to be delivered: each is published on its own, many at once.

use std::{future::poll_fn, pin::Pin, task::Poll};

use bus::{IntakeReport, Line, LineError, PublishError, PublishOptions, Published, Publisher};
use domain::Violation;
use event_replay::app::source::with_source;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::report::{Report, Waiting};
use crate::{errors::CliError, input::Chunk, output::bar::Bar};

/// Events that are on their way at once: they share commits, in the order of their lines.
const AT_ONCE: usize = 256;

/// What every event of a run is published with.
pub(super) struct OneByOne<'a> {
    pub(super) publisher: &'a Publisher,
    pub(super) options: &'a PublishOptions,
    pub(super) service: Option<&'a str>,
    pub(super) bar: &'a Bar,
}

impl OneByOne<'_> {
    /// Publishes everything that comes. What was published before an error stays.
    pub(super) async fn all(
        &self,
        mut chunks: mpsc::Receiver<Result<Chunk, CliError>>,
        report: &mut Report,
    ) -> Result<(), CliError> {
        while let Some(chunk) = chunks.recv().await {
            let chunk = chunk?;
            let lines: Vec<Line<'_>> = chunk.lines().collect();
            for part in lines.chunks(AT_ONCE) {
                let outcomes = in_order(part.iter().map(|line| self.one(line)).collect()).await;
                for (line, outcome) in part.iter().zip(outcomes) {
                    let number = Report::number(chunk.input, number_of(line));
                    self.settle(number, line, outcome, report)?;
                }
                self.bar.at(report.lines_before());
            }
        }
        Ok(())
    }

    async fn one(&self, line: &Line<'_>) -> Option<Result<Published, PublishError>> {
        let Line::Text { bytes, .. } = line else { return None };
        let named = self.service.and_then(|service| with_source(bytes, service));
        let text = named.as_deref().unwrap_or_else(|| bytes.trim_ascii());
        Some(self.publisher.publish_with(text, self.options).await)
    }

    fn settle(
        &self,
        number: u64,
        line: &Line<'_>,
        outcome: Option<Result<Published, PublishError>>,
        report: &mut Report,
    ) -> Result<(), CliError> {
        let mut part = IntakeReport::default();
        match outcome {
            Some(Ok(Published::Stored(_))) => part.stored = 1,
            Some(Ok(Published::AlreadyStored(_))) => part.already_stored = 1,
            Some(Ok(Published::Scheduled { .. })) => report.waits(Waiting::Now),
            Some(Ok(Published::AlreadyScheduled { .. })) => report.waits(Waiting::Before),
            Some(Err(error)) => refuse(number, line, error, &mut part)
                .map_err(|error| error.during(format!("publishing line {}", report.place(number))))?,
            None => {
                part.rejected = 1;
                part.errors.push(too_long(number, line, self.publisher));
            }
        }
        report.add(part);
        Ok(())
    }
}

/// What is wrong with an event is reported with its line; what is wrong with the store ends the run.
fn refuse(
    number: u64,
    line: &Line<'_>,
    error: PublishError,
    part: &mut IntakeReport,
) -> Result<(), CliError> {
    let said = error.to_string();
    let kind = error.kind();
    let entry =
        |event_id, event_type, violations| LineError { line: number, event_id, event_type, violations };
    match error {
        PublishError::Rejected(rejection) => {
            part.rejected = 1;
            part.errors.push(entry(rejection.event_id, rejection.event_type, rejection.violations));
        }
        PublishError::Conflict { id, .. } | PublishError::ScheduleConflict { id } => {
            part.conflicts = 1;
            let violation = Violation::new("/id", "conflict", said);
            part.errors.push(entry(Some(id), type_of(line), vec![violation]));
        }
        PublishError::Erased { id } => {
            part.rejected = 1;
            part.errors.push(entry(Some(id), type_of(line), vec![Violation::new("/id", kind, said)]));
        }
        PublishError::DelayTooLong(_) => return Err(CliError::usage(said)),
        PublishError::Store(error) => return Err(error.into()),
        PublishError::Schedule(error) => return Err(error.into()),
        _ => return Err(CliError::failed(said)),
    }
    Ok(())
}

fn too_long(number: u64, line: &Line<'_>, publisher: &Publisher) -> LineError {
    let bytes = match line {
        Line::TooLong { bytes, .. } => *bytes,
        Line::Text { bytes, .. } => bytes.len() as u64,
    };
    let limit = publisher.settings().limits.max_event_bytes;
    let message = format!("the line has {bytes} bytes; the limit of an event is {limit}");
    let violations = vec![Violation::new("", "limit", message)];
    LineError { line: number, event_id: None, event_type: None, violations }
}

/// The type of an event that was admitted.
fn type_of(line: &Line<'_>) -> Option<String> {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        event_type: String,
    }
    let Line::Text { bytes, .. } = line else { return None };
    serde_json::from_slice::<Typed>(bytes).ok().map(|typed| typed.event_type)
}

fn number_of(line: &Line<'_>) -> u64 {
    match line {
        Line::Text { line, .. } | Line::TooLong { line, .. } => *line,
    }
}

/// Waits for all, begun in their order; what came of them in the same order.
async fn in_order<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut open: Vec<Pin<Box<F>>> = futures.into_iter().map(Box::pin).collect();
    let mut outputs: Vec<Option<F::Output>> = open.iter().map(|_| None).collect();
    poll_fn(|cx| {
        let mut all = Poll::Ready(());
        for (future, output) in open.iter_mut().zip(&mut outputs).filter(|(_, output)| output.is_none()) {
            match future.as_mut().poll(cx) {
                Poll::Ready(value) => *output = Some(value),
                Poll::Pending => all = Poll::Pending,
            }
        }
        all
    })
    .await;
    outputs.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[tokio::test]
    async fn all_begin_in_their_order_and_answer_in_it() {
        let begun = Mutex::new(vec![]);
        let futures = (0..100u64).map(|n| {
            let begun = &begun;
            async move {
                begun.lock().unwrap().push(n);
                for _ in 0..(n * 7 % 13) {
                    tokio::task::yield_now().await;
                }
                n
            }
        });
        assert_eq!(in_order(futures.collect()).await, Vec::from_iter(0..100));
        assert_eq!(*begun.lock().unwrap(), Vec::from_iter(0..100));
    }
}
