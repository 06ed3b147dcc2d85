//! What can be wrong with an event, as publishers get it wrong.

use crate::dice::Dice;

/// What is wrong with an invalid event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A member that the type's schema requires is missing, of another type, or null.
    Member(Blow),
    UnknownType,
    EmptyId,
    LongId,
    NoSuchDay,
    NoZone,
    TwiceTheSource,
    NoSource,
    MetadataList,
    /// The line ends in the middle.
    Cut,
}

/// What befell a required member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Omit,
    Retype,
    Null,
}

/// A blow and where it falls.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    pub(crate) blow: Blow,
    /// Which of the required members, from 0.
    pub(crate) member: u8,
    /// The member that was struck, once it was.
    pub(crate) pointer: Option<String>,
}

/// All faults; invalid events go through them in turn, so that a few dozen show every one.
const FAULTS: [Fault; 14] = [
    Fault::Member(Blow::Omit),
    Fault::Member(Blow::Retype),
    Fault::UnknownType,
    Fault::NoSuchDay,
    Fault::Member(Blow::Null),
    Fault::EmptyId,
    Fault::Member(Blow::Omit),
    Fault::NoSource,
    Fault::TwiceTheSource,
    Fault::Member(Blow::Retype),
    Fault::MetadataList,
    Fault::Cut,
    Fault::NoZone,
    Fault::LongId,
];

impl Fault {
    /// The fault of the invalid event with this number.
    pub(crate) fn of(number: u64) -> Self {
        FAULTS[(number % FAULTS.len() as u64) as usize]
    }

    /// The damage that it does to an event whose type requires so many members.
    pub(crate) fn damage(self, required_members: u8, dice: &mut Dice) -> Option<Damage> {
        let Self::Member(blow) = self else { return None };
        let member = dice.below(required_members.into()) as u8;
        Some(Damage { blow, member, pointer: None })
    }

    /// Where it shows and which rule it breaks, for a fault that strikes no required member.
    pub(crate) fn verdict(self) -> (&'static str, &'static str) {
        match self {
            // Null counts as missing.
            Self::Member(Blow::Omit | Blow::Null) => ("", "required"),
            Self::Member(Blow::Retype) => ("", "type"),
            Self::UnknownType => ("/type", "schema"),
            Self::EmptyId | Self::LongId => ("/id", "limit"),
            Self::NoSuchDay | Self::NoZone => ("/timestamp", "date-time"),
            Self::NoSource => ("/source", "required"),
            Self::MetadataList => ("/metadata", "type"),
            Self::TwiceTheSource | Self::Cut => ("", "json"),
        }
    }
}
