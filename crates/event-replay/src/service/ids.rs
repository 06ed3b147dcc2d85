//! Ids of events that handlers emit.

use sha2::{Digest, Sha256};
use uuid::Builder;

/// What the id of an emitted event is made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    /// The event that was handled.
    pub(crate) event_id: &'a str,
    /// The group that handled it.
    pub(crate) group: &'a str,
    /// Which of the group's handlers of that event, from 0.
    pub(crate) handler: usize,
    /// The type of the event that is emitted.
    pub(crate) event_type: &'a str,
}

/// What tells events of one type apart that one handler emits for one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// How many of this type it had emitted before.
    Number(u32),
    /// A name that the handler gave.
    Name(String),
}

/// The id of an emitted event: a UUID of version 8, equal for equal causes and turns in every process and at any time.
pub(crate) fn derived(cause: Cause<'_>, turn: &Turn) -> String {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // With its length, so that no two lists of parts are the same bytes.
        digest.update((bytes.len() as u64).to_le_bytes());
        digest.update(bytes);
    };
    part(b"event-replay emit");
    part(cause.event_id.as_bytes());
    part(cause.group.as_bytes());
    part(&(cause.handler as u64).to_le_bytes());
    part(cause.event_type.as_bytes());
    match turn {
        Turn::Number(number) => part(&number.to_le_bytes()),
        Turn::Name(name) => {
            part(b"name");
            part(name.as_bytes());
        }
    }
    let mut bytes = [0; 16];
    bytes.iter_mut().zip(digest.finalize()).for_each(|(byte, of_digest)| *byte = of_digest);
    Builder::from_custom_bytes(bytes).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_id_says_its_cause_and_its_turn_and_nothing_else() {
        let cause = Cause { event_id: "e", group: "g", handler: 0, event_type: "t" };
        let (first, second) = (Turn::Number(0), Turn::Number(1));
        assert_eq!(derived(cause, &first), derived(cause, &first));
        let different = [
            derived(cause, &first),
            derived(cause, &second),
            derived(cause, &Turn::Name("line-1".to_owned())),
            derived(cause, &Turn::Name(String::new())),
            derived(Cause { event_id: "eg", group: "", ..cause }, &first),
            derived(Cause { event_id: "f", ..cause }, &first),
            derived(Cause { group: "h", ..cause }, &first),
            derived(Cause { handler: 1, ..cause }, &first),
            derived(Cause { event_type: "u", ..cause }, &first),
        ];
        assert_eq!(different.iter().collect::<BTreeSet<_>>().len(), different.len());
    }

    /// Ids are stored: an upgrade must not change them.
    #[test]
    fn an_id_stays_what_it_was_in_every_version() {
        let cause =
            Cause { event_id: "evt-1", group: "payments", handler: 0, event_type: "payment.captured" };
        assert_eq!(derived(cause, &Turn::Number(0)), "0b902458-719a-81ff-a2bb-7f5a19c5e122");
    }
}
