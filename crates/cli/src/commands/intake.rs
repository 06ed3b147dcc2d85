//! The common part of `publish` and `import`: reads files, stores the events, and reports the outcome.

mod one_by_one;
mod rehearsing;
mod report;

use std::{io::IsTerminal, path::PathBuf, sync::Arc, time::Duration};

use bus::{
    Intake, IntakeError, IntakeOptions, Line, PublishOptions, Publisher, RefusedLine, UnknownTypes,
    line_limit,
};
use clap::Args;
use event_replay::{
    Access,
    app::{
        counting,
        intake::{DeliveryIntake, PublishReport},
        publish,
        publish::{PublishRequest, Rehearsal},
        source::with_source,
    },
    unknown_types,
};
use tokio::sync::mpsc;

use self::report::Report;
use super::retaining;
use crate::{
    context::Context,
    errors::CliError,
    exit::Exit,
    input::{self, Chunk, Input},
    output::{bar::Bar, rejects::Rejects},
};

/// The longest time that read lines wait for further lines before they are stored.
const IDLE: Duration = Duration::from_millis(50);

/// The rules of admission.
#[derive(Debug, Clone, Args)]
pub(crate) struct AdmissionArgs {
    /// How to treat an event whose type has no schema: `refuse` or `accept` [default: refuse].
    #[arg(long, value_name = "WHAT", value_parser = unknown_types)]
    unknown_types: Option<UnknownTypes>,
    /// Check the envelope and the limits alone, not the schemas.
    #[arg(long)]
    no_validation: bool,
    /// All or nothing: if one event is refused, none is stored.
    #[arg(long)]
    atomic: bool,
    /// Say what would be stored and what would be refused, and store nothing.
    #[arg(long)]
    dry_run: bool,
    /// Append each refused line to this new file as it was read, and its reason to FILE.reasons. Correct the
    /// lines, and import the file. Without a refused line there is no file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["atomic", "dry_run"])]
    rejects: Option<PathBuf>,
}

/// The subject of a rehearsal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rehearsing {
    /// Whether the events are valid.
    Validity,
    /// The outcome of publishing the events.
    Publishing,
}

/// Reports the outcome that the events would have, and stores no event.
pub(crate) async fn rehearse(
    inputs: Vec<Input>,
    request: PublishRequest,
    service: Option<String>,
    what: Rehearsing,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    announce(&inputs, cx)?;
    let compares = what == Rehearsing::Publishing;
    let mut rehearsal = Rehearsal::new(&cx.settings, request, compares).await?;
    let bar = cx.printer.bar("validating", None);
    let chunks = input::chunks(inputs.clone(), line_limit(&cx.settings.limits), input::NOTHING_STORED);
    let mut report = Report::new(&inputs, PublishReport::default()).of_rehearsal(what);
    let outcome = rehearsing::all(&mut rehearsal, chunks, service.as_deref(), &mut report, &bar).await;
    bar.clear();
    rehearsal.close().await;
    if outcome.is_ok() || report.has_anything() {
        report.print(cx)?;
    }
    outcome?;
    Ok(if report.is_clean() { Exit::Ok } else { Exit::DoneWithFailures })
}

/// Checks the inputs before any other step, so that a misspelt name changes nothing.
fn announce(inputs: &[Input], cx: &Context<'_>) -> Result<(), CliError> {
    for input in inputs {
        input.check()?;
    }
    if inputs.contains(&Input::Stdin) && std::io::stdin().is_terminal() {
        cx.printer.say("reading events from the terminal, one a line; Ctrl-D ends");
    }
    Ok(())
}

/// Publishes the inputs one after the other, and reports the outcome. `delivery` holds the delivery options of every
/// event.
pub(crate) async fn run(
    inputs: Vec<Input>,
    args: &AdmissionArgs,
    service: Option<String>,
    delivery: Option<PublishOptions>,
    cx: &mut Context<'_>,
) -> Result<Exit, CliError> {
    if args.atomic && delivery.is_some() {
        return Err(CliError::usage(
            "--atomic stores all or nothing, and takes no --delay, --priority, --expires-in, \
                                    --expires-at or --retries",
        ));
    }
    let request = PublishRequest { unknown_types: args.unknown_types, no_validation: args.no_validation };
    if args.dry_run {
        return rehearse(inputs, request, service, Rehearsing::Publishing, cx).await;
    }
    announce(&inputs, cx)?;
    let mut rejects = args.rejects.as_deref().map(Rejects::begin).transpose()?;
    let stores = cx.open(Access::Create).await?;
    let meter = counting::meter();
    let publisher = publish::publisher(&stores, &cx.settings, request, meter.clone()).await?;
    let bar = cx.printer.bar("storing", None);
    let chunks = input::chunks(inputs.clone(), line_limit(&cx.settings.limits), input::STAYS_STORED);
    let (report, outcome) = match &delivery {
        None => {
            let mut taking = Taking {
                publisher: Arc::new(publisher),
                options: IntakeOptions {
                    atomic: args.atomic,
                    keep_refused: rejects.is_some(),
                    ..IntakeOptions::default()
                },
                service,
                rejects: rejects.as_mut(),
                report: Report::new(&inputs, PublishReport::default()),
                bar,
            };
            let outcome = taking.all(chunks).await;
            taking.bar.clear();
            (taking.report, outcome)
        }
        Some(options) => {
            let intake = DeliveryIntake { publisher: &publisher, options, service: service.as_deref() };
            let mut report = Report::new(&inputs, intake.report());
            let outcome = one_by_one::all(intake, chunks, &mut report, rejects.as_mut(), &bar).await;
            bar.clear();
            (report, outcome)
        }
    };
    counting::keep(&meter, &stores).await;
    if outcome.is_ok() || report.has_anything() {
        report.print(cx)?;
    }
    let kept = rejects.map_or(Ok(()), |rejects| rejects.close(cx));
    outcome?;
    kept?;
    retaining::apply_settings_after_storing(&stores, cx).await;
    stores.close().await;
    Ok(if report.is_clean() { Exit::Ok } else { Exit::DoneWithFailures })
}

/// An intake of lines in progress.
struct Taking<'a> {
    publisher: Arc<Publisher>,
    options: IntakeOptions,
    service: Option<String>,
    rejects: Option<&'a mut Rejects>,
    report: Report,
    bar: Bar,
}

impl Taking<'_> {
    /// Publishes all chunks. After [`IDLE`] without input, stores the lines read before. An atomic intake waits for the
    /// end of the input.
    async fn all(&mut self, mut chunks: mpsc::Receiver<Result<Chunk, CliError>>) -> Result<(), CliError> {
        let mut intake: Option<Intake> = None;
        loop {
            let idle = intake.is_some() && !self.options.atomic;
            let chunk = tokio::select! {
                chunk = chunks.recv() => chunk,
                () = tokio::time::sleep(IDLE), if idle => {
                    self.finish(intake.take()).await?;
                    continue;
                }
            };
            match chunk {
                None => return self.finish(intake.take()).await,
                Some(Ok(chunk)) => {
                    let into = intake.get_or_insert_with(|| {
                        Intake::new(Arc::clone(&self.publisher), self.options.clone())
                    });
                    let taken = take(into, &chunk, self.service.as_deref()).await;
                    self.keep(&into.take_refused())?;
                    if let Err(error) = taken {
                        return Err(self.failed(error));
                    }
                    self.bar.at(self.report.lines_before() + into.progress().lines);
                }
                Some(Err(error)) => {
                    // An atomic intake stores all events or none. An input with a read error is incomplete.
                    if self.options.atomic {
                        return Err(error.hint("nothing was stored, because --atomic stores all or nothing"));
                    }
                    self.finish(intake.take()).await?;
                    return Err(error);
                }
            }
        }
    }

    async fn finish(&mut self, intake: Option<Intake>) -> Result<(), CliError> {
        let Some(intake) = intake else { return Ok(()) };
        let (finished, refused) = intake.finish_with_refused().await;
        let finished = match finished {
            Ok(part) => {
                self.report.add(part);
                Ok(())
            }
            Err(error) => Err(self.failed(error)),
        };
        let kept = self.keep(&refused).and_then(|()| self.rejects.as_deref().map_or(Ok(()), Rejects::sync));
        finished.and(kept)
    }

    /// Appends refused lines to the file of rejects, if there is one.
    fn keep(&mut self, refused: &[RefusedLine]) -> Result<(), CliError> {
        match &mut self.rejects {
            Some(rejects) if !refused.is_empty() => {
                let report = &self.report;
                rejects.write(refused, |error| report.error(error))
            }
            _ => Ok(()),
        }
    }

    fn failed(&mut self, error: IntakeError) -> CliError {
        let said = error.to_string();
        match error {
            IntakeError::Store { error, lines, report } => {
                self.report.add(*report);
                let (first, last) = (self.report.place(*lines.start()), self.report.place(*lines.end()));
                CliError::from(error).during(format!("storing lines {first} to {last}"))
            }
            IntakeError::TooLargeToBeAtomic { .. } => {
                CliError::failed(said).hint("leave out --atomic, or split the input")
            }
            _ => CliError::failed(said),
        }
    }
}

/// Hands the lines of a chunk to the intake. Lines are numbered over all inputs, so that each number is unique in one
/// intake.
async fn take(intake: &mut Intake, chunk: &Chunk, service: Option<&str>) -> Result<(), IntakeError> {
    for line in chunk.lines() {
        match line {
            Line::Text { line, bytes } => {
                let number = Report::number(chunk.input, line);
                match service.and_then(|service| with_source(bytes, service)) {
                    Some(named) => intake.line_of(number, &named, bytes).await?,
                    None => intake.line(number, bytes).await?,
                }
            }
            Line::TooLong { line, bytes } => intake.too_long(Report::number(chunk.input, line), bytes),
        }
    }
    Ok(())
}
