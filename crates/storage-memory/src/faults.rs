//! Deliberate damage. Tests use it to check that verification finds damage.

use domain::Position;

use crate::{MemoryEngine, index::Term, log::Partition};

impl MemoryEngine {
    /// Makes the event at a position unreadable. Returns whether there was an event.
    pub fn damage_event(&self, position: Position) -> bool {
        let Ok(mut state) = self.write(position.partition) else { return false };
        let logged = state.log.get_mut(&position.sequence);
        logged.map(|logged| logged.damage = Some("damaged on purpose".to_owned())).is_some()
    }

    /// Removes one index entry of the event at a position: the entry by type. Returns whether there was an event.
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

    /// Adds an index entry of the type `planted` that refers to a position.
    pub fn plant_index_entry(&self, position: Position) {
        if let Ok(mut state) = self.write(position.partition) {
            state.index.insert_term(Term::Type("planted".to_owned()), position.sequence);
        }
    }
}
