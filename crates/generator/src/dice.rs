//! Random numbers from a seed.
//!
//! The generator uses its own algorithm (SplitMix64), because the bytes of a seed must never change. Crates for random
//! numbers may change their sequences in a new version.

/// A stream of random numbers that depends only on its seed.
#[derive(Debug, Clone)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(end)) >> 64) as u64
    }

    /// Returns a number below `end`. Small numbers are far more frequent: the first hundredth gets a fifth of the
    /// draws.
    pub(crate) fn skewed(&mut self, end: u64) -> u64 {
        let side = u128::from(self.bits() >> 43);
        ((side * side * side * u128::from(end)) >> 63) as u64
    }

    /// Returns true in `share` of a thousand draws.
    pub(crate) fn per_mille(&mut self, share: u64) -> bool {
        self.below(1000) < share
    }

    /// Returns true in one of `throws` draws.
    pub(crate) fn one_in(&mut self, throws: u64) -> bool {
        self.below(throws) == 0
    }

    /// Returns a random element of `from`.
    pub(crate) fn pick<T: Copy, const N: usize>(&mut self, from: &[T; N]) -> T {
        const { assert!(N > 0) };
        from[self.below(N as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throws_stay_below_their_end_and_reach_every_number() {
        let mut dice = Dice::new(7);
        let mut seen = [0u32; 10];
        for _ in 0..10_000 {
            seen[dice.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|count| (850..1150).contains(count)), "{seen:?}");
        assert_eq!((dice.below(0), dice.below(1)), (0, 0));
    }

    #[test]
    fn skewed_throws_favour_a_few() {
        let mut dice = Dice::new(7);
        let busy = (0..10_000).filter(|_| dice.skewed(1000) < 10).count();
        assert!((1900..2500).contains(&busy), "{busy}");
        assert!((0..10_000).all(|_| dice.skewed(3) < 3));
    }
}
