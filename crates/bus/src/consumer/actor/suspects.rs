//! Suspects: the room is emptied, and then one after the other has its turn, alone.

use std::sync::Arc;

use super::{Actor, Io, Room};
use crate::consumer::segment::Segment;

impl Actor {
    /// Gives suspects their turn: the room is emptied, and then one after the other is committed to and handed over.
    pub(super) fn accuse(&mut self) {
        let some = |segment: &Segment| segment.has_suspects() && !segment.leaving;
        let any = self.segments.values().any(some) || !self.accused.is_empty();
        match &self.room {
            Room::Open if any => {
                let room = Arc::clone(&self.shared.room);
                self.room = Room::Emptying(self.io.spawn(async move { Io::Alone(room.write_owned().await) }));
            }
            Room::Empty { accused: None, .. } => {
                let numbers: Vec<u16> =
                    self.segments.iter().filter(|(_, s)| some(s)).map(|(number, _)| *number).collect();
                for number in numbers {
                    let accused = self.with(number, |segment, at| segment.accuse(at));
                    if accused == Some(true) {
                        if let Room::Empty { accused, .. } = &mut self.room {
                            *accused = Some(number);
                        }
                        return;
                    }
                }
                if !self.segments.values().any(some) && self.accused.is_empty() {
                    self.room = Room::Open;
                }
            }
            _ => {}
        }
    }

    /// The suspect of a segment that had its turn has answered, or nobody answers for it any more.
    pub(super) fn acquit(&mut self, number: u16) {
        if let Room::Empty { accused, .. } = &mut self.room
            && *accused == Some(number)
        {
            *accused = None;
        }
    }
}
