//! Ids of events and workflows: a UUID, or a name from the documentation.

use crate::dice::Dice;

/// An id that is small enough to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ident {
    Uuid(u128),
    Named(&'static str),
}

const VARIANT: u128 = 0b10 << 62;
const RANDOM: u128 = (0xfff << 64) | ((1 << 62) - 1);

impl Ident {
    /// Creates a UUID of version 7. Ids of close times are neighbours in an index.
    pub(crate) fn timed(at_ms: i64, dice: &mut Dice) -> Self {
        let time = u128::from((at_ms.max(0) as u64) & 0xffff_ffff_ffff) << 80;
        Self::Uuid(time | (7 << 76) | VARIANT | (random(dice) & RANDOM))
    }

    /// Creates a UUID of version 4.
    pub(crate) fn random(dice: &mut Dice) -> Self {
        let high = random(dice) & !(0xffff_u128 << 64) & !(0b11 << 62);
        Self::Uuid(high | (u128::from(dice.below(0x1000)) << 64) | (4 << 76) | VARIANT)
    }

    pub(crate) fn write(self, out: &mut String) {
        match self {
            Self::Named(name) => out.push_str(name),
            Self::Uuid(bits) => {
                for (at, byte) in bits.to_be_bytes().into_iter().enumerate() {
                    if matches!(at, 4 | 6 | 8 | 10) {
                        out.push('-');
                    }
                    push_hex(out, byte);
                }
            }
        }
    }
}

fn random(dice: &mut Dice) -> u128 {
    (u128::from(dice.bits()) << 64) | u128::from(dice.bits())
}

/// Writes a byte as two lower-case hexadecimal digits.
pub(crate) fn push_hex(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(ident: Ident) -> String {
        let mut out = String::new();
        ident.write(&mut out);
        out
    }

    #[test]
    fn uuids_carry_their_version_and_variant() {
        let mut dice = Dice::new(1);
        for _ in 0..1000 {
            let (seven, four) =
                (text(Ident::timed(1_705_314_600_000, &mut dice)), text(Ident::random(&mut dice)));
            assert!(seven.starts_with("018d0cab-c440-7"), "{seven}");
            for (uuid, version) in [(seven, '7'), (four, '4')] {
                assert_eq!(uuid.len(), 36);
                assert_eq!(uuid.chars().nth(14), Some(version), "{uuid}");
                assert!(matches!(uuid.chars().nth(19), Some('8' | '9' | 'a' | 'b')), "{uuid}");
            }
        }
    }
}
