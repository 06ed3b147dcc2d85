//! The events that set the members of a state.

use std::collections::BTreeMap;

use domain::StoredEvent;

use super::{FoldedEvent, fold};
use crate::app::{differences::pointer, json_tree::JsonTree};

/// The last event that set each member, by the JSON pointer of the member.
#[derive(Debug, Default)]
pub(super) struct Causes {
    by_pointer: BTreeMap<String, (u64, FoldedEvent)>,
    events: u64,
}

impl Causes {
    /// Records the members that an event sets or removes.
    pub(super) fn record(&mut self, stored: &StoredEvent, event: &FoldedEvent) {
        self.events += 1;
        // An empty object changes no member.
        if let Some(data) = fold::data(stored).filter(|data| *data != JsonTree::empty()) {
            self.touch(&data, &mut Vec::new(), event);
        }
    }

    fn touch(&mut self, change: &JsonTree, path: &mut Vec<String>, event: &FoldedEvent) {
        match change {
            JsonTree::Object(members) if !members.is_empty() => {
                for (name, member) in members {
                    path.push(name.clone());
                    self.touch(member, path, event);
                    path.pop();
                }
            }
            _ => drop(self.by_pointer.insert(pointer(path), (self.events, event.clone()))),
        }
    }

    /// Returns the last event that set a member, a part of it, or the object that has it.
    pub(super) fn of(&self, pointer: &str) -> Option<FoldedEvent> {
        let (mut above, mut of_above) = (Some(pointer), Vec::new());
        while let Some(at) = above {
            of_above.extend(self.by_pointer.get(at));
            above = at.rsplit_once('/').map(|(parent, _)| parent);
        }
        let prefix = format!("{pointer}/");
        let below = self.by_pointer.range(prefix.clone()..).take_while(|(at, _)| at.starts_with(&prefix));
        let all = of_above.into_iter().chain(below.map(|(_, cause)| cause));
        all.max_by_key(|(number, _)| *number).map(|(_, event)| event.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str) -> FoldedEvent {
        let timestamp = jiff::Timestamp::UNIX_EPOCH;
        FoldedEvent { id: id.to_owned(), event_type: "t".to_owned(), timestamp, position: "0:1".to_owned() }
    }

    #[test]
    fn the_last_event_that_set_a_member_is_its_cause() {
        let mut causes = Causes::default();
        for (id, data) in [
            ("e1", r#"{"a":{"b":1,"c":2},"a.b":1,"x":{}}"#),
            ("e2", r#"{"a":{"c":3},"y":null}"#),
            ("e3", r#"{"a":{"b":4}}"#),
        ] {
            causes.events += 1;
            causes.touch(&JsonTree::parse(data).unwrap(), &mut Vec::new(), &event(id));
        }
        let of = |pointer: &str| causes.of(pointer).map(|event| event.id);
        for (pointer, id) in [
            ("/a/b", Some("e3")),
            ("/a/c", Some("e2")),
            ("/a", Some("e3")),
            ("/a.b", Some("e1")),
            ("/y", Some("e2")),
            ("/x/inner", Some("e1")),
            ("/z", None),
        ] {
            assert_eq!(of(pointer).as_deref(), id, "{pointer}");
        }
        causes.events += 1;
        causes.touch(&JsonTree::parse("[1]").unwrap(), &mut Vec::new(), &event("e4"));
        assert_eq!(
            causes.of("/a/b").map(|event| event.id).as_deref(),
            Some("e4"),
            "it replaced the whole state"
        );
    }
}
