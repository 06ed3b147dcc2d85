//! Erasing: every event that names an entity goes, and its id may not come back.

use domain::{Entity, ports::Erased};

use crate::{index::Term, state::State};

pub(crate) fn erase(state: &mut State, entity: &Entity) -> Erased {
    let term = Term::Entity(entity.kind.clone(), entity.id.clone());
    let sequences = state.index.term(&term).cloned().unwrap_or_default();
    let mut erased = Erased::default();
    for sequence in sequences {
        let Some(event) = state.remove(sequence) else { continue };
        erased.events += 1;
        erased.bytes += event.size_bytes() as u64;
        state.tombstones.insert(event.id().to_owned());
    }
    erased
}
