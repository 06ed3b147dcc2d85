//! Receipts: the names by which clients refer to deliveries.

use std::{fmt, str::FromStr};

/// The id of a server instance. It is drawn at random when the server starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Instance(u64);

impl Instance {
    /// Draws a new id.
    pub(crate) fn draw() -> Self {
        // The lower half of a version 7 UUID has 62 random bits.
        let (_, low) = uuid::Uuid::now_v7().as_u64_pair();
        Self(low)
    }
}

/// The receipt of one hand-over of a delivery to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The instance that handed the delivery over.
    pub(crate) instance: Instance,
    /// The number of the delivery. Each attempt has its own number.
    pub(crate) number: u64,
    /// The number of times that the attempt was handed out, from 1. A released attempt is handed out again.
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
        // Each receipt has only one text. A text with a sign or with a fourth part is not a receipt.
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
