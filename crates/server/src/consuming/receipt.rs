//! Receipts: what a client names a delivery by.

use std::{fmt, str::FromStr};

/// An instance of the server, drawn at random when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instance(u64);

impl Instance {
    /// A new one.
    pub(crate) fn draw() -> Self {
        // The last half of a random id: 62 of its bits are random.
        let (_, low) = uuid::Uuid::now_v7().as_u64_pair();
        Self(low)
    }
}

/// A hand-over of a delivery to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The instance that handed it over.
    pub(crate) instance: Instance,
    /// Which delivery it is: each attempt has a number of its own.
    pub(crate) number: u64,
    /// How often the attempt was handed to a client, from 1: a released one is handed to another.
    pub(crate) turn: u32,
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:x}-{:x}", self.instance.0, self.number, self.turn)
    }
}

impl FromStr for Receipt {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('-');
        let mut next = || u64::from_str_radix(parts.next()?, 16).ok();
        let (instance, number, turn) = (next(), next(), next());
        let receipt = Self {
            instance: Instance(instance.ok_or(())?),
            number: number.ok_or(())?,
            turn: turn.and_then(|turn| u32::try_from(turn).ok()).ok_or(())?,
        };
        // One way to write each: a sign, or a fourth part, is no receipt.
        if receipt.to_string() == text { Ok(receipt) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_read_as_it_is_written() {
        let receipt = Receipt { instance: Instance::draw(), number: 70_000, turn: 2 };
        assert_eq!(receipt.to_string().parse(), Ok(receipt));
        for text in
            ["", "1-2-3", "x", "0000000000000001-1", "0000000000000001-1-1-1", "0000000000000001-+1-1"]
        {
            assert_eq!(text.parse::<Receipt>(), Err(()), "{text}");
        }
        assert_ne!(Instance::draw(), Instance::draw());
    }
}
