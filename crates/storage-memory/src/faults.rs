//! Damage on purpose, so that tests see it found.

use domain::Position;

use crate::{MemoryEngine, index::Term, log::Partition};

impl MemoryEngine {
    /// Makes the event at a position unreadable. Whether there was one.
    pub fn damage_event(&self, position: Position) -> bool {
        let Ok(mut state) = self.write(position.partition) else { return false };
        let logged = state.log.get_mut(&position.sequence);
        logged.map(|logged| logged.damage = Some("damaged on purpose".to_owned())).is_some()
    }

    /// Drops one index entry, the one by type, of the event at a position. Whether there was one.
    pub fn drop_index_entry(&self, position: Position) -> bool {
        let Ok(mut state) = self.write(position.partition) else { return false };
        let of_type = |state: &Partition| {
            let logged = state.log.get(&position.sequence)?;
            Some(Term::Type(logged.event.event_type().to_owned()))
        };
        let Some(term) = of_type(&state) else { return false };
        state.index.remove_term(term, position.sequence);
        true
    }

    /// Plants an index entry, by the type `planted`, that points at a position.
    pub fn plant_index_entry(&self, position: Position) {
        if let Ok(mut state) = self.write(position.partition) {
            state.index.insert_term(Term::Type("planted".to_owned()), position.sequence);
        }
    }
}
