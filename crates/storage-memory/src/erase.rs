//! Erasing: every event that names an entity goes, also from the schedule and the dead letters, and its id may not come
//! back.

use domain::{Entity, Event, ports::Erased};
use jiff::Timestamp;

use crate::{dead_letters::discard, index::Term, state::State};

pub(crate) fn erase(state: &mut State, entity: &Entity, now: Timestamp) -> Erased {
    // Keys that are parked behind its letters go on.
    for id in state.dead_letters.naming(entity) {
        discard(state, &id, "its event was erased", now);
    }
    let term = Term::Entity(entity.kind.clone(), entity.id.clone());
    let sequences = state.index.term(&term).cloned().unwrap_or_default();
    let mut erased = Erased::default();
    for sequence in sequences {
        let Some(event) = state.remove(sequence) else { continue };
        state.tombstones.insert(event.id().to_owned());
        count(&event, &mut erased);
    }
    let (scheduled, dead_letters) = (state.schedule.erase(entity), state.dead_letters.erase(entity));
    for event in scheduled.iter().chain(&dead_letters) {
        // Of an event and its copies one counts.
        if state.tombstones.insert(event.id().to_owned()) {
            count(event, &mut erased);
        }
    }
    erased
}

fn count(event: &Event, erased: &mut Erased) {
    erased.events += 1;
    erased.bytes += event.size_bytes() as u64;
}
