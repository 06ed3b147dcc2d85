//! Verification: every event against its index entries, and every index entry against its event.

use domain::{
    Position,
    ports::{VerifyReport, engine::Checked},
};

use crate::{index::Term, log::Partition};

/// Number of events between two progress reports.
const PROGRESS_EVERY: u64 = 1_000;

pub(crate) fn verify(state: &Partition, number: u16, checked: Checked<'_>) -> VerifyReport {
    let mut report = VerifyReport::default();
    verify_events(state, number, &mut report, checked);
    verify_terms(state, number, &mut report);
    verify_ids(state, number, &mut report);
    report
}

fn verify_events(state: &Partition, number: u16, report: &mut VerifyReport, checked: Checked<'_>) {
    let total = state.log.len() as u64;
    for (sequence, entry) in &state.log {
        let at = Some(Position::new(number, *sequence));
        if let Some(damage) = &entry.damage {
            report.add(at, format!("the event cannot be read: {damage}"));
        }
        for term in Term::of(&entry.event) {
            if !state.index.term(&term).is_some_and(|postings| postings.contains(sequence)) {
                report.add(at, format!("the event has no index entry for {}", name(&term)));
            }
        }
        if state.index.id(entry.event.id()) != Some(*sequence) {
            report.add(at, "the event has no index entry for its id");
        }
        report.events += 1;
        if report.events.is_multiple_of(PROGRESS_EVERY) || report.events == total {
            checked(report.events);
        }
    }
}

fn verify_terms(state: &Partition, number: u16, report: &mut VerifyReport) {
    for (term, postings) in state.index.terms() {
        for sequence in postings {
            report.index_entries += 1;
            let at = Some(Position::new(number, *sequence));
            match state.log.get(sequence) {
                None => report.add(at, format!("an index entry for {} has no event", name(term))),
                Some(entry) if !Term::of(&entry.event).contains(term) => {
                    report.add(at, format!("an index entry for {} is not of its event", name(term)));
                }
                Some(_) => {}
            }
        }
    }
}

fn verify_ids(state: &Partition, number: u16, report: &mut VerifyReport) {
    for (id, sequence) in state.index.ids() {
        report.index_entries += 1;
        if state.log.get(&sequence).is_none_or(|entry| entry.event.id() != id) {
            report.add(Some(Position::new(number, sequence)), "an index entry for an id is not of its event");
        }
    }
}

/// Returns a term for people. Its text is escaped, because it may hold any characters.
fn name(term: &Term) -> String {
    match term {
        Term::Type(value) => format!("type {value:?}"),
        Term::Source(value) => format!("source {value:?}"),
        Term::Correlation(value) => format!("correlation id {value:?}"),
        Term::Entity(kind, id) => format!("entity {kind:?} {id:?}"),
    }
}
