//! Damage on purpose, so that tests see it found.

use domain::Position;

use crate::{MemoryStore, index::Term, state::sequence};

impl MemoryStore {
    /// Makes the event at a position unreadable. Whether there was one.
    pub fn damage_event(&self, position: Position) -> bool {
        let mut state = self.state_mut();
        let entry = sequence(position).and_then(|sequence| state.log.get_mut(&sequence));
        entry.map(|entry| entry.damage = Some("damaged on purpose".to_owned())).is_some()
    }

    /// Drops one index entry, the one by type, of the event at a position. Whether there was one.
    pub fn drop_index_entry(&self, position: Position) -> bool {
        let mut state = self.state_mut();
        let Some(sequence) = sequence(position) else { return false };
        let Some(entry) = state.log.get(&sequence) else { return false };
        let term = Term::Type(entry.event.event_type().to_owned());
        state.index.remove_term(term, sequence);
        true
    }

    /// Plants an index entry, by the type `planted`, that points at a position.
    pub fn plant_index_entry(&self, position: Position) {
        if let Some(sequence) = sequence(position) {
            self.state_mut().index.insert_term(Term::Type("planted".to_owned()), sequence);
        }
    }
}
