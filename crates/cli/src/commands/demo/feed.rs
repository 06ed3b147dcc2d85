//! Publishes the generated events to the log. Compares every refusal with the fault that the generator built in.

use std::{collections::BTreeMap, sync::Arc};

use bus::{Intake, IntakeError, IntakeOptions, IntakeReport, LineError, Publisher};
use generator::{Expectation, Generator, Settings, Validity};

use super::{
    questions::{self, Question},
    step::counted,
};
use crate::{errors::CliError, output::bar::Bar};

/// Events of one intake. Its report names every refusal among them, so this number bounds the memory.
const PIECE: u64 = 10_000;
/// Refusals that are shown, and surprises that are kept.
const SHOWN: usize = 4;

/// The faults that the generator built into lines: for each line the pointer and the rule.
type Planned = BTreeMap<u64, (String, &'static str)>;

/// The stream of generated events.
pub(super) struct Feed {
    generator: Generator,
    publisher: Arc<Publisher>,
    /// The queries that the demo sends to the store.
    pub(super) questions: Vec<Question>,
    sent: u64,
}

/// The result of publishing a part of the stream.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Events sent.
    pub(super) sent: u64,
    /// Events stored.
    pub(super) stored: u64,
    /// Events refused.
    pub(super) refused: u64,
    /// Refusals with exactly the pointer and the rule that the generator names.
    pub(super) as_planned: u64,
    /// The first refusals.
    pub(super) examples: Vec<LineError>,
    /// Differences from the generator's expectation.
    pub(super) surprises: Vec<String>,
}

impl Feed {
    /// Creates the stream that the settings describe, with the publisher that stores it.
    pub(super) fn new(settings: Settings, publisher: Publisher) -> Self {
        let (generator, publisher) = (Generator::new(settings), Arc::new(publisher));
        Self { generator, publisher, questions: questions::all(), sent: 0 }
    }

    /// The expected read model of all valid events sent up to now.
    pub(super) fn expectation(&self) -> &Expectation {
        self.generator.expectation()
    }

    /// Publishes events until `until` events were sent in total.
    pub(super) async fn publish(&mut self, until: u64, bar: &Bar) -> Result<Taken, CliError> {
        let mut taken = Taken::default();
        while self.sent < until {
            let before = self.sent;
            let (report, planned) = self.piece((until - before).min(PIECE)).await?;
            taken.add(report, planned, self.sent - before);
            bar.at(self.sent);
        }
        Ok(taken)
    }

    async fn piece(&mut self, events: u64) -> Result<(IntakeReport, Planned), CliError> {
        let options = IntakeOptions { max_errors: PIECE as usize, ..IntakeOptions::default() };
        let mut intake = Intake::new(Arc::clone(&self.publisher), options);
        let mut planned = Planned::new();
        for event in self.generator.by_ref().take(events as usize) {
            self.sent += 1;
            match event.validity {
                Validity::Invalid { pointer, rule } => {
                    planned.insert(self.sent, (pointer, rule));
                }
                Validity::Valid => {
                    if !questions::count(&mut self.questions, &event.json) {
                        return Err(CliError::failed(format!(
                            "the generator's line {} cannot be read",
                            self.sent
                        )));
                    }
                }
            }
            intake.line(self.sent, event.json.as_bytes()).await.map_err(failed)?;
        }
        Ok((intake.finish().await.map_err(failed)?, planned))
    }
}

fn failed(error: IntakeError) -> CliError {
    match error {
        IntakeError::Store { error, .. } => CliError::from(error).during("storing the generated events"),
        other => CliError::failed(other.to_string()),
    }
}

impl Taken {
    fn add(&mut self, report: IntakeReport, mut planned: Planned, sent: u64) {
        self.sent += sent;
        self.stored += report.stored;
        self.refused += report.rejected + report.conflicts;
        let valid = sent - planned.len() as u64;
        for error in &report.errors {
            match planned.remove(&error.line) {
                Some((pointer, rule)) if is_that(error, &pointer, rule) => self.as_planned += 1,
                Some((pointer, rule)) => {
                    self.surprise(format!("{} instead of {rule} at {pointer:?}", sentence(error)));
                }
                None => self.surprise(format!("{}, though nothing is wrong with it", sentence(error))),
            }
        }
        for (line, (pointer, rule)) in planned {
            self.surprise(format!("line {line} was stored, though it breaks {rule} at {pointer:?}"));
        }
        if report.stored != valid {
            let (stored, valid) = (counted(report.stored), counted(valid));
            self.surprise(format!("{stored} events were stored of {valid} valid ones"));
        }
        let room = SHOWN - self.examples.len().min(SHOWN);
        self.examples.extend(report.errors.into_iter().take(room));
    }

    fn surprise(&mut self, what: String) {
        if self.surprises.len() < SHOWN {
            self.surprises.push(what);
        }
    }
}

/// Returns whether the line has exactly one violation, with this pointer and this rule.
fn is_that(error: &LineError, pointer: &str, rule: &str) -> bool {
    matches!(error.violations.as_slice(), [one] if one.pointer == pointer && one.rule == rule)
}

/// Describes a refusal in one line: the line number in the stream, and all violations.
pub(super) fn sentence(error: &LineError) -> String {
    let said: Vec<String> = error.violations.iter().map(ToString::to_string).collect();
    format!("line {}: {}", error.line, said.join("; "))
}

#[cfg(test)]
mod tests {
    use domain::ports::SystemClock;
    use event_replay::memory::MemoryEngine;
    use store::Store;
    use validation::{EngineKind, SchemaRegistry};

    use super::*;

    fn feed(settings: Settings, engine: EngineKind) -> Feed {
        let validator = Arc::new(SchemaRegistry::new(engine));
        let store = Arc::new(Store::new(MemoryEngine::default()));
        Feed::new(settings, Publisher::new(store, validator, Arc::new(SystemClock), Default::default()))
    }

    #[tokio::test]
    async fn every_refusal_is_the_one_that_the_generator_means_under_both_engines() {
        for engine in [EngineKind::JsonSchema, EngineKind::Valico] {
            let settings = Settings { invalid_per_thousand: 500, ..Settings::demo(12_000) };
            let taken = feed(settings, engine).publish(12_000, &Bar::new(false, "", None)).await.unwrap();
            assert_eq!(taken.surprises, Vec::<String>::new(), "{engine}");
            assert!(taken.refused > 5000 && taken.refused == taken.as_planned, "{engine}: {taken:?}");
            assert_eq!(taken.sent, taken.stored + taken.refused, "{engine}");
        }
    }

    #[test]
    fn what_is_not_as_planned_is_a_surprise() {
        let refusal = |line, pointer: &str, rule: &'static str| LineError {
            line,
            event_id: None,
            event_type: Some("user.registered".to_owned()),
            violations: vec![domain::Violation::new(pointer, rule, "no good")],
        };
        let report = IntakeReport {
            stored: 7,
            rejected: 3,
            errors: vec![refusal(1, "/id", "limit"), refusal(2, "/id", "limit"), refusal(3, "/id", "type")],
            ..IntakeReport::default()
        };
        let planned = [1, 3, 4].map(|line| (line, ("/id".to_owned(), "limit")));
        let mut taken = Taken::default();
        taken.add(report, planned.into_iter().collect(), 10);
        assert_eq!(taken.as_planned, 1);
        assert_eq!(
            taken.surprises,
            [
                "line 2: /id: no good (limit), though nothing is wrong with it",
                "line 3: /id: no good (type) instead of limit at \"/id\"",
                "line 4 was stored, though it breaks limit at \"/id\"",
            ]
        );
    }
}
