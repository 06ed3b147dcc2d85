//! The tree of causes among the events of one correlation id.

use std::collections::HashMap;

/// An event of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Branch {
    /// Its index among the events.
    pub(super) event: usize,
    /// Its depth: the number of causes above it in the tree.
    pub(super) depth: usize,
    /// The index of its cause among the events. `None` if the tree does not have the cause.
    pub(super) parent: Option<usize>,
    /// Whether the event is among its own causes.
    pub(super) is_in_cycle: bool,
}

/// Arranges events, each with its id and the id of its cause. Each cause precedes its effects, and the effects of one
/// event keep the order of the list. An event without a cause in the list starts a tree. In a cycle of causes, the
/// first event of the list starts the tree.
pub(super) fn arrange(events: &[(&str, Option<&str>)]) -> Vec<Branch> {
    let places: HashMap<&str, usize> = events.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect();
    let parents: Vec<Option<usize>> =
        events.iter().map(|(_, cause)| cause.and_then(|cause| places.get(cause).copied())).collect();
    let mut effects: Vec<Vec<usize>> = vec![Vec::new(); events.len()];
    for (at, parent) in parents.iter().enumerate() {
        if let Some(of_parent) = parent.and_then(|parent| effects.get_mut(parent)) {
            of_parent.push(at);
        }
    }
    let circles = circles(&parents);
    let mut arranged = Vec::with_capacity(events.len());
    let mut is_arranged = vec![false; events.len()];
    let is_root = |at: &usize| parents.get(*at).is_some_and(Option::is_none) || begins_circle(&circles, *at);
    for root in (0..events.len()).filter(is_root) {
        let mut open = vec![(root, 0, None)];
        while let Some((event, depth, parent)) = open.pop() {
            if std::mem::replace(&mut is_arranged[event], true) {
                continue;
            }
            arranged.push(Branch { event, depth, parent, is_in_cycle: circles[event].is_some() });
            let next = effects[event].iter().rev().map(|effect| (*effect, depth + 1, Some(event)));
            open.extend(next);
        }
    }
    arranged
}

/// Returns for each event that is among its own causes the first event of its cycle in the list.
fn circles(parents: &[Option<usize>]) -> Vec<Option<usize>> {
    let mut circles = vec![None; parents.len()];
    // The number, from 1, of the walk that visited an event.
    let mut seen = vec![0; parents.len()];
    for start in 0..parents.len() {
        let walk = start + 1;
        let mut at = Some(start);
        while let Some(event) = at.filter(|event| seen[*event] == 0) {
            seen[event] = walk;
            at = parents[event];
        }
        // The walk returned to an event that it had visited itself.
        let Some(meeting) = at.filter(|event| seen[*event] == walk) else { continue };
        let mut members = vec![meeting];
        let mut at = parents[meeting];
        while let Some(event) = at.filter(|event| *event != meeting) {
            members.push(event);
            at = parents[event];
        }
        let first = members.iter().min().copied();
        members.into_iter().for_each(|event| circles[event] = first);
    }
    circles
}

fn begins_circle(circles: &[Option<usize>], at: usize) -> bool {
    circles.get(at).copied().flatten() == Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arranged(events: &[(&str, Option<&str>)]) -> Vec<(String, usize, bool)> {
        let all = arrange(events);
        assert_eq!(all.len(), events.len(), "each event once: {all:?}");
        let shown = |branch: &Branch| (events[branch.event].0.to_owned(), branch.depth, branch.is_in_cycle);
        all.iter().map(shown).collect()
    }

    fn line(id: &str, depth: usize) -> (String, usize, bool) {
        (id.to_owned(), depth, false)
    }

    #[test]
    fn what_an_event_led_to_comes_under_it_in_the_order_of_the_log() {
        let events = [("a", None), ("b", Some("a")), ("c", Some("a")), ("d", Some("b")), ("e", None)];
        assert_eq!(arranged(&events), [line("a", 0), line("b", 1), line("d", 2), line("c", 1), line("e", 0)]);
        // An effect may precede its cause in the log.
        let late = [("b", Some("a")), ("a", None)];
        assert_eq!(arranged(&late), [line("a", 0), line("b", 1)]);
    }

    #[test]
    fn an_event_whose_cause_is_missing_begins_a_tree() {
        let events = [("a", Some("gone")), ("b", Some("a"))];
        assert_eq!(arranged(&events), [line("a", 0), line("b", 1)]);
    }

    #[test]
    fn a_circle_is_cut_at_its_first_event_and_marked() {
        let round = |id: &str, depth| (id.to_owned(), depth, true);
        let itself = [("a", Some("a")), ("b", Some("a"))];
        assert_eq!(arranged(&itself), [round("a", 0), line("b", 1)]);
        let three =
            [("x", Some("b")), ("a", Some("c")), ("b", Some("a")), ("c", Some("b")), ("d", Some("c"))];
        assert_eq!(
            arranged(&three),
            [round("a", 0), round("b", 1), line("x", 2), round("c", 2), line("d", 3)]
        );
    }

    #[test]
    fn long_chains_take_no_stack() {
        let ids: Vec<String> = (0..100_000).map(|n| n.to_string()).collect();
        let cause = |at: usize| at.checked_sub(1).map(|before| ids[before].as_str());
        let events: Vec<(&str, Option<&str>)> =
            ids.iter().enumerate().map(|(at, id)| (id.as_str(), cause(at))).collect();
        let all = arrange(&events);
        assert_eq!(all.last().map(|branch| branch.depth), Some(99_999));
    }
}
