//! The faults of invalid events, as publishers make them in practice.

use crate::dice::Dice;

/// The fault of an invalid event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A member that the type's schema requires is missing, has another JSON type, or is null.
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

/// The damage to a required member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    Omit,
    Retype,
    Null,
}

/// A kind of damage, and the required member that it affects.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    pub(crate) blow: Blow,
    /// The index of the required member, from 0.
    pub(crate) member: u8,
    /// The JSON pointer of the damaged member, after the member was written.
    pub(crate) pointer: Option<String>,
}

/// All faults. Invalid events use them in turn, so that a few dozen events contain every fault.
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
    /// Returns the fault of the invalid event with this number.
    pub(crate) fn of(number: u64) -> Self {
        FAULTS[(number % FAULTS.len() as u64) as usize]
    }

    /// Returns the damage to an event whose type requires this number of members. Returns none for other faults.
    pub(crate) fn damage(self, required_members: u8, dice: &mut Dice) -> Option<Damage> {
        let Self::Member(blow) = self else { return None };
        let member = dice.below(required_members.into()) as u8;
        Some(Damage { blow, member, pointer: None })
    }

    /// Returns the pointer and the broken rule. The pointer is empty for a required member, whose pointer is known only
    /// after the encoding.
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
