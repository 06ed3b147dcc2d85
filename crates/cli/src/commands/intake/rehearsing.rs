//! The dry runs `publish --dry-run`, `import --dry-run` and `validate`: they report outcomes and store no event.

use bus::{IntakeReport, Line, LineError, Rejection};
use domain::{Event, Violation};
use event_replay::app::{
    intake::too_long,
    publish::{Rehearsal, Rehearsed},
    source::with_source,
};
use tokio::sync::mpsc;

use super::report::Report;
use crate::{errors::CliError, input::Chunk, output::bar::Bar};

/// Events that are looked up in one call.
const AT_ONCE: usize = 256;

/// Processes all lines, and adds their would-be outcomes to the report.
pub(super) async fn all(
    rehearsal: &mut Rehearsal,
    mut chunks: mpsc::Receiver<Result<Chunk, CliError>>,
    service: Option<&str>,
    report: &mut Report,
    bar: &Bar,
) -> Result<(), CliError> {
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk?;
        let lines: Vec<Line<'_>> = chunk.lines().collect();
        for part in lines.chunks(AT_ONCE) {
            let (mut numbers, mut events) = (Vec::new(), Vec::new());
            for line in part {
                match admit(rehearsal, line, chunk.input, service) {
                    Ok(None) => {}
                    Ok(Some((number, event))) => {
                        numbers.push(number);
                        events.push(event);
                    }
                    Err(error) => report.add(rejected(error)),
                }
            }
            let outcomes = rehearsal.outcomes(&events).await?;
            for ((number, event), outcome) in numbers.into_iter().zip(&events).zip(outcomes) {
                report.add(counted(number, event, outcome));
            }
            bar.at(report.lines_before());
        }
    }
    Ok(())
}

fn admit(
    rehearsal: &Rehearsal,
    line: &Line<'_>,
    input: usize,
    service: Option<&str>,
) -> Result<Option<(u64, Event)>, LineError> {
    let publisher = rehearsal.publisher();
    match line {
        Line::TooLong { line: number, .. } => Err(too_long(Report::number(input, *number), line, publisher)),
        Line::Text { line: number, bytes } => {
            let number = Report::number(input, *number);
            let named = service.and_then(|service| with_source(bytes, service));
            let admitted = publisher.admit_line(named.as_deref().unwrap_or(bytes));
            admitted.map(|event| event.map(|event| (number, event))).map_err(|rejection| {
                let Rejection { event_id, event_type, violations } = rejection;
                LineError { line: number, event_id, event_type, violations }
            })
        }
    }
}

fn rejected(error: LineError) -> IntakeReport {
    IntakeReport { rejected: 1, errors: vec![error], ..IntakeReport::default() }
}

fn counted(line: u64, event: &Event, outcome: Rehearsed) -> IntakeReport {
    match outcome {
        Rehearsed::Stored => IntakeReport { stored: 1, ..IntakeReport::default() },
        Rehearsed::AlreadyStored => IntakeReport { already_stored: 1, ..IntakeReport::default() },
        Rehearsed::Conflict(message) => {
            let error = LineError {
                line,
                event_id: Some(event.id().to_owned()),
                event_type: Some(event.event_type().to_owned()),
                violations: vec![Violation::new("/id", "conflict", message)],
            };
            IntakeReport { conflicts: 1, errors: vec![error], ..IntakeReport::default() }
        }
    }
}
