//! Isolated attempts: the process stops all other deliveries, then runs the waiting deliveries alone, one at a time.

use std::sync::Arc;

use super::{Actor, Io, Isolation};
use crate::consumer::{breaker::Permit, segment::Segment};

impl Actor {
    /// Starts isolated attempts. Other deliveries end first. Then each attempt is committed and delivered alone.
    pub(super) fn start_isolated_attempt(&mut self) {
        let some = |segment: &Segment| segment.awaits_isolation() && !segment.leaving;
        let is_paused = self.permit() == Permit::Nothing;
        let any = self.segments.values().any(some) || !self.isolated.is_empty();
        match &self.isolation {
            Isolation::Shared if any && !is_paused => {
                let permit = Arc::clone(&self.shared.isolation);
                self.isolation =
                    Isolation::Draining(self.io.spawn(async move { Io::Alone(permit.write_owned().await) }));
            }
            // A paused group must not block the other consumers of this process.
            Isolation::Exclusive { isolated: None, .. } if is_paused && self.isolated.is_empty() => {
                self.isolation = Isolation::Shared;
            }
            Isolation::Exclusive { isolated: None, .. } => {
                let numbers: Vec<u16> =
                    self.segments.iter().filter(|(_, s)| some(s)).map(|(number, _)| *number).collect();
                for number in numbers {
                    let isolated = self.with(number, |segment, at| segment.start_isolated_attempt(at));
                    if isolated == Some(true) {
                        if let Isolation::Exclusive { isolated, .. } = &mut self.isolation {
                            *isolated = Some(number);
                        }
                        return;
                    }
                }
                if !self.segments.values().any(some) && self.isolated.is_empty() {
                    self.isolation = Isolation::Shared;
                }
            }
            _ => {}
        }
    }

    /// Ends the isolated attempt of a segment, because it was answered or the segment's lease was lost.
    pub(super) fn clear_isolation(&mut self, number: u16) {
        if let Isolation::Exclusive { isolated, .. } = &mut self.isolation
            && *isolated == Some(number)
        {
            *isolated = None;
        }
    }
}
