//! Ids of events that handlers emit.

use sha2::{Digest, Sha256};
use uuid::Builder;

/// The parts of the id of an emitted event.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cause<'a> {
    /// The id of the handled event.
    pub(crate) event_id: &'a str,
    /// The group that handled it.
    pub(crate) group: &'a str,
    /// The index, from 0, among the handlers of the group that match the event.
    pub(crate) handler: usize,
    /// The type of the emitted event.
    pub(crate) event_type: &'a str,
}

/// The part that distinguishes events of one type that one handler emits for one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The number of events of this type that the call had emitted before.
    Number(u32),
    /// A name that the handler chose.
    Name(String),
}

/// Returns the id of an emitted event: a UUID of version 8. Equal causes and turns give equal ids, in every process and
/// at any time.
pub(crate) fn derived(cause: Cause<'_>, turn: &Turn) -> String {
    let mut digest = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // The length goes first. So two different lists of parts never produce the same bytes.
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

    /// Ids are stored, so an upgrade must not change them.
    #[test]
    fn an_id_stays_what_it_was_in_every_version() {
        let cause =
            Cause { event_id: "evt-1", group: "payments", handler: 0, event_type: "payment.captured" };
        assert_eq!(derived(cause, &Turn::Number(0)), "0b902458-719a-81ff-a2bb-7f5a19c5e122");
    }
}
