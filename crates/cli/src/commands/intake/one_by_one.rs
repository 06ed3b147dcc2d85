//! Publishes events with delivery options. Each event is published separately, many at the same time.

use bus::{Line, PublishError};
use event_replay::app::intake::{DeliveryIntake, LineFailure};
use tokio::sync::mpsc;

use super::report::Report;
use crate::{
    errors::CliError,
    input::Chunk,
    output::{bar::Bar, rejects::Rejects},
};

/// Publishes all chunks. Events that were published before an error stay published.
pub(super) async fn all(
    intake: DeliveryIntake<'_>,
    mut chunks: mpsc::Receiver<Result<Chunk, CliError>>,
    report: &mut Report,
    mut rejects: Option<&mut Rejects>,
    bar: &Bar,
) -> Result<(), CliError> {
    while let Some(chunk) = chunks.recv().await {
        let chunk = chunk?;
        let lines: Vec<Line<'_>> = chunk.lines().collect();
        let number = |line| Report::number(chunk.input, line);
        let mut refused = Vec::new();
        let keeps = rejects.is_some().then_some(&mut refused);
        let published = intake.lines_with_refused(&lines, number, report.counts(), keeps).await;
        if let Some(rejects) = &mut rejects {
            rejects.write(&refused, |error| report.error(error))?;
        }
        published.map_err(|failure| said_of(failure, report))?;
        bar.at(report.lines_before());
    }
    Ok(())
}

fn said_of(failure: LineFailure, report: &Report) -> CliError {
    let LineFailure { line, error } = failure;
    let said = error.to_string();
    let error = match error {
        PublishError::DelayTooLong(_) => CliError::usage(said),
        PublishError::Store(error) => error.into(),
        PublishError::Schedule(error) => error.into(),
        _ => CliError::failed(said),
    };
    error.during(format!("publishing line {}", report.place(line)))
}
